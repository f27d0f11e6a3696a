"""Classes of visits, by which the metrics of interactions are split."""

from collections.abc import Mapping, Sequence
from typing import Final

AGES: Final[Mapping[str, int]] = {
    "below_1h": 3600,
    "below_6h": 6 * 3600,
    "below_1d": 86_400,
    "below_3d": 3 * 86_400,
    "below_7d": 7 * 86_400,
    "below_14d": 14 * 86_400,
}
"""Classes of the age of what a device ranks with, each with the seconds that end it; older ones follow."""
KNOWN: Final[Mapping[str, int]] = {"0": 1, "1_to_4": 5, "5_to_19": 20, "20_to_99": 100}
"""Classes of the number of items that a user knows, each with the number that ends it; more follow."""
VISIT_DIMENSIONS: Final[Mapping[str, Sequence[str]]] = {
    "newcomer": ("no", "yes"),
    "age": (*AGES, "from_14d"),
    "known": (*KNOWN, "from_100"),
}
"""The dimensions of visits, with their values."""
