import subprocess
import sys
from typing import Any

import msgspec
import pytest

from cloud.data.sources import ByRatio, ByTime, Data, LightGCN, RecBole, Synthetic, Table
from cloud.training.config import Refinement, Training


def test_a_source_is_known_by_its_type() -> None:
    decoded = [
        msgspec.convert(each, Data)
        for each in (
            {"type": "synthetic", "users": 30},
            {"type": "lightgcn", "path": "ml-1m"},
            {"type": "recbole", "path": "x.inter", "split": {"type": "ratio", "seed": 3}},
            {"type": "table", "path": "x.csv", "time": "when", "split": {"type": "time"}},
        )
    ]
    assert decoded == [
        Synthetic(users=30),
        LightGCN(path="ml-1m"),
        RecBole(path="x.inter", split=ByRatio(seed=3)),
        Table(path="x.csv", time="when", split=ByTime()),
    ]


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"type": "lightgcn", "path": "a", "epoch": 1}, "unknown field `epoch`"),
        ({"type": "lightgcn", "path": ""}, r"length >= 1 - at `\$.path`"),
        ({"type": "csv", "path": "a"}, r"Invalid value 'csv' - at `\$.type`"),
        ({"type": "synthetic", "users": 0}, r"`int` >= 1 - at `\$.users`"),
        ({"type": "synthetic", "users": 5}, r"user_groups\(=6\) must be <= users\(=5\)"),
        ({"type": "synthetic", "items": 20}, r"item_kinds\(=32\) must be <= items\(=20\)"),
        ({"type": "synthetic", "items": 100}, r"interactions_per_user\(=80.0\) must be <= items\(=100\) / 2"),
        (
            {
                "type": "recbole",
                "path": "a",
                "split": {"type": "time", "valid_share": 0.6, "test_share": 0.4},
            },
            r"valid_share\(=0.6\) \+ test_share\(=0.4\) must be < 1.* - at `\$.split`",
        ),
        ({"type": "recbole", "path": "a", "min_rating": float("nan")}, r"min_rating\(=nan\) must be"),
        ({"type": "table", "path": "a", "min_rating": 4}, r"rating\(=None\) must name a column"),
        ({"type": "table", "path": "a", "split": {"type": "time"}}, r"time\(=None\) must name a column"),
        ({"type": "table", "path": "a", "user": "x", "item": "x"}, r"\(=x, x\) must name different columns"),
    ],
)
def test_a_wrong_source_is_refused_with_the_rule_it_breaks(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(raw, Data)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"dim": 8, "slice_width": 9}, r"slice_width\(=9\) must be <= dim\(=8\)"),
        ({"dim": 4096, "item_groups": 200}, r"item_groups\(=200\) times slices\(=512\) must be <= 65536"),
        ({"controller": {"least_budget": 0.9}}, r"least_budget\(=0.9\) must be .* - at `\$.controller`"),
        (
            {"diversity": 0.1},
            r"diversity\(=0.1\) must be 0 where backbone\(=ials\) is neither mf nor lightgcn",
        ),
        (
            {"backbone": "lightgcn", "diversity": 0.001, "diversity_form": "unbounded"},
            r"diversity\(=0.001\) must be <= lightgcn.l2\(=0.001\) / 8 where diversity_form is unbounded",
        ),
        ({"score": "tiled"}, r"score\(=tiled\) must be aligned where backbone\(=ials\) is neither mf nor"),
        (
            {"score": "tiled", "backbone": "mf"},
            r"rotate\(=true\) must be false where score\(=tiled\) is tiled",
        ),
        (
            {"backbone": "file", "file": {"users": "u.npy", "items": "i.npy"}, "refit": True},
            r"refit\(=True\) must be false",
        ),
        (
            {"backbone": "mf", "diversity": 0.02, "diversity_form": "unbounded"},
            r"diversity\(=0.02\) must be <= l2\(=0.06\) / 4 where diversity_form is unbounded",
        ),
        ({"dropout": 1.0}, r"`float` < 1.0 - at `\$.dropout`"),
        ({"refine": {"pull": float("nan")}}, r"- at `\$.refine.pull`"),
        ({"clustering": "dbscan"}, r"Invalid enum value 'dbscan' - at `\$.clustering`"),
    ],
)
def test_a_wrong_training_is_refused_with_the_rule_it_breaks(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(raw, Training)


def test_what_is_encoded_decodes_to_itself() -> None:
    training = Training(dim=10, slice_width=3, refine=Refinement(enabled=False))
    assert training.slices == 4
    assert msgspec.convert(msgspec.to_builtins(training), Training) == training


def test_reading_a_scenario_loads_no_library_that_trains() -> None:
    code = (
        "import sys, cloud.training.config, cloud.data.interactions, cloud.data.load;"
        "assert not {'torch', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
