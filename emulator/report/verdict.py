"""The verdict on a run as text, for the first line of the report and the last line of the terminal."""

from collections.abc import Mapping

from wire.units import approximate_bytes

_UNFINISHED = (
    "NOT FINISHED: this run was interrupted or killed; all figures cover only what it had logged until then."
)


def verdict_text(summary: Mapping[str, object]) -> str:
    """Return a text: whether the run passed its thresholds, and its quality and memory.

    Args:
        summary: of the run; parts about missing keys are left out.
    """
    judgement = _UNFINISHED if summary.get("unfinished") else _judgement(summary)
    return " ".join(part for part in (judgement, _quality(summary), _memory(summary)) if part)


def rollout_text(summary: Mapping[str, object]) -> str:
    """Return a text about the rollout of a run; empty without a rollout."""
    groups = rollout_groups(summary)
    if not groups:
        return ""
    devices = _number(summary, "devices") or 0
    offered, updated, failed, withdrawn = (
        sum(_number(group, step) or 0 for group in groups)
        for step in ("offered", "updated", "failed", "withdrawn")
    )
    if withdrawn:
        end = f"It was rolled back: the offer was withdrawn from {_devices(withdrawn)}."
    elif updated >= devices:
        end = "It is complete."
    elif offered < devices:
        end = f"When the run ended, {_devices(devices - offered)} had not been offered it."
    else:
        end = f"When the run ended, {_devices(devices - updated)} did not hold it."
    return (
        f"The new model version was offered to {offered:,.0f} of {devices:,.0f} devices in {len(groups)} "
        f"{'group' if len(groups) == 1 else 'groups'}; {updated:,.0f} updated, {failed:,.0f} failed. {end}"
    )


def rollout_groups(summary: Mapping[str, object]) -> list[Mapping[str, object]]:
    """Return the entries of the rollout's groups, in their order."""
    listed = summary.get("rollout")
    return [group for group in listed if isinstance(group, dict)] if isinstance(listed, list) else []


def _judgement(summary: Mapping[str, object]) -> str:
    listed = summary.get("thresholds")
    rules = [rule for rule in listed if isinstance(rule, dict)] if isinstance(listed, list) else []
    count, broken = len(rules), sum(not rule.get("passed") for rule in rules)
    aborted = _number(summary, "aborted_at_seconds")
    if aborted is not None:
        return f"Aborted at {aborted:,g} s: a threshold broke."
    if not rules:
        return "The run set no thresholds."
    if broken:
        return f"Broken: {broken} of {count} thresholds did not hold."
    return "Passed: the threshold held." if count == 1 else f"Passed: all {count} thresholds held."


def _quality(summary: Mapping[str, object]) -> str:
    ratio, delta = _number(summary, "quality_ratio_to_full"), _number(summary, "delta_ratio")
    sent = _number(summary, "update_bytes")
    if ratio is None:
        return ""
    text = f"The devices had {100 * ratio:.1f} % of the quality of the full table"
    if sent is None or delta is None:
        return f"{text}."
    full = f"{100 * delta:.1f} % of what full pushes would have cost"
    return f"{text}; updates took {approximate_bytes(sent)}, {full}."


def _memory(summary: Mapping[str, object]) -> str:
    share = _number(summary, "over_budget_share")
    if share is None:
        return ""
    if share == 0:
        return "No device was ever above its budget."
    return f"Devices were above their budget for {100 * share:.2f} % of the time."


def _devices(count: float) -> str:
    return "1 device" if count == 1 else f"{count:,.0f} devices"


def _number(values: Mapping[str, object], key: str) -> float | None:
    value = values.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
