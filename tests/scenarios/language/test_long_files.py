"""Files just below the limit of size, each long in its own way: read or refused in seconds."""

import time
from collections.abc import Callable

import pytest

from scenarios.language.load import parse
from scenarios.language.sweep_expansion import expand
from scenarios.language.yaml_tree import MAX_CHARACTERS
from wire.errors import InputError

pytestmark = pytest.mark.slow

HEAD = "version: 1\nname: x\nstop_time: 10 d\n"
FLEET = "fleet: [{name: a, count: 1}]\n"
MOST_S = 40.0
"""Generous: the slowest takes some three seconds on an idle core."""


def many(begin: str, item: Callable[[int], str], end: str, most: int = 10**9, before: str = "") -> str:
    """Return *begin*, as many items as fit behind *before*, and *end*."""
    parts, size = [], len(HEAD) + len(before) + len(begin) + len(end)
    for at in range(most):
        size += len(item(at)) + 2
        if size > MAX_CHARACTERS - 100:
            break
        parts.append(item(at))
    return HEAD + before + begin + ", ".join(parts) + end


GROUPS = many("fleet: [", lambda at: f"{{name: g{at}, count: 1}}", "]\n", 3000).removeprefix(HEAD)
TEXTS = {
    "labels": many("fleet: [{name: a, count: 1, labels: {", lambda at: f"l{at}: v{at}", "}}]"),
    "groups": many("fleet: [", lambda at: f"{{name: g{at}, count: 1, labels: {{a: v{at}}}}}", "]"),
    "stages": many("stages: [", lambda at: f"{{name: s{at}, duration: 1 s, ramp: 0 s}}", "]", before=FLEET),
    "selections": many(
        "actions: [",
        lambda _: "{type: disconnect, at: 1 s, duration: 1 s, select: {labels: {a: c}}}",
        "]", 1500, GROUPS,
    ),
    "unknown networks": many(
        "networks: {", lambda at: f"w{at}: {{}}", "}", 7000,
        GROUPS.replace("count: 1", "count: 1, network: n"),
    ),
    "thresholds": many(
        "thresholds: {update_latency_seconds: [", lambda at: f"p({at % 99 + 1})<{at + 1}s", "]}", before=FLEET
    ),
    "filters": many(
        "thresholds: {", lambda at: f"'update_bytes{{group=h{at}}}': [share<5%]", "}", 3000, GROUPS
    ),
    "shocks": many("fleet: [{name: a, count: 1, shocks: [", lambda _: "{}", "]}]"),
    "wrong words": many("description: [", lambda _: "no", "]", before=FLEET),
    "grid of a large file": many("sweep: {grid: {warmup: [", lambda at: f"{at} s", "]}}", 8000, GROUPS),
    "swept keys": many("sweep: {grid: {", lambda at: f"'fleet[{at}].count': [2]", "}}", 2500, GROUPS),
    "keys of a case": many(
        "sweep: {cases: [{name: a, set: {", lambda at: f"'fleet[{at}].count': 2", "}}]}", 2500, GROUPS
    ),
    "long number": f"{HEAD}{FLEET}warmup: '{'1' * 250_000}'",
    "long share": f"{HEAD}{FLEET}updates: {{headroom: '{'1' * 250_000}'}}",
    "long rule": f"{HEAD}{FLEET}thresholds: {{update_latency_seconds: ['p(95)<{'1' * 200_000}']}}",
    "long metric": f"{HEAD}{FLEET}thresholds: {{'a{' ' * 200_000}b': [p]}}",
    "long moment": f"{HEAD}{FLEET}rollout: {{at: 'a{' ' * 200_000}x', seed: 3}}",
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_no_file_below_the_limit_takes_long_to_read(name: str) -> None:
    began = time.process_time()
    try:
        (expand if "sweep" in TEXTS[name] else parse)(TEXTS[name])
    except InputError as error:
        assert all(len(line) <= 500 for line in error.lines)  # noqa: PT017 - most are refused, some are not
    assert time.process_time() - began < MOST_S
