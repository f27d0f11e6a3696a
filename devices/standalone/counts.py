"""What a device on its own counts, and the words for it."""

from collections import Counter
from dataclasses import dataclass, field

from wire.no_answer import count_text


@dataclass
class Counts:
    """What has come of messages, and how often something went wrong."""

    reports: int = 0
    connections: int = 0
    broken: int = 0
    receipts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    unkept: int = 0
    """Times that what is held could not be written to the disk."""
    parts: int = 0
    """Update parts that came, whatever came of them."""
    unanswered: int = 0
    """Reports without a complete answer in time."""
    evictions: int = 0
    """Times that blocks were dropped since the budget had fallen."""

    def words(self) -> str:
        """Return them for people to read."""
        came = [f"{count} {receipt}" for receipt, count in sorted(self.receipts.items())]
        refused = [f"{count} {reason}" for reason, count in sorted(self.refused.items())]
        parts = [
            count_text(self.reports, "report"),
            f"{self.unanswered} unanswered",
            f"{count_text(self.parts, 'part')} of updates ({', '.join(came) or 'none'})",
            count_text(self.evictions, "eviction"),
            count_text(self.connections, "connection"),
            f"{self.broken} lost or not made",
        ]
        parts += [f"refused messages: {', '.join(refused)}"] if refused else []
        parts += [f"{self.unkept} times the disk took nothing"] if self.unkept else []
        return ", ".join(parts)
