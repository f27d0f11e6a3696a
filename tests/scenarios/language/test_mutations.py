"""Good scenarios mutated at random: a clean scenario that runs, or one line that says what is wrong."""

from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.recommender.quality import HeldOut
from emulator.simulation.job import Job, build_fleet
from emulator.simulation.model_cache import PreparedModel, prepare_model
from emulator.simulation.simulation import Simulation
from emulator.simulation.trace_files import check_trace_files, read_trace_files
from scenarios.language.load import dump, load, parse, shipped
from scenarios.language.scenario import Scenario
from tests.emulator.storms import STORM
from tests.scenarios.mutations import mutant
from wire.errors import InputError

TURNS = 3
"""So many times ten thousand steps are enough to see that a run goes."""
DRAIN = 20
"""So many times ten thousand steps after the stop time are too many."""
LATE = "run: "
"""How a message begins that only a run has found."""
GOOD = {path.name: path.read_text() for path in shipped()} | {"storm.yaml": STORM}


class Enough(Exception):  # noqa: N818 - it is none
    """The run has gone on for long enough."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> PreparedModel:
    tiny = parse(STORM)
    return prepare_model(tiny.data, tiny.model, tmp_path_factory.mktemp("stores"), lambda *_: None)


def reduced(scenario: Scenario) -> Scenario:
    """Return the scenario with few devices, in memory."""
    groups = tuple(msgspec.structs.replace(each, count=min(each.count, 2)) for each in scenario.fleet)
    return msgspec.structs.replace(scenario, fleet=groups, clock="virtual", broker="auto")


def ran(scenario: Scenario, model: PreparedModel, folder: Path) -> str:
    """Run a scenario with another model, as far as is needed; return what is wrong with it, or nothing."""
    turns = Counter[bool]()

    def progress(now_ns: int) -> None:
        over = now_ns >= scenario.stop_time
        turns[over] += 1
        assert turns[True] < DRAIN, "what is under way at the stop time never arrives"
        if turns[False] > TURNS and not over:
            raise Enough

    try:
        recordings = read_trace_files(scenario.fleet)
        devices, users = build_fleet(scenario, model)
        truth = HeldOut(model.interactions.known, model.interactions.test)
        job = Job(scenario, "fleet", model.store, truth, devices, users, folder, traces=recordings)
        Simulation(job, progress).run_virtual()
    except Enough:
        return ""
    except InputError as error:
        return f"{LATE}{error}"
    return ""


def outcome(text: str, model: PreparedModel, folder: Path) -> str:
    """Return the one line that says what is wrong with the scenario *text*, nothing if it runs."""
    file = folder / "x.yaml"
    file.write_text(text, encoding="utf-8")
    (folder / "traces").symlink_to(shipped()[0].parent / "traces")
    try:
        scenario = load(file)
        check_trace_files([scenario])
    except InputError as error:
        return str(error).replace(str(file), "x.yaml")
    assert parse(dump(scenario)) == scenario
    return ran(reduced(scenario), model, folder)


def check(name: str, seed: int, model: PreparedModel, folder: Path) -> str:
    message = outcome(mutant(GOOD[name], seed), model, folder)
    # What hangs on the trained model is known no earlier; all else is said by `validate`.
    assert not message.startswith(LATE) or any(words in message for words in ("max_payload", "boundary"))
    assert message.isprintable()
    assert len(message) <= 400
    return message


@pytest.mark.parametrize("name", GOOD)
def test_the_files_themselves_run(name: str, model: PreparedModel, tmp_path: Path) -> None:
    assert outcome(GOOD[name], model, tmp_path) == ""


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(GOOD)), seed=st.integers(0, 2**32))
def test_a_mutated_scenario_runs_or_is_refused_in_one_line(
    model: PreparedModel, tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    check(name, seed, model, tmp_path_factory.mktemp("mutant"))
