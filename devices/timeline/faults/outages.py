"""Faults of the broker and of the cloud, and the time that a cloud with such faults takes."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import msgspec

from devices.timeline.faults.fault import BrokerFault, CloudFault, FaultWindow


class BrokerOutage(BrokerFault, frozen=True, kw_only=True, tag="broker_down"):
    """The broker is gone: every device is cut off, and what was under way is lost."""


class CloudOutage(CloudFault, frozen=True, kw_only=True, tag="cloud_down"):
    """The cloud is gone: reports wait for it in the broker; what it was working on it does again."""

    stops: ClassVar[bool] = True


class CloudSlowdown(CloudFault, frozen=True, kw_only=True, tag="cloud_slow"):
    """The cloud takes longer to answer."""

    factor: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)]
    """The factor of the service time."""

    def serve_ns(self, service_ns: int) -> int:
        """Return the service time times the factor."""
        return int(service_ns * self.factor)


def service_interval(
    begin_ns: int, service_ns: int, windows: Sequence[FaultWindow[CloudFault]]
) -> tuple[int, int]:
    """Return when the cloud begins with a report without being interrupted, and when it is done.

    A cloud that is down begins when it is up again. Work that the outage interrupts begins again, because the
    broker delivers the unconfirmed report once more. The factors of a slow cloud are those at the beginning.

    Args:
        begin_ns: when it would begin.
        service_ns: how long it takes without faults.
        windows: the faults of the cloud, in the order of their start.
    """
    for window in windows:
        if window.fault.stops and window.end_ns > begin_ns:
            done_ns = begin_ns + _service_ns(begin_ns, service_ns, windows)
            if window.is_active(begin_ns) or window.start_ns < done_ns:
                begin_ns = window.end_ns
    return begin_ns, begin_ns + _service_ns(begin_ns, service_ns, windows)


def _service_ns(begin_ns: int, service_ns: int, windows: Sequence[FaultWindow[CloudFault]]) -> int:
    for window in windows:
        if window.is_active(begin_ns):
            service_ns = window.fault.serve_ns(service_ns)
    return service_ns
