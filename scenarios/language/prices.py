"""Prices of traffic, with which a run has costs."""

from typing import Annotated

import msgspec
from msgspec import Meta

from wire.units import BYTE_UNITS, Bytes

Price = Annotated[float, Meta(ge=0, le=1e9)]


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prices of what brokers and networks charge for, in one currency; 0: free of charge."""

    currency: Annotated[str, Meta(min_length=1, max_length=12)] = "USD"
    """Name of the currency."""
    per_gb_down: Price = 0.0
    """Price of 10^9 bytes to devices, on the wire: updates."""
    per_gb_up: Price = 0.0
    """Price of 10^9 bytes from devices, on the wire: reports, and messages of quality and status."""
    per_million_messages: Price = 0.0
    """Price of a million messages to or from devices, connection requests included."""
    message_unit: Bytes = Bytes(5 * BYTE_UNITS["KiB"])
    """Size up to which a message counts once; a larger one counts once for each such piece of its payload."""
    count_confirmations: bool = True
    """Count the confirmation that a device sends for each part of an update (PUBACK) as a message, too."""
    per_million_connection_minutes: Price = 0.0
    """Price of a million minutes in which a device is connected."""

    def __post_init__(self) -> None:
        if self.message_unit <= 0:
            raise ValueError("message_unit(=0 B) must be > 0")
        if not self.currency.isprintable():
            raise ValueError(f"currency(={self.currency!r}) must be printable text")
