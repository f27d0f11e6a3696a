"""What a scenario file may say, and the one line that says what is wrong with it."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloud.data.sources import ByTime, LightGCN, Synthetic, Table
from devices.memory import BoundedWalk, DailyCurve, SquareWave
from devices.simulated.link import Direction, Network
from scenarios.language.load import dump, load, parse
from scenarios.language.scenario import Scenario
from scenarios.language.schema import Updates
from scenarios.language.thresholds import rules_of
from tests.scenarios.refusals import (
    OVERRIDE_PROBLEMS,
    SCALAR_TRAPS,
    SMALL,
    VALUE_PROBLEMS,
    WHOLE_FILES,
    YAML_PROBLEMS,
)
from wire.codecs import Codec
from wire.errors import InputError
from wire.units import BitsPerSecond, Bytes, Duration, Share

GIB = 2**30
MS = 10**6


def refusal(text: str, *overrides: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "x.yaml", overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestValues:
    def test_what_is_left_out_has_its_default(self) -> None:
        scenario = parse(SMALL)
        assert (scenario.seed, scenario.clock, scenario.broker) == (0, "lockstep", "auto")
        assert scenario.data == Synthetic()
        assert scenario.model.codec is Codec.CODED
        assert scenario.updates == Updates()
        assert scenario.networks == {"default": Network()}
        assert scenario.fleet[0].memory == BoundedWalk()

    def test_quantities_have_their_types(self) -> None:
        scenario = parse(SMALL + "    budget: {share: 0.5 %}\n    start_within: 90 s\n")
        assert type(scenario.stop_time) is Duration
        assert type(scenario.updates.max_payload) is Bytes
        assert type(scenario.fleet[0].budget.share) is Share
        assert scenario.fleet[0].start_within == 90_000 * MS

    def test_a_mapping_with_a_type_chooses_a_kind(self) -> None:
        scenario = parse(
            SMALL + "    memory: {type: daily, mean: 3 GiB}\ndata: {type: lightgcn, path: ml-1m}"
        )
        assert scenario.fleet[0].memory == DailyCurve(mean=Bytes(3 * GIB))
        assert scenario.data == LightGCN(path="ml-1m")

    def test_a_part_written_in_part_keeps_the_default_of_the_whole(self) -> None:
        scenario = parse(SMALL + "networks: {lte: {downlink: {latency: 30 ms}}}")
        downlink = scenario.networks["lte"].downlink
        assert downlink == Direction(latency=Duration(30 * MS), bandwidth=Network().downlink.bandwidth)

    def test_the_network_named_default_can_be_given(self) -> None:
        given = parse(SMALL + "networks: {default: {uplink: {bandwidth: 1 Mbps}}}").networks["default"]
        assert given.uplink.bandwidth == BitsPerSecond(1_000_000)

    def test_null_is_a_value_where_it_means_something(self) -> None:
        assert (
            parse(SMALL + "    memory: {type: bounded_walk, initial: null}\n").fleet[0].memory
            == BoundedWalk()
        )

    def test_numbers_may_stand_for_shares_and_whole_numbers_for_numbers(self) -> None:
        scenario = parse(SMALL + "    budget: {share: 0.25}\ndata: {type: synthetic, group_taste: 2}")
        assert scenario.fleet[0].budget.share == 0.25
        assert scenario.data == Synthetic(group_taste=2.0)

    def test_quoted_text_stays_text(self) -> None:
        assert parse(SMALL + "description: '1:30'").description == "1:30"
        assert parse(SMALL + 'description: "no"').description == "no"
        assert parse(SMALL + "description: |\n  first\n  second\n").description == "first\nsecond\n"

    def test_a_byte_order_mark_and_document_marks_are_fine(self) -> None:
        assert parse("\ufeff---\n" + SMALL + "...\n") == parse(SMALL)

    def test_device_ids_of_groups_with_nested_names_differ(self) -> None:
        names = ("phone", "phone-0", "phone-00000")
        ids = [f"{name}-{at:05d}" for name in names for at in (*range(12), 99_999, 100_000, 1_234_567)]
        assert len(set(ids)) == len(ids)


class TestAnchors:
    def test_aliases_and_merge_keys_work(self) -> None:
        scenario = parse("""\
