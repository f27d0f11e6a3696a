"""Counts of a real device, and the words for them."""

from collections import Counter
from dataclasses import dataclass, field

from wire.no_answer import count_text
from wire.text import printable

MOST_REASONS = 32


@dataclass
class DeviceCounts:
    """Numbers of messages, connections and errors."""

    reports: int = 0
    connections: int = 0
    broken: int = 0
    receipts: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    write_failures: int = 0
    """Failed writes to the disk."""
    errors: Counter[str] = field(default_factory=Counter)
    """Errors of the cloud about the last report, by reason."""
    parts: int = 0
    """Update parts that came, good or bad."""
    unanswered: int = 0
    """Reports without a complete answer in time."""
    evictions: int = 0
    """Times that blocks were dropped because the budget had fallen."""

    def count_error(self, reason: str) -> None:
        """Count an error of the cloud; the reasons are the cloud's, so only so many are told apart."""
        errors = self.errors
        errors[reason if reason in errors or len(errors) < MOST_REASONS else "other"] += 1

    def words(self) -> str:
        """Return the counts in words."""
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
        errors = [f"{count} {reason}" for reason, count in sorted(self.errors.items())]
        parts += [f"errors of the cloud: {', '.join(map(printable, errors))}"] if errors else []
        parts += [f"refused messages: {', '.join(refused)}"] if refused else []
        parts += (
            [f"{count_text(self.write_failures, 'failed write')} to the disk"] if self.write_failures else []
        )
        return ", ".join(parts)
