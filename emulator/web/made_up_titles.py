"""Made-up titles for made-up items, so that people can tell them apart."""

from typing import Final

_FIRST: Final = (
    "Quiet", "Golden", "Broken", "Distant", "Hidden", "Last", "Crimson", "Silver", "Wandering", "Frozen",
    "Burning", "Paper", "Midnight", "Lonely", "Electric", "Velvet", "Savage", "Gentle", "Restless", "Hollow",
    "Bitter", "Secret", "Northern", "Endless", "Forgotten", "Painted", "Brave", "Drifting", "Iron", "Summer",
    "Winter", "Sunken", "Whispering", "Blue", "Invisible", "Reckless",
)  # fmt: skip
_SECOND: Final = (
    "Harbour", "Garden", "Orchestra", "Letter", "River", "Mountain", "Detective", "Kingdom", "Lighthouse",
    "Carnival", "Engine", "Mirror", "Voyage", "Library", "Shadow", "Bridge", "Summer", "Island", "Promise",
    "Circus", "Forest", "Station", "Painter", "Storm", "Clock", "Empire", "Balloon", "Window", "Desert",
    "Sister", "Machine", "Comet", "Wolf", "Kitchen", "Atlas", "Melody", "Tower",
)  # fmt: skip
_KINDS: Final = (
    "comedy", "drama", "thriller", "romance", "western", "mystery", "fantasy", "horror", "musical",
    "animation", "adventure", "history", "war", "crime", "family", "sport", "space", "nature", "travel",
    "food", "art", "politics", "school", "sea", "mountain", "robots", "spies", "ghosts", "dance",
    "detectives", "superheroes", "silent film",
)  # fmt: skip


def made_up_title(number: int) -> str:
    """Return the title of item *number*; no two of the first 1,332 items share one."""
    first = _FIRST[number % len(_FIRST)]
    second = _SECOND[number % len(_SECOND)]
    repeat = number // (len(_FIRST) * len(_SECOND))
    return f"The {first} {second}" + (f" {repeat + 1}" if repeat else "")


def kind_name(number: int) -> str:
    """Return the name of kind *number* of items."""
    return _KINDS[number] if number < len(_KINDS) else f"kind {number + 1}"
