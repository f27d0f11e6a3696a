"""Trained models are cached atomically, in limited space, and trained by one process at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cloud.blocks.trained_model import TrainedModel
from cloud.training.checkpoint import Checkpoints, State
from cloud.training.model_cache import TrainedModelCache, from_state, to_state

HOLD = """
import sys, time
from pathlib import Path
from cloud.training.model_cache import TrainedModelCache
with TrainedModelCache(Path(sys.argv[1])).lock("key", print):
    print("mine", flush=True)
    time.sleep(60)
"""


def a_model(seed: int = 0, items: int = 5) -> TrainedModel:
    """Three groups, of which two share a table; one array has its columns end to end."""
    rng = np.random.default_rng(seed)
    shared, own = (rng.random((items, 2), dtype=np.float32) for _ in range(2))
    return TrainedModel(
        np.asfortranarray(rng.random((4, 2), dtype=np.float32)),
        np.array([0, 1, 2, 1]),
        (shared, own, shared),
        rng.random((3, 2)),
        rng.random((3, items), dtype=np.float32),
        rng.random((3, 2, 1), dtype=np.float32),
        {"test": {"ndcg_at_10": 0.1 + 0.2, "users": 4}, "none": None},
    )


def bits(model: TrainedModel) -> list[object]:
    arrays: list[NDArray[Any]] = [model.user_vectors, model.user_groups, *model.item_tables]
    arrays += [model.second_moments, model.item_weights, model.corrections]
    return [[(each.dtype, each.shape, each.tobytes()) for each in arrays], model.report]


def test_a_model_comes_back_to_the_bit(tmp_path: Path) -> None:
    heard: list[str] = []
    kept, model = TrainedModelCache(tmp_path / "kept"), a_model()
    assert kept.load("key", heard.append) is None
    kept.store("key", to_state(model), heard.append)
    actual = kept.load("key", heard.append)
    assert actual is not None
    assert bits(actual) == bits(model) == bits(from_state(to_state(model)))
    assert actual.item_tables[0] is actual.item_tables[2]
    assert all(
        each.flags.c_contiguous for each in (actual.user_vectors, from_state(to_state(model)).user_vectors)
    )
    assert heard == []


def test_who_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    one = tmp_path / "one"
    TrainedModelCache(one).store("size", to_state(a_model()), print)
    size = (one / "size.safetensors").stat().st_size
    kept = TrainedModelCache(tmp_path / "kept", most_bytes=3 * size + size // 2)
    for age, key in enumerate(["old", "older", "oldest"]):
        kept.store(key, to_state(a_model()), print)
        then = time.time_ns() - (age + 1) * 10**9
        os.utime(kept.folder / f"{key}.safetensors", ns=(then, then))
    assert kept.load("oldest", print) is not None  # which makes it the latest
    kept.store("new", to_state(a_model()), print)
    assert sorted(path.stem for path in kept.folder.iterdir()) == ["new", "old", "oldest"]


def test_what_is_too_large_is_not_kept(tmp_path: Path) -> None:
    kept = TrainedModelCache(tmp_path / "kept", most_bytes=1000)
    kept.store("key", to_state(a_model(items=200)), print)
    assert not kept.folder.exists()


def test_what_is_damaged_or_of_another_key_is_not_taken(tmp_path: Path) -> None:
    heard: list[str] = []
    kept = TrainedModelCache(tmp_path / "kept")
    kept.store("key", to_state(a_model()), heard.append)
    file = kept.folder / "key.safetensors"
    (kept.folder / "other.safetensors").write_bytes(file.read_bytes())
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert (kept.load("key", heard.append), kept.load("other", heard.append)) == (None, None)
    assert [words.split(": ", 1)[1] for words in heard] == [
        "it is damaged: its checksum is not that of its content",
        "it belongs to key, not to other",
    ]


def test_a_state_that_is_no_model_is_told(tmp_path: Path) -> None:
    """Its checksum and its owner are right, but it has other arrays."""
    heard: list[str] = []
    Checkpoints(tmp_path, "key").save("key", State({"users": np.zeros(3)}, {"tables": [0]}))
    assert TrainedModelCache(tmp_path).load("key", heard.append) is None
    assert heard == ["key.safetensors is not used: it is no trained model: KeyError('user_vectors')"]


def test_a_folder_that_cannot_be_written_costs_no_training(tmp_path: Path) -> None:
    heard: list[str] = []
    (tmp_path / "kept").write_text("a file where the folder should be")
    kept, model = TrainedModelCache(tmp_path / "kept"), a_model()
    with kept.lock("key", heard.append):
        kept.store("key", to_state(model), heard.append)
    assert [words.rsplit(": ", 1)[1] for words in heard] == ["File exists", "File exists"]


def test_a_second_process_waits_until_the_first_is_gone(tmp_path: Path) -> None:
    """Even where the first is killed: its lock is void, and its file does no harm."""
    heard: list[str] = []
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"mine\n"

        def noticed(words: str) -> None:
            heard.append(words)
            holder.kill()

        with TrainedModelCache(tmp_path).lock("key", noticed):
            assert [path.name for path in tmp_path.iterdir()] == [".key.lock"]
    assert heard == ["another process trains this model; waiting for it"]
    assert list(tmp_path.iterdir()) == []
