"""A sweep as the list of its scenarios: what is in it, what each is called, what is refused."""
# ruff: noqa: E501 - a table of cases, with the exact messages

import pytest

from scenarios.language.sweep_expansion import SweepPlan, expand, read_seeds
from wire.errors import InputError

SMALL = """\
version: 1
name: small
seed: 4
stop_time: 1 h
fleet:
  - name: phone
    count: 3
sweep:
  grid:
    updates.retry_after: [10 s, 30 s]
  cases:
    - {name: lean, set: {model.codec: int8}}
    - name: daily
      set: {"fleet[phone].memory": {type: daily, mean: 1 GiB}, "fleet[0].memory.swing": 1 MiB}
  seeds: [1, 2]
"""
PLAIN = SMALL.split("sweep:")[0]


def names(plan: SweepPlan) -> list[str]:
    return [each.name for each in plan.combinations]


def test_every_case_meets_every_point_of_the_grid() -> None:
    plan = expand(SMALL)
    assert names(plan) == [
        "lean+retry_after=10s",
        "lean+retry_after=30s",
        "daily+retry_after=10s",
        "daily+retry_after=30s",
    ]
    assert plan.keys == (
        "model.codec",
        "fleet[phone].memory",
        "fleet[0].memory.swing",
        "updates.retry_after",
    )
    lean, daily = plan.combinations[0], plan.combinations[3]
    assert [lean.settings[key] for key in plan.keys[::3]] == ["int8", "10 s"]
    assert [daily.settings[key] for key in plan.keys[::3]] == ["coded", "30 s"]
    assert (lean.settings["fleet[0].memory.swing"], daily.settings["fleet[0].memory.swing"]) == (
        None,
        "1 MiB",
    )
    assert daily.scenario.updates.retry_after == 30 * 10**9
    assert plan.seeds == (1, 2)
    assert {each.scenario.sweep for each in plan.combinations} == {plan.base.sweep} == {None}


def test_the_command_line_adds_to_the_file_and_wins() -> None:
    over = ["updates.retry_after=5 s", "fleet[phone].count=1,2"]
    plan = expand(SMALL, overrides=["model.layers=8"], over=over, seeds=[3, 4, 5, 9])
    assert names(plan)[:2] == ["lean+retry_after=5s+count=1", "lean+retry_after=5s+count=2"]
    assert (len(plan.combinations), plan.seeds) == (4, (3, 4, 5, 9))
    assert {each.scenario.model.layers for each in plan.combinations} == {8}


def test_a_file_without_a_sweep_is_swept_by_the_command_line() -> None:
    plan = expand(PLAIN, over=["fleet[0].memory={type: daily},{type: bounded_walk}"])
    assert names(plan) == ["memory=daily", "memory=bounded_walk"]
    assert [each.settings for each in plan.combinations] == [
        {"fleet[0].memory": {"type": "daily"}},
        {"fleet[0].memory": {"type": "bounded_walk"}},
    ]
    assert plan.seeds == (4,)
    assert names(expand(PLAIN, seeds=[1, 2, 3])) == ["base"]


def test_short_mappings_are_named_by_what_they_say_and_shown_as_they_are_written() -> None:
    values = "{min: 1 KiB, max: 1 KiB},{min: 1 KiB, share: 1 %},{min: 123456789 KiB, max: 999999999999 KiB}"
    plan = expand(PLAIN, over=[f"fleet[0].budget={values}"])
    assert names(plan)[:2] == ["budget=min-1KiB-max-1KiB", "budget=min-1KiB-share-1%"]
    assert names(plan)[2].startswith("budget=min-123456789KiB-max-99999999999~")
    shown = plan.combinations[0].settings["fleet[0].budget"]
    assert isinstance(shown, dict)
    assert {**shown, "share": ""} == {"share": "", "min": "1 KiB", "max": "1 KiB"}


def test_keys_with_the_same_end_are_told_apart() -> None:
    plan = expand(PLAIN, over=["networks.a.uplink.latency=1 ms", "networks.a.downlink.latency=2 ms"])
    assert names(plan) == ["uplink.latency=1ms+downlink.latency=2ms"]


@pytest.mark.parametrize(
    ("text", "over", "seeds", "message"),
    [
        (PLAIN, [], None, "x.yaml: sweeps nothing: write a sweep section, or give --over KEY=V1,V2 or --seeds 1-5"),
        (
            SMALL.replace("30 s]", "0]"),
            [],
            None,
            "combination lean+retry_after=0: x.yaml:10: updates.retry_after (=0 s) must be > 0",
        ),
        (
            SMALL.replace("model.codec: int8", "model.codex: int8"),
            [],
            None,
            "combination lean+retry_after=10s: x.yaml:12: model: unknown key 'codex'; did you mean 'codec'?",
        ),
        (
            SMALL,
            ["fleet[1].count=3"],
            None,
            "combination lean+retry_after=10s+count=3: --over fleet[1].count=3: fleet has 1 entries, the first is [0]",
        ),
        (
            PLAIN,
            ["fleet[0].count=5,0"],
            None,
            "combination count=0: --over fleet[0].count=5,0: fleet[0].count (=0) must be a whole number from 1 "
            "to 10000000",
        ),
        (
            PLAIN,
            ["fleet[0].count=1", "fleet[phone].count=2"],
            None,
            "combination 0.count=1+phone.count=2: --over fleet[phone].count=2: fleet[phone].count must not set "
            "again what fleet[0].count sets",
        ),
        (PLAIN, ["stop_time=1 h,1h"], None, "x.yaml: sweep has the combination stop_time=1h twice"),
        (
            PLAIN,
            ["broker=mqtt://me:secret@host"],
            None,
            "--over broker=mqtt://...@host: broker (=...) must not hold a password in a sweep: use --broker",
        ),
        (PLAIN, ["stop_time"], None, "--over stop_time: must be KEY=V1,V2, such as fleet[0].count=10,20"),
        (PLAIN, ["stop_time=[1"], None, "--over stop_time=[1: not valid YAML: "),
        (PLAIN, ["seed=1,2"], None, "sweep.grid (='seed') must not set seed: use sweep.seeds"),
        (PLAIN, [], [1, 1], "--seeds: sweep.seeds[1] (=1) must differ from that of seeds[0]"),
        (
            PLAIN,
            [f"model.layers={','.join(map(str, range(1, 102)))}", f"stop_time={','.join(f'{n} s' for n in range(1, 101))}"],
            None,
            "sweep has more than 10000 combinations",
        ),
    ],
)  # fmt: skip
def test_what_cannot_run_is_refused_by_combination_key_and_place(
    text: str, over: list[str], seeds: list[int] | None, message: str
) -> None:
    with pytest.raises(InputError) as refused:
        expand(text, "x.yaml", over=over, seeds=seeds)
    assert message in str(refused.value)
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("text", ["5-1", "1,x", "0-10000", ""])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be such as 1-5 or 1,2,3, at most 10000 of them"):
        list(read_seeds(text))