x-memory: &wave {type: square_wave, low: 1 GiB, high: 2 GiB}
x-device: &device {count: 5, memory: *wave}
version: 1
name: merged
stop_time: 1 h
fleet:
  - {<<: *device, name: a}
  - {name: b, count: 7, <<: [*device]}
""")
        wave = SquareWave(low=Bytes(GIB), high=Bytes(2 * GIB))
        assert [(group.name, group.count, group.memory) for group in scenario.fleet] == [
            ("a", 5, wave),
            ("b", 7, wave),
        ]

    def test_of_several_merged_mappings_the_earlier_wins(self) -> None:
        text = SMALL.replace("- name: phone\n    count: 3", "- {<<: [{count: 1}, {count: 2, name: b}]}")
        assert [(group.name, group.count) for group in parse(text).fleet] == [("b", 1)]

    def test_merges_nest(self) -> None:
        text = SMALL.replace("    count: 3", "    <<: *b").replace(
            "fleet:", "x-a: &a {count: 4}\nx-b: &b {<<: *a, network: default}\nfleet:"
        )
        assert parse(text).fleet[0].count == 4

    def test_a_wrong_value_that_was_merged_is_shown_where_it_is_written(self) -> None:
        text = "x-device: &device\n  count: 0\n" + SMALL.replace("    count: 3", "    <<: *device")
        assert refusal(text) == "x.yaml:2: fleet[0].count (=0) must be a whole number from 1 to 10000000"

    def test_keys_with_x_are_ignored_at_the_top_level_only(self) -> None:
        assert parse("x-note: {any: [thing, 1e3, no]}\n" + SMALL) == parse(SMALL)
        assert refusal(SMALL + "cloud: {x-note: 1}") == (
            "x.yaml:7: cloud: unknown key 'x-note'; "
            "known keys: service_time, distribution, workers, queue_limit, coalesce"
        )

    @pytest.mark.parametrize(
        ("extra", "message"),
        [
            ("cloud: &c {<<: *c}", "x.yaml:7: cloud: contains itself through an alias"),
            ("cloud: &c [*c]", "x.yaml:7: cloud[0]: contains itself through an alias"),
            ("cloud: *nothing", "x.yaml:7: found undefined alias 'nothing'"),
            ("cloud: {<<: 3}", "x.yaml:7: cloud[<<] must be a mapping, or a list of mappings"),
            ("cloud: {<<: {}, <<: {}}", "x.yaml:7: cloud[<<]: key given twice, first at x.yaml:7"),
        ],
    )
    def test_what_cannot_be_merged_is_refused(self, extra: str, message: str) -> None:
        assert refusal(SMALL + extra) == message

    def test_a_bomb_of_aliases_is_refused_in_time(self) -> None:
        lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
        began = time.process_time()
        assert refusal("\n".join(lines)).endswith("aliases expand to more than 100000 values")
        assert time.process_time() - began < 3

    def test_a_bomb_of_merges_is_refused_in_time(self) -> None:
        lines = ["a0: &a0 {x: 1}"]
        lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
        began = time.process_time()
        assert refusal("\n".join(lines)).endswith("aliases expand to more than 100000 values")
        assert time.process_time() - began < 3

    def test_a_tower_of_aliases_is_refused(self) -> None:
        lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [[[[[*a{n - 1}]]]]]" for n in range(1, 300))]
        assert refusal("\n".join(lines)).endswith("aliases nest deeper than 32 levels")


class TestRefusals:
    @pytest.mark.parametrize(("text", "message"), YAML_PROBLEMS)
    def test_yaml_that_is_broken_or_misleading(self, text: str, message: str) -> None:
        assert refusal(text) == message

    @pytest.mark.parametrize(("word", "reason"), SCALAR_TRAPS)
    def test_words_that_yaml_readers_disagree_about(self, word: str, reason: str) -> None:
        assert refusal(SMALL + f"seed: {word}") == f"x.yaml:7: seed (={word}) {reason}"
        assert parse(SMALL + f"description: '{word}'").description == word

    @pytest.mark.parametrize(("text", "message"), VALUE_PROBLEMS)
    def test_values_that_break_a_rule(self, text: str, message: str) -> None:
        assert refusal(SMALL + text) == f"x.yaml:7: {message}"

    @pytest.mark.parametrize(("text", "message"), WHOLE_FILES)
    def test_files_that_break_a_rule(self, text: str, message: str) -> None:
        assert refusal(text) == message

    def test_a_long_value_is_cut(self) -> None:
        assert len(refusal(SMALL + "broker: " + "x" * 5000)) == 400

    def test_a_value_of_several_lines_makes_one_line(self) -> None:
        assert "a\\nb" in refusal(SMALL + "broker: |\n  a\n  b\n")

    def test_too_long_a_text_is_refused(self) -> None:
        assert refusal("#" * 3_000_000) == "x.yaml: has 3000000 characters; a scenario has at most 2097152"


class TestFiles:
    def test_a_file_is_read_and_named_in_errors(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        path.write_text(SMALL, encoding="utf-8")
        assert load(path, ["seed=3"]) == parse(SMALL, overrides=["seed=3"])
        path.write_text(SMALL + "seed: x\n", encoding="utf-8")
        with pytest.raises(InputError, match=f"^{re.escape(str(path))}:7: seed"):
            load(path)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no\.yaml: no such file$"):
            load(tmp_path / "no.yaml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"is a folder, not a scenario file$"):
            load(tmp_path)

    def test_a_name_that_no_file_can_have(self) -> None:
        with pytest.raises(InputError, match="cannot be read"):
            load(Path("a\0b"))
        with pytest.raises(InputError, match="cannot be read"):
            load(Path("a" * 5000))

    def test_bytes_that_are_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / "x.yaml"
        path.write_bytes(SMALL.encode() + b"description: \xff\n")
        with pytest.raises(InputError, match=r"x\.yaml:7: byte 0xff is not UTF-8 text$"):
            load(path)


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "path", "value"),
        [
            ("seed=3", "seed", 3),
            ("clock=virtual", "clock", "virtual"),
            ("stop_time=90 min", "stop_time", 5400 * 10**9),
            ("fleet[0].count=10", "fleet.0.count", 10),
            ("fleet[phone].count=10", "fleet.0.count", 10),
            ("fleet[phone].memory.max=8 GiB", "fleet.0.memory.max", 8 * GIB),
            ("fleet[phone].memory={type: square_wave, low: 1 GiB}", "fleet.0.memory.low", GIB),
            ("cloud.service_time=1 ms", "cloud.service_time", MS),
            ("model.training.epochs=1", "model.training.epochs", 1),
            ("data.users=50", "data.users", 50),
            ("data={type: table, path: x.csv, time: t}", "data.time", "t"),
            ("networks.default.uplink.loss=1 %", "networks.default.uplink.loss", 0.01),
            ("networks[default].downlink.latency=1 ms", "networks.default.downlink.latency", MS),
            ("broker=mqtt://127.0.0.1:1883", "broker", "mqtt://127.0.0.1:1883"),
            ("description='a: b'", "description", "a: b"),
            (" seed = 4", "seed", 4),
        ],
    )
    def test_a_value_changes(self, override: str, path: str, value: object) -> None:
        found: object = parse(SMALL, overrides=[override])
        for part in path.split("."):
            if isinstance(found, dict | tuple):
                found = found[int(part)] if isinstance(found, tuple) else found[part]
            else:
                found = getattr(found, part)
        assert found == value

    def test_what_is_no_scenario_at_all_is_told_first(self) -> None:
        assert refusal("[1]", "seed=1") == "x.yaml:1: a scenario must be a mapping of keys, not a list"

    def test_the_last_one_counts_and_they_see_each_other(self) -> None:
        scenario = parse(SMALL, overrides=["seed=1", "seed=2", "fleet[0].name=b", "fleet[b].count=9"])
        assert (scenario.seed, scenario.fleet[0].name, scenario.fleet[0].count) == (2, "b", 9)

    def test_one_that_mends_the_file_mends_it(self) -> None:
        assert parse(SMALL + "seed: x\n", overrides=["seed=1"]).seed == 1

    def test_a_shared_anchor_changes_in_one_place_only(self) -> None:
        text = (
            "x-m: &m {type: bounded_walk}\n" + SMALL + "    memory: *m\n  - {name: b, count: 1, memory: *m}\n"
        )
        scenario = parse(text, overrides=["fleet[b].memory.max=7 GiB"])
        assert [group.memory for group in scenario.fleet] == [BoundedWalk(), BoundedWalk(max=Bytes(7 * GIB))]

    @pytest.mark.parametrize(("override", "message"), OVERRIDE_PROBLEMS)
    def test_what_cannot_be_is_refused(self, override: str, message: str) -> None:
        assert refusal(SMALL + "seed: 5\n", override) == message


class TestDump:
    def test_it_shows_every_default_with_its_unit(self) -> None:
        text = dump(parse(SMALL))
        for line in ("seed: 0", "clock: lockstep", "stop_time: 1 h", "  max_payload: 128 KiB"):
            assert line in text.splitlines()
        assert "    share: 0.01 %" in text

    def test_it_reads_back(self) -> None:
        scenario = parse(SMALL + "data: {type: table, path: x.csv, time: t, split: {type: time}}\n")
        assert isinstance(scenario.data, Table)
        assert scenario.data.split == ByTime()
        assert parse(dump(scenario)) == scenario

    @pytest.mark.parametrize(
        "text",
        [
            "no",
            "1e3",
            "0777",
            "1:30",
            "null",
            "",
            " x ",
            "a: b",
            "#",
            "*",
            "=",
            "<<",
            "a\nb\n",
            "\x85",
            "é\n\n b",
        ],
    )
    def test_text_that_looks_like_something_else_stays_text(self, text: str) -> None:
        scenario = parse(SMALL, overrides=[])
        described = Scenario(
            version=1, name="n", description=text, stop_time=scenario.stop_time, fleet=scenario.fleet
        )
        assert parse(dump(described)) == described


def test_loading_imports_no_training_and_takes_well_under_a_second() -> None:
    program = (
        "import sys, time; began = time.process_time(); from pathlib import Path\n"
        "from scenarios.language.load import load, shipped\n"
        "[load(path) for path in shipped()]; print(time.process_time() - began)\n"
        "print([name for name in ('torch', 'sklearn', 'paho', 'aiomqtt') if name in sys.modules])"
    )
    output = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    ).stdout
    seconds, modules = output.splitlines()
    assert modules == "[]"
    assert float(seconds) < 2.0  # about 0.3 on an idle core; the machine may be busy


def test_a_share_reads_the_same_in_percent_and_as_a_number_wherever_it_stands() -> None:
    """Also where the schema has a plain number from 0 to 1, in the file and after --set."""
    both = [
        ("model: {training: {dropout: 45 %}}", "model: {training: {dropout: .45}}"),
        (
            "data: {type: lightgcn, path: x, valid_share: 20 %}",
            "data: {type: lightgcn, path: x, valid_share: .2}",
        ),
        ("updates: {headroom: 45%}", "updates: {headroom: .45}"),
        ("thresholds: {over_budget_share: [value<5%]}", "thresholds: {over_budget_share: [value<.05]}"),
    ]
    for percent, number in both[:3]:
        assert parse(SMALL + percent) == parse(SMALL + number)
    limits = [rules_of(parse(SMALL + each).thresholds)[0].limit for each in both[3]]
    assert limits == [0.05, 0.05]
    assert parse(SMALL, "x.yaml", ["updates.headroom=45 %"]) == parse(
        SMALL, "x.yaml", ["updates.headroom=.45"]
    )
    assert refusal(SMALL + "updates: {headroom: 45}").endswith("0 % to 100 %; did you mean '45 %'?")
    assert refusal(SMALL + "model: {training: {dropout: 145 %}}").endswith("must be a number >= 0 and < 1")
