"""An interrupted training continues from its checkpoint, with the same result as without an interruption."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud.training.checkpoint import MIN_INTERVAL_S, NO_CHECKPOINTS, Checkpoints, State
from cloud.training.config import Graph, LeastSquares, Training
from cloud.training.cosine_settings import CosineSoftmax
from cloud.training.loop import LOOP, Factors, Tick
from cloud.training.pretrain import BACKBONES, FACTORS, pretrain
from tests.cloud.worlds import SMALL, checkerboard, ignore

STATE = State(
    {"table": np.array([[1.5, math.nan], [math.inf, -0.0]], dtype=np.float32), "score": np.array(0.1)},
    {"epoch": 3, "rate": 0.1 + 0.2, "none": None, "rates": [1e-300, 2.0]},
)

LEARNED = [name for name in BACKBONES if name != "file"]


class LostPatienceError(Exception):
    """The user has lost patience."""


QUICKLY_LEARNED = [
    pytest.param(name, marks=[pytest.mark.slow] if name == "cosine" else []) for name in LEARNED
]


def always(folder: Path, owner: str = "ours") -> Checkpoints:
    """Keep every state that is offered: an hour passes before each, and none while it is written."""
    hours = (hour // 2 for hour in itertools.count(1))  # 0 at first, then each twice
    return Checkpoints(folder, owner, lambda: 3600 * next(hours))


def settings_of(backbone: str, epochs: int = 6) -> Training:
    return replace(
        SMALL,
        backbone=backbone,
        epochs=epochs,
        evaluate_every=2,
        lightgcn=Graph(batch_size=64, epochs=epochs, evaluate_every=2),
        ials=LeastSquares(epochs=epochs, evaluate_every=2, l2=0.1),
        cosine=CosineSoftmax(rounds=epochs, batch_size=32, sampled_items=20),
    )


def bits(actual: tuple[Factors, dict[str, object]]) -> tuple[bytes, bytes, dict[str, object]]:
    factors, report = actual
    return factors.users.tobytes(), factors.items.tobytes(), report


def same(one: State, other: State) -> bool:
    """Say whether two states are the same to the bit."""

    def content(saved: State) -> list[object]:
        arrays = sorted(saved.arrays.items())
        return [[name, each.dtype, each.shape, each.tobytes()] for name, each in arrays]

    return one.facts == other.facts and content(one) == content(other)


def giving_up_after(ticks: int) -> Tick:
    """Interrupt at the last of so many ticks."""
    left = iter(range(ticks - 1))

    def tick(done: int, total: int, note: str) -> None:
        if next(left, None) is None:
            raise LostPatienceError

    return tick


# --- states on disk ---------------------------------------------------------------------------------


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new", "ours")
    checkpoints.save("one", STATE)
    actual = checkpoints.load("one", pytest.fail)
    assert actual is not None
    assert same(actual, STATE)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.safetensors"]  # no draft is left


def test_a_transposed_table_comes_back_as_it_was(tmp_path: Path) -> None:
    checkpoints, table = Checkpoints(tmp_path, "ours"), np.arange(6.0).reshape(2, 3).T
    checkpoints.save("one", State({"table": table}, {}))
    actual = checkpoints.load("one", pytest.fail)
    assert actual is not None
    assert actual.arrays["table"].tolist() == table.tolist()


def test_the_last_state_of_a_name_counts_until_it_is_dropped(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "new", "ours")
    for epoch in (1, 2):
        checkpoints.save("one", State({}, {"epoch": epoch}))
    actual = checkpoints.load("one", pytest.fail)
    assert actual is not None
    assert actual.facts == {"epoch": 2}
    checkpoints.remove("one")
    checkpoints.remove("one")
    assert checkpoints.load("one", pytest.fail) is None
    checkpoints.clear()
    checkpoints.clear()
    assert not (tmp_path / "new").exists()


def test_a_state_of_something_else_is_not_taken(tmp_path: Path) -> None:
    heard: list[str] = []
    Checkpoints(tmp_path, "theirs").save("one", STATE)
    assert Checkpoints(tmp_path, "ours").load("one", heard.append) is None
    assert heard == ["checkpoint one.safetensors is not used: it belongs to theirs, not to ours"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255), cut=st.booleans())
def test_damage_is_found(tmp_path: Path, position: float, flip: int, cut: bool) -> None:
    checkpoints, heard = Checkpoints(tmp_path, "ours"), list[str]()
    checkpoints.save("one", STATE)
    file = tmp_path / "one.safetensors"
    raw = bytearray(file.read_bytes())
    at = int(position * len(raw))
    raw[at] ^= flip
    file.write_bytes(raw[:at] if cut else raw)
    actual = checkpoints.load("one", heard.append)
    assert (actual is None) == (len(heard) == 1)
    assert actual is None or same(actual, STATE)  # the last digit of a number may not count


def test_writing_takes_a_small_part_of_the_time(tmp_path: Path) -> None:
    now = 100.0
    written: list[float] = []

    def slow_state() -> State:
        nonlocal now
        written.append(now)
        now += 1.0  # writing takes a second, so twenty seconds pass until the next
        return State({}, {})

    checkpoints = Checkpoints(tmp_path, "ours", lambda: now)
    for _ in range(100):
        checkpoints.maybe_save("one", slow_state)
        now += 2.0
    assert written[:3] == [100.0, 121.0, 142.0]


def test_quick_states_are_written_now_and_then(tmp_path: Path) -> None:
    seconds = iter(np.arange(0, 100, 0.5).tolist())
    offered, written = 40, itertools.count()
    checkpoints = Checkpoints(tmp_path, "ours", seconds.__next__)
    for _ in range(offered):
        checkpoints.maybe_save("one", lambda: State({}, {"number": next(written)}))
    assert 1 < next(written) <= 1 + offered * 0.5 / MIN_INTERVAL_S + 1


def test_nowhere_keeps_nothing() -> None:
    NO_CHECKPOINTS.save("one", STATE)
    NO_CHECKPOINTS.maybe_save("one", lambda: pytest.fail("asked for a state that nobody keeps"))
    NO_CHECKPOINTS.remove("one")
    NO_CHECKPOINTS.clear()
    assert NO_CHECKPOINTS.load("one", pytest.fail) is None


# --- trainings that go on ---------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", QUICKLY_LEARNED)
@pytest.mark.parametrize("ticks", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_same_bits(backbone: str, ticks: int, tmp_path: Path) -> None:
    config, world = settings_of(backbone), checkerboard()
    with pytest.raises(LostPatienceError):
        pretrain(world, config, giving_up_after(ticks), always(tmp_path))
    assert (tmp_path / f"{LOOP}.safetensors").exists()
    heard: list[tuple[int, str]] = []
    actual = pretrain(world, config, lambda done, _, note: heard.append((done, note)), always(tmp_path))
    went_on = 2 * ticks - 1  # the epoch before the look at which patience was lost
    assert heard[0] == (went_on, f"continues from a checkpoint after epoch {went_on}")
    assert bits(actual) == bits(pretrain(world, config, ignore))


@pytest.mark.parametrize("backbone", QUICKLY_LEARNED)
def test_a_training_that_is_interrupted_again_and_again_ends(backbone: str, tmp_path: Path) -> None:
    config, world = settings_of(backbone, epochs=12), checkerboard()

    def attempts() -> Iterator[tuple[Factors, dict[str, object]] | None]:
        for _ in range(10):
            try:
                # The first tick tells that it goes on, then come a look that is survived and one that is not.
                yield pretrain(world, config, giving_up_after(3), always(tmp_path))
            except LostPatienceError:
                yield None

    number, actual = next((number, each) for number, each in enumerate(attempts()) if each is not None)
    assert number >= 2
    assert bits(actual) == bits(pretrain(world, config, ignore))


@pytest.mark.parametrize("backbone", [name for name in LEARNED if name != "cosine"])  # it stops at its end
def test_early_stopping_is_the_same_after_an_interruption(backbone: str, tmp_path: Path) -> None:
    """The count of looks without a gain survives, and so do the best tables of long ago."""
    hasty = Training(
        dim=8,
        seed=3,
        backbone=backbone,  # type: ignore[arg-type]
        batch_size=32,
        epochs=60,
        evaluate_every=1,
        patience=3,
        lightgcn=Graph(batch_size=64, epochs=60, evaluate_every=1, patience=3),
        ials=LeastSquares(epochs=60, evaluate_every=1, patience=3, l2=0.1),
    )
    world = checkerboard()
    expected = pretrain(world, hasty, ignore)
    stopped = expected[1]["epochs"]
    assert isinstance(stopped, int)
    assert stopped < 60
    with pytest.raises(LostPatienceError):
        pretrain(world, hasty, giving_up_after(stopped), always(tmp_path))
    assert bits(pretrain(world, hasty, ignore, always(tmp_path))) == bits(expected)


def test_pretraining_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    config, world, heard = settings_of("mf"), checkerboard(), list[str]()
    once = pretrain(world, config, ignore, always(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == [f"{FACTORS}.safetensors"]
    again = pretrain(world, config, lambda done, total, note: heard.append(note), always(tmp_path))
    assert heard == ["loaded from a checkpoint"]
    assert bits(again) == bits(once)


@pytest.mark.parametrize("name", [LOOP, FACTORS])
def test_a_damaged_checkpoint_is_told_and_training_starts_anew(name: str, tmp_path: Path) -> None:
    config, world, heard = settings_of("mf"), checkerboard(), list[str]()
    (tmp_path / f"{name}.safetensors").write_bytes(b"not a checkpoint")
    actual = pretrain(world, config, lambda done, total, note: heard.append(note), always(tmp_path))
    assert heard[0].startswith(f"checkpoint {name}.safetensors is not used: ")
    assert bits(actual) == bits(pretrain(world, config, ignore))


def test_a_checkpoint_of_another_training_is_not_taken(tmp_path: Path) -> None:
    config, world, heard = settings_of("mf"), checkerboard(), list[str]()
    with pytest.raises(LostPatienceError):
        pretrain(world, replace(config, seed=9), giving_up_after(2), always(tmp_path, "theirs"))
    actual = pretrain(world, config, lambda done, total, note: heard.append(note), always(tmp_path))
    assert heard[0].endswith("it belongs to theirs, not to ours; training starts again")
    assert bits(actual) == bits(pretrain(world, config, ignore))
