"""``peelfleet pee`` and ``recommend``: from a scenario to a file, from the file to recommendations."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cloud.data.load import load as load_data
from devices.protocol.block_prefix import BlockPrefix
from devices.recommender.item_catalogue import read_catalogue
from devices.recommender.learning import LearningSettings, learn_pee
from devices.recommender.pee_file import read_pee, recommend
from devices.recommender.quality import HeldOut, user_qualities
from emulator.simulation.model_cache import PreparedModel, prepare_model
from scenarios.language.load import parse
from tests.emulator.cli.test_main import peelfleet, write
from tests.emulator.scenarios import TINY
from tests.pages import blocks

USER = "user-7"
HEAVY = ("torch", "pyarrow", "simpy", "aiomqtt", "yaml", "plotly", "sklearn", "scipy", "constriction")


@pytest.fixture
def tiny_pee(tmp_path: Path, store_root: Path) -> Path:
    """A PEE of the tiny scenario in int8, on half the budget that its whole table takes."""
    done = peelfleet(
        "pee", write(tmp_path), "--user", USER, "--budget", "800 B", "--set", "model.codec=int8",
        "--store", store_root, folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return tmp_path / "pee.safetensors"


def a_model(store_root: Path) -> PreparedModel:
    scenario = parse(TINY, "tiny", ["model.codec=int8"])
    return prepare_model(scenario.data, scenario.model, store_root, lambda *_: None)


def test_a_pee_holds_the_layer_of_its_budget_and_says_so(tmp_path: Path, store_root: Path) -> None:
    done = peelfleet(
        "pee", write(tmp_path), "--user", USER, "--budget", "800B", "-o", "mine.pee",
        "--set", "model.codec=int8", "--store", store_root, folder=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.pee", "x.yaml"]  # no draft is left
    pee, model = read_pee(tmp_path / "mine.pee"), a_model(store_root)
    number = model.interactions.user_ids.index(USER)
    store, interactions = model.store, model.interactions
    group = store.groups[int(store.user_groups[number])]
    assert pee.fields.layer == group.layers.best(800)
    assert pee.shelf.ids == group.ranking()[: group.layers.blocks[pee.fields.layer]]
    assert pee.resident_bytes == group.layers.bytes[pee.fields.layer] <= 800
    assert pee.user_vector.tolist() == store.user_vectors[number].tolist()
    assert pee.known_items.tolist() == interactions.known[number].tolist()
    assert [pee.item_names[item] for item in range(80)] == list(interactions.item_ids)
    said = re.search(r"; ([\d,]+) B of ([\d,]+) B; NDCG@10 ([\d.]+) on (\d+) test items", done.stdout)
    assert said is not None, done.stdout
    assert said[1].replace(",", "") == str(pee.resident_bytes)
    assert (said[2], int(said[4])) == ("800", len(interactions.test[number]))
    whole = BlockPrefix(store.geometry, group.layers)
    whole.append(group.blocks)
    quality = user_qualities(
        {pee.fields.group: whole},
        np.array([number]),
        store.user_groups,
        store.user_vectors,
        HeldOut(interactions.known, interactions.test),
    )
    assert said[3] == f"{quality[number].at(pee.fields.layer).ndcg_at_10:.4f}"


def test_recommendations_come_as_a_table_or_as_json_without_what_is_known(tiny_pee: Path) -> None:
    interactions = load_data(parse(TINY, "tiny").data)
    number = interactions.user_ids.index(USER)
    known = {interactions.item_ids[item] for item in interactions.known[number]}
    done = peelfleet("recommend", tiny_pee, "-k", "5", "--json", folder=tiny_pee.parent)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, [each["rank"] for each in found]) == (0, [1, 2, 3, 4, 5])
    assert known.isdisjoint(each["item"] for each in found)
    head, *rows = peelfleet("recommend", tiny_pee, "-k", "5", folder=tiny_pee.parent).stdout.splitlines()
    assert head.split() == ["rank", "item", "score"]
    assert [row.split() for row in rows] == [
        [str(each["rank"]), each["item"], f"{each['score']:.4f}"] for each in found
    ]
    every = peelfleet("recommend", tiny_pee, "-k", "1000", "--all", "--json", folder=tiny_pee.parent).stdout
    assert {json.loads(line)["item"] for line in every.splitlines()} == set(interactions.item_ids)


def test_what_was_met_since_moves_the_vector_and_is_not_recommended_again(tiny_pee: Path) -> None:
    """The recommendations are those of the learned vector; items that the catalogue lacks are left out."""
    folder, pee = tiny_pee.parent, read_pee(tiny_pee)
    met = [item for item in range(len(pee.item_names)) if item not in pee.known_items][:3]
    names = [pee.item_names[item] for item in met]
    lines = [f"{name},{time}" for name, time in zip([*names, "unheard"], (3, 1, 2, 0), strict=True)]
    (folder / "met.csv").write_text("\n".join(["item,time", *lines]) + "\n")
    done = peelfleet("recommend", tiny_pee, "-k", "5", "--json", "--interactions", "met.csv", folder=folder)
    expected = recommend(learn_pee(pee, [met[1], met[2], met[0]], LearningSettings()), 5)
    assert done.returncode == 0, done.stderr
    assert [json.loads(line)["item"] for line in done.stdout.splitlines()] == [each.item for each in expected]
    assert {each.item for each in expected}.isdisjoint(names)
    assert [each.score for each in expected] != [each.score for each in recommend(pee, 5)]
    assert done.stderr == "met.csv: 1 of 4 items are not in the catalogue, such as 'unheard': left out\n"
    (folder / "met.csv").write_text("unheard\nof\n")
    done = peelfleet("recommend", tiny_pee, "--interactions", "met.csv", folder=folder)
    mistake = "met.csv: none of its 2 items is in the catalogue, such as 'unheard'"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"peelfleet: {mistake}\n")


def test_the_program_that_the_protocol_page_shows_prints_the_same(tiny_pee: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "protocol.md"
    *_, program = blocks(page, "python")
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tiny_pee.parent, capture_output=True, text=True, check=True
    )
    done = peelfleet("recommend", tiny_pee, "--json", folder=tiny_pee.parent)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 10
    assert shown.stdout.splitlines() == [f"{each['rank']} {each['item']} {each['score']}" for each in found]


@pytest.mark.parametrize(("codec", "allowed"), [("int8", []), ("coded", ["constriction"])])
def test_recommending_loads_numpy_and_safetensors_only(
    tmp_path: Path, store_root: Path, codec: str, allowed: list[str]
) -> None:
    made = peelfleet(
        "pee", write(tmp_path), "--user", USER, "--budget", "300 B", "--set", f"model.codec={codec}",
        "--store", store_root, folder=tmp_path,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    script = (
        "import sys\nfrom emulator.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        f"print('loaded:', sorted({set(HEAVY)!r} & set(sys.modules)), 'safetensors' in sys.modules)"
    )
    command = [sys.executable, "-c", script, "recommend", "pee.safetensors", "-k", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    head, _, loaded = done.stdout.splitlines()
    assert (head.split(), loaded) == (["rank", "item", "score"], f"loaded: {allowed} True")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--user", "nobody", "--budget", "1 KiB"],
            "--user(='nobody') must be one of the 120 users of synthetic, named as in its source, such as "
            "'user-0', 'user-1', 'user-2'",
        ),
        (
            ["--user", USER, "--budget", "much"],
            "--budget(='much') must be a size in whole bytes such as 64 MiB",
        ),
        (
            ["--user", USER, "--budget", "1 KiB", "-o", "no/where"],
            "no/where: cannot be written: No such file or directory",
        ),
        (["--user", USER, "--budget", "1 KiB", "-o", "."], ".: is a folder, not a file to write"),
        (["--user", USER, "--budget", "1 KiB", "--data", "x"], "--data x: the scenario's data are synthetic"),
    ],
)
def test_a_mistake_is_found_before_anything_is_trained(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = peelfleet("pee", write(tmp_path), *arguments, "--store", "stores", folder=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"peelfleet: {message}")
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


def test_a_budget_too_small_for_any_block_names_the_least_that_is_of_use(
    tmp_path: Path, store_root: Path
) -> None:
    arguments = ["--user", USER, "--set", "model.codec=int8", "--store", str(store_root), "--budget"]
    done = peelfleet("pee", write(tmp_path), *arguments, "10 B", folder=tmp_path)
    said = re.search(
        r"--budget\(=10 B\) must be at least (\d+) B, the size of the smallest PEE of this user$", done.stderr
    )
    assert (done.returncode, said is not None) == (2, True), done.stderr
    assert not (tmp_path / "pee.safetensors").exists()
    assert said is not None
    least = int(said[1])
    assert peelfleet("pee", "x.yaml", *arguments, f"{least - 1} B", folder=tmp_path).returncode == 2
    assert peelfleet("pee", "x.yaml", *arguments, f"{least} B", folder=tmp_path).returncode == 0


def test_a_damaged_or_foreign_file_is_one_line(tiny_pee: Path) -> None:
    folder = tiny_pee.parent
    raw = tiny_pee.read_bytes()
    for name, content in (
        ("cut", raw[:-10]),
        ("changed", raw[:-1] + bytes([raw[-1] ^ 1])),
        ("empty", b""),
        ("text", b"no tensors at all, but some words"),
    ):
        (folder / name).write_bytes(content)
        done = peelfleet("recommend", name, folder=folder)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
        assert done.stderr.startswith(f"peelfleet: {name}: damaged, or not a PEE file: ")


def test_films_are_recommended_by_their_titles(tmp_path: Path, store_root: Path) -> None:
    rows = [f"{user}::{(user * 7 + step * step) % 60}::5::{step}" for user in range(60) for step in range(12)]
    (tmp_path / "ratings.dat").write_text("\n".join(rows) + "\n")
    films = "".join(f"{film}::Amélie {film}::Comedy\n" for film in range(60))
    (tmp_path / "movies.dat").write_bytes(films.encode("latin-1"))
    text = re.sub(r"data: \{.*\}", f"data: {{type: movielens, path: {tmp_path}}}", TINY)
    done = peelfleet(
        "pee", write(tmp_path, text), "--user", "7", "--budget", "800 B", "--store", store_root,
        folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = peelfleet("recommend", "pee.safetensors", "-k", "3", folder=tmp_path).stdout.splitlines()
    assert lines[0].split() == ["rank", "item", "score", "title"]
    assert [line.split(maxsplit=3)[3] for line in lines[1:]] == [
        f"Amélie {line.split()[1]}" for line in lines[1:]
    ]
    found = json.loads(peelfleet("recommend", "pee.safetensors", "-k", "1", "--json", folder=tmp_path).stdout)
    assert found["title"] == f"Amélie {found['item']}"


def test_the_catalogue_has_the_names_of_all_items_and_the_numbers_of_all_users(
    tmp_path: Path, store_root: Path
) -> None:
    done = peelfleet(
        "catalogue", write(tmp_path), "--users", "users.jsonl", "--set", "model.codec=int8",
        "--store", store_root, folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    model = a_model(store_root)
    store, interactions = model.store, model.interactions
    found = read_catalogue(tmp_path / f"{store.version}.catalogue.jsonl")
    assert found.model == store.version
    assert [found.names[item] for item in range(store.geometry.items)] == list(interactions.item_ids)
    users = [json.loads(line) for line in (tmp_path / "users.jsonl").read_text().splitlines()]
    assert users == [
        {"user": name, "number": number, "group": int(store.user_groups[number]),
         "known": interactions.known[number].tolist()}
        for number, name in enumerate(interactions.user_ids)
    ]  # fmt: skip
    assert done.stdout.startswith(f"{store.version}.catalogue.jsonl: 80 items of model {store.version}")
