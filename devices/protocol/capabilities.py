"""DeviceCapabilities of a device: the messages that it can take in."""

import importlib.util
from dataclasses import dataclass

import msgspec

from wire.codecs import Codec
from wire.errors import Reason, RemoteProtocolError
from wire.messages import BudgetReport


@dataclass(frozen=True)
class DeviceCapabilities:
    """The messages that a device can take in; it tells them to a cloud that knows the fields."""

    max_part_bytes: int = 0
    """Bytes of the largest update part that it has room for; 0: any."""
    codecs: tuple[str, ...] = ()
    """The codecs whose blocks it can decode; none: all of version 1."""

    def told_in(self, report: BudgetReport) -> BudgetReport:
        """Return *report* with these capabilities."""
        return msgspec.structs.replace(
            report, max_part=self.max_part_bytes or msgspec.UNSET, codecs=self.codecs or msgspec.UNSET
        )

    def check_size(self, part_bytes: int) -> None:
        """Check a part that has come.

        Raises:
            RemoteProtocolError: it is larger than the device has said that it takes in.
        """
        if 0 < self.max_part_bytes < part_bytes:
            raise RemoteProtocolError(
                Reason.TOO_LARGE, f"{part_bytes} bytes, this device takes {self.max_part_bytes}"
            )


def codecs_known_here() -> tuple[str, ...]:
    """Return the codecs that this installation can decode, where one is missing; none: all of version 1."""
    if importlib.util.find_spec("constriction") is not None:
        return ()
    return tuple(str(codec) for codec in Codec if codec is not Codec.CODED)
