"""Units and meanings of the keys of ``summary.json``, for the report."""

from scenarios.catalogue.metrics import METRICS, Unit
from scenarios.catalogue.summary_keys import key_of

_NOUNS = {
    "budget_changes": "changes",
    "budget_reports": "reports",
    "connects": "connections",
    "disconnections": "disconnections",
    "messages_harmed": "messages",
    "delta_fallbacks": "updates",
    "local_evictions": "changes",
    "pressure_transitions": "changes",
}


def describe_key(key: str) -> tuple[str, str]:
    """Return the unit and the meaning of a dotted key of the summary; empty texts for an unknown key."""
    described = key_of(key)
    if described is None:
        return "", ""
    name = key.partition(".")[0].partition("_by_")[0]
    if name in METRICS and described.unit is Unit.NUMBER and not key.endswith(".n"):
        noun = "updates" if name.startswith("updates_") else _NOUNS.get(name, str(Unit.NUMBER))
        return noun, described.meaning
    return described.shown_unit, described.meaning
