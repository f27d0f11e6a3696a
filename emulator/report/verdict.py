"""The verdict on a run as text: first in the report, last in the terminal."""

from collections.abc import Mapping
from typing import Any

_UNFINISHED = (
    "NOT FINISHED: this run was interrupted or killed; all figures cover only what it had logged until then."
)
_MOST_DIGITS = 8
"""Most digits behind the point of a share that is nearly 0 or 100 %."""


def verdict_word(summary: Mapping[str, object]) -> str:
    """Return the verdict in a word or two: Passed, Broken, Aborted, Stopped, Finished or Not finished."""
    if summary.get("unfinished"):
        return "Not finished"
    if summary.get("stopped_by_hand"):
        return "Stopped"
    if _number(summary, "aborted_at_seconds") is not None:
        return "Aborted"
    rules = list_rules(summary)
    if not rules:
        return "Finished"
    return "Passed" if all(rule.get("passed") for rule in rules) else "Broken"


def verdict_text(summary: Mapping[str, object]) -> str:
    """Return the verdict on a run: whether it held its thresholds, and one sentence in numbers.

    Args:
        summary: of the run; parts about missing keys are left out.
    """
    return " ".join(part for part in (judgement(summary), verdict_numbers(summary)) if part)


def _by_hand(summary: Mapping[str, object]) -> str:
    """Return a sentence on the deeds by hand; empty where there were none."""
    deeds = _number(summary, "steered_by_hand")
    return f"Steered by hand, {deeds:.0f} {'deed' if deeds == 1 else 'deeds'}." if deeds else ""


def judgement(summary: Mapping[str, object]) -> str:
    """Return the verdict on the thresholds of a run, and a sentence if somebody steered it."""
    return " ".join(part for part in (_judgement(summary), _by_hand(summary)) if part)


def _judgement(summary: Mapping[str, object]) -> str:
    rules, word = list_rules(summary), verdict_word(summary)
    match word:
        case "Not finished":
            return _UNFINISHED
        case "Stopped":
            return f"Stopped by hand at {_number(summary, 'aborted_at_seconds'):,g} s."
        case "Aborted":
            return f"Aborted at {_number(summary, 'aborted_at_seconds'):,g} s: a threshold broke."
        case "Finished":
            return "Finished: the run set no thresholds."
        case "Broken":
            broken = sum(not rule.get("passed") for rule in rules)
            return f"Broken: {broken} of {len(rules)} thresholds did not hold."
    return f"{word}."


def verdict_numbers(summary: Mapping[str, object]) -> str:
    """Return one sentence on quality, traffic and memory; empty where nothing of them is known."""
    parts = [part for part in (_quality(summary), _memory(summary)) if part]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def list_rules(summary: Mapping[str, object]) -> list[Mapping[str, Any]]:  # Any: JSON
    """Return the verdicts on the thresholds of a run, in their order."""
    listed = summary.get("thresholds")
    return [rule for rule in listed if isinstance(rule, dict)] if isinstance(listed, list) else []


def whole_percent(share: float) -> str:
    """Return a share in whole percent, with as many more digits as tell it from 0 and from 100 %."""
    percent = 100 * share
    if share <= 0 or share == 1:
        return f"{percent:.0f} %"
    first = 1 if percent < 1 or 99 < percent < 100 else 0
    texts = [f"{percent:.{digits}f}" for digits in range(first, _MOST_DIGITS + 1)]
    return f"{next((text for text in texts if float(text) not in (0, 100)), texts[-1])} %"


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


def _quality(summary: Mapping[str, object]) -> str:
    ratio, delta = _number(summary, "quality_ratio_to_full"), _number(summary, "delta_ratio")
    if ratio is None:
        return ""
    text = f"the fleet kept {whole_percent(ratio)} of the quality of the whole table"
    if delta is None:
        return text
    return f"{text} on {whole_percent(delta)} of the traffic that full pushes would have cost"


def _memory(summary: Mapping[str, object]) -> str:
    share = _number(summary, "over_budget_share")
    if share is None:
        return ""
    if share == 0:
        return "no device was ever over its budget"
    return f"devices were over their budgets for {whole_percent(share)} of the time"


def _devices(count: float) -> str:
    return "1 device" if count == 1 else f"{count:,.0f} devices"


def _number(values: Mapping[str, object], key: str) -> float | None:
    value = values.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
