"""The rule that derives a budget from free memory."""

import msgspec

from devices.memory.sampling import check_bounds
from devices.protocol.report_policy import Publish
from wire.units import Bytes, Share, format_share


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The rule for the budget of a device: clamp(share * (free - reserve), min, max)."""

    share: Share = Share(0.0001)
    """The share of free memory that the recommender's item embeddings may use."""
    reserve: Bytes = Bytes(0)
    """Free memory that is reserved for other applications before the share is taken."""
    min: Bytes | None = None
    """The lowest budget, however little memory is free."""
    max: Bytes | None = None
    """The highest budget, however much memory is free; if `min` is the same, the budget is fixed."""
    publish: Publish = Publish()
    """The rules for when a device reports its budget."""

    def __post_init__(self) -> None:
        if self.share <= 0:
            raise ValueError(f"share(={format_share(self.share)}) must be > 0")
        if self.min is not None and self.max is not None:
            check_bounds(self.min, self.max)

    def of(self, free_bytes: int) -> int:
        """Return the budget in bytes."""
        left = free_bytes - self.reserve
        budget = int(left * self.share) if left > 0 else 0
        if self.min is not None and budget < self.min:
            return int(self.min)
        if self.max is not None and budget > self.max:
            return int(self.max)
        return budget
