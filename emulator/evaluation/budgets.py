"""Budgets as people write them: bytes, or a share of the item table in fp32."""

from collections.abc import Sequence
from dataclasses import dataclass

from wire.errors import InputError
from wire.units import BYTE_UNITS, parse_bytes, parse_share

BYTES_PER_NUMBER = 4
"""Of the table in fp32, which is 100 %."""


@dataclass(frozen=True)
class MemoryBudget:
    """A budget for the item embeddings of a device."""

    text: str
    """As it was written."""
    fixed_bytes: int | None
    share: float | None
    """Of the item table in fp32; None if the bytes are fixed."""

    def bytes_of(self, items: int, dim: int) -> int:
        """Return the budget in bytes for a table of *items* vectors of *dim* numbers."""
        if self.fixed_bytes is not None:
            return self.fixed_bytes
        assert self.share is not None
        return int(self.share * BYTES_PER_NUMBER * items * dim)


def read_budgets(texts: Sequence[str]) -> tuple[MemoryBudget, ...]:
    """Return the budgets of *texts* such as ``8KiB`` or ``1%``.

    Raises:
        InputError: a text is no budget, or comes twice, or there is none.
    """
    budgets = tuple(_read_budget(text.strip()) for text in texts)
    twice = next((each.text for at, each in enumerate(budgets) if each in budgets[:at]), None)
    if twice is not None or not budgets:
        raise InputError(f"budgets(={', '.join(texts)!r}) must be one or more budgets, none of them twice")
    return budgets


def _read_budget(text: str) -> MemoryBudget:
    try:
        if text.endswith("%"):
            share = parse_share(text)
            if share > 0:
                return MemoryBudget(text, None, float(share))
        elif (size := int(text) if text.isascii() and text.isdecimal() else parse_bytes(text)) > 0:
            return MemoryBudget(text, int(size), None)
    except ValueError:
        pass
    raise InputError(
        f"budget(={text!r}) must be a size above 0 such as 8 KiB or 8192 (units: {', '.join(BYTE_UNITS)}), "
        "or a share of the item table in fp32 such as 1 %"
    )
