"""``train`` says in ten lines what was read, what was dropped and what came of it; ``validate`` looks."""

import json
from pathlib import Path

import pytest

from tests.emulator.cli.test_main import FROM_FILES, peelfleet

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"


def write(folder: Path, rows: list[str], header: str = HEADER) -> Path:
    (folder / "w.inter").write_text(header + "".join(rows))
    data = "data: {type: recbole, path: w.inter, min_rating: 0}"
    lines = [data if line.startswith("data:") else line for line in FROM_FILES.splitlines()]
    (folder / "x.yaml").write_text("\n".join(lines) + "\n")
    return folder / "x.yaml"


RATED = [f"u{n % 20}\ti{n * 7 % 31}\t{-1 if n % 4 == 0 else n % 5}\t{n}\n" for n in range(400)]
RATED.append(RATED[1])
DROPPED = sum("\t-1\t" in row for row in RATED)


def test_train_says_what_was_read_and_what_was_dropped(tmp_path: Path) -> None:
    write(tmp_path, RATED)
    done = peelfleet("train", "x.yaml", "--store", "stores", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) <= 10
    manifest = json.loads((tmp_path / lines[-1].removeprefix("store: ") / "manifest.json").read_text())
    origin = manifest["origin"]["data"]
    assert origin["rows"] == len(RATED)
    assert origin["dropped"]["below min_rating 0"] == DROPPED
    assert lines[:4] == [
        f"model {manifest['version']}, trained now",
        f"data: w, {origin['users']} users, {origin['items']} items",
        f"read: {len(RATED)} rows, {DROPPED} below min_rating 0, {origin['dropped']['repeated']} repeated",
        f"interactions: {origin['train']} to train, {origin['valid']} to validate, {origin['test']} to test",
    ]
    again = json.loads(peelfleet("train", "x.yaml", "--store", "stores", "--json", folder=tmp_path).stdout)
    assert (again["model_version"], again["trained"]) == (manifest["version"], False)
    assert (again["rows"], again["dropped"]) == (len(RATED), origin["dropped"])
    assert again["test"] == manifest["report"]["test"]
    run = peelfleet("run", "x.yaml", "--store", "stores", folder=tmp_path)
    assert run.returncode == 0, run.stderr
    assert lines[2] in run.stderr
    looked = peelfleet("validate", "x.yaml", folder=tmp_path)
    assert (looked.returncode, looked.stdout) == (0, "x.yaml: tiny is valid\n")
    assert looked.stderr.splitlines() == lines[1:3]


@pytest.mark.parametrize("verb", ["validate", "train", "run"])
def test_nobody_to_measure_is_said_before_training(verb: str, tmp_path: Path) -> None:
    write(tmp_path, [f"u{n}\ti{n % 7}\t5\t{n}\n" for n in range(40)])
    stores = ["--store", "stores"] if verb != "validate" else []
    done = peelfleet(verb, "x.yaml", *stores, folder=tmp_path)
    assert done.returncode == 2
    assert "w: no user has test interactions, so quality cannot be measured" in done.stderr
    assert not (tmp_path / "stores").exists()


def test_data_that_are_not_there_are_not_looked_at(tmp_path: Path) -> None:
    write(tmp_path, []).with_name("w.inter").unlink()
    done = peelfleet("validate", "x.yaml", folder=tmp_path)
    assert done.returncode == 0
    assert done.stderr.startswith("data: not checked: w.inter: no such data; give --data")
    assert peelfleet("validate", "x.yaml", "--data", "w.inter", folder=tmp_path).returncode == 2
