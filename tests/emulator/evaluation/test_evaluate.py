"""Quality against bytes: what is compared is what was asked for, and a second time nothing is done."""

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from cloud.data.interactions import Interactions
from cloud.data.load import load as load_data
from cloud.training.baselines.full_model import STAGE_ONE, stage_one
from cloud.training.baselines.scoring import METRICS, UserMetrics
from cloud.training.config import BackbonePlugin, Training
from emulator.cli.evaluate import seed_numbers
from emulator.cli.main import app
from emulator.evaluation.budgets import read_budgets
from emulator.evaluation.evaluate import evaluate
from emulator.evaluation.measure import Mask
from emulator.evaluation.models import CachedModels
from emulator.evaluation.observer import EvaluationObserver
from emulator.evaluation.policies import NAMES
from emulator.evaluation.statistics import over_seeds, share_over_seeds
from emulator.exports.mean_interval import mean_interval
from emulator.simulation.model_cache import train_once
from scenarios.language.load import parse
from scenarios.language.scenario import Scenario
from tests.emulator.cli.test_main import write
from tests.emulator.scenarios import TINY
from tests.plugin_objects import order_cheapest
from wire.errors import InputError
from wire.plugins.installed import use_plugins

SCENARIO = parse(TINY)
FULL_BYTES = 80 * 8 * 4
OPTIONS = {".md": "--table", ".tex": "--table", ".html": "--figure"}
BUDGETS = ("400 B", "25%")
POLICIES = ("peel", "prefix", "head:int8", "uniform:int8")


class Steps(EvaluationObserver):
    """Keeps what training and measuring say."""

    def __init__(self) -> None:
        self.trained: list[str] = []
        self.measured: list[tuple[int, int]] = []

    def on_training(self, stage: str, done: int, total: int, note: str) -> None:
        self.trained.append(stage)

    def on_measured(self, done: int, total: int) -> None:
        self.measured.append((done, total))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation")


def test_every_policy_is_measured_at_every_budget_and_kept(root: Path) -> None:
    first = evaluate([SCENARIO], BUDGETS, POLICIES, (0, 1), store=root)
    rows = [row for row in first.rows if row.metric == "ndcg_at_20"]
    assert [(row.policy, row.budget, row.budget_bytes, row.seeds) for row in rows] == [
        ("full", "2.5 KiB", FULL_BYTES, 2),
        ("peel", "400 B", 400, 2),
        ("peel", "25%", 640, 2),
        ("prefix", "400 B", 400, 2),
        ("prefix", "25%", 640, 2),
        ("head:int8", "400 B", 400, 2),
        ("head:int8", "25%", 640, 2),
        ("uniform:int8", "672 B", 672, 2),
    ]
    assert all(row.stored_bytes <= row.budget_bytes for row in rows)
    assert rows[0].share_of_full == 1
    by_policy = {row.policy: row.mean for row in rows if row.budget == "25%"}
    assert by_policy["peel"] > by_policy["head:int8"]

    steps = Steps()
    again = evaluate([SCENARIO], BUDGETS, POLICIES, (0, 1), store=root, observer=steps)
    assert again == first
    assert (steps.trained, steps.measured[-1]) == ([], (10, 10))

    more = evaluate([SCENARIO], ("400 B",), ("peel", "random"), (0, 1), store=root, observer=steps)
    assert steps.trained == []  # the models are there, only a policy is new
    assert [row for row in more.rows if row.policy == "peel"] == [
        row for row in first.rows if row.policy == "peel" and row.budget == "400 B"
    ]


def test_a_policy_of_a_plugin_is_compared_with_ours(root: Path) -> None:
    policies = ("peel", "cheapest")
    with use_plugins({"policies": {"cheapest": order_cheapest}}):
        rows = evaluate([SCENARIO], ("400 B",), policies, (0, 1), store=root).rows
    assert {row.policy for row in rows} == {"full", *policies}
    with pytest.raises(InputError, match=r"^policy\(='cheapest'\) must be one of peel, "):
        evaluate([SCENARIO], ("400 B",), policies, (0, 1), store=root)


@pytest.mark.slow
def test_several_processes_measure_the_same(root: Path, tmp_path: Path) -> None:
    alone = evaluate([SCENARIO], BUDGETS, ("peel",), (0, 1), store=root)
    assert evaluate([SCENARIO], BUDGETS, ("peel",), (0, 1), store=tmp_path, jobs=2) == alone


def test_a_mean_over_seeds_is_that_of_evaluations_with_one_seed(root: Path) -> None:
    both = evaluate([SCENARIO], ("400 B",), ("peel",), (0, 1), store=root)
    alone = [evaluate([SCENARIO], ("400 B",), ("peel",), (seed,), store=root) for seed in (0, 1)]
    for row in both.rows:
        means = [
            one.mean
            for each in alone
            for one in each.rows
            if (one.policy, one.metric) == (row.policy, row.metric)
        ]
        assert row.seeds == 2
        assert row.mean == pytest.approx(np.mean(means))
        assert row.half_width == pytest.approx(12.706 * np.std(means, ddof=1) / 2**0.5, rel=1e-3, abs=1e-12)
    assert "over 2 training seeds" in both.over
    assert "over the users" in alone[0].over


def test_more_items_are_ranked_where_only_training_is_masked(root: Path) -> None:
    """Validation items then take places of test items: so does a paper that masks training only."""
    masks: tuple[Mask, ...] = ("known", "train")
    both = {
        mask: evaluate([SCENARIO], BUDGETS, ("peel",), (0,), mask=mask, store=root).rows for mask in masks
    }
    names = [row.metric for row in both["known"]]
    assert names == [row.metric for row in both["train"]]
    assert set(names) == {*METRICS, "coverage"}
    for known, train in zip(both["known"], both["train"], strict=True):
        assert train.mean < known.mean or known.metric not in ("ndcg_at_20", "recall_at_20")


def test_the_model_that_is_evaluated_is_the_one_that_a_run_would_train(root: Path, tmp_path: Path) -> None:
    interactions = load_data(SCENARIO.data)
    training = SCENARIO.model.training

    def tables(model_root: Path, *, shared: bool) -> list[np.ndarray]:
        if shared:
            model = CachedModels(model_root, lambda *_: None).learn(interactions, training)
        else:
            model, _ = train_once(interactions, training, model_root, lambda *_: None)
        return [model.user_vectors, model.user_groups, *model.item_tables, model.corrections]

    for ours, theirs in zip(tables(root, shared=True), tables(tmp_path, shared=False), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_pretraining_reads_no_other_setting_than_those_of_its_key() -> None:
    """Else two trainings that differ in it would share a table."""
    folder = Path(__file__).parents[3] / "cloud" / "training"
    files = [
        folder / f"{name}.py" for name in ("pretrain", "loop", "diversity", "tiled_score", "vector_files")
    ]
    text = "".join(path.read_text() for path in [*files, *(folder / "backbones").glob("*.py")])
    read = set(re.findall(r"\bconfig\.(\w+)", text)) & set(Training.__struct_fields__)
    assert {"backbone", "dim", "seed"} <= read <= {*STAGE_ONE, "slice_width"}


class GroupedVectors(BackbonePlugin, frozen=True, kw_only=True, tag_field="type", tag="grouped"):
    """A backbone of a plug-in: it may read settings of later stages."""


def test_a_backbone_of_a_plug_in_sees_all_settings() -> None:
    training = Training(backbone=GroupedVectors(), user_groups=7, rotate=False)
    assert stage_one(training) == training
    assert stage_one(Training(user_groups=7, rotate=False)) == Training()


def test_seeds_of_the_split_deal_the_interactions_anew(tmp_path: Path, root: Path) -> None:
    (tmp_path / "x.inter").write_text(_inter())
    split = _with_data(f"{{type: recbole, path: {tmp_path / 'x.inter'}, split: {{type: ratio}}}}")
    of = {
        vary: evaluate([split], ("400 B",), ("head:int8",), (0, 1), vary=vary, store=root)
        for vary in ("training", "split", "both")
    }
    assert {vary: each.over.partition("over ")[2] for vary, each in of.items()} == {
        "training": "2 training seeds; one split of the data",
        "split": "2 splits of the data; one training seed",
        "both": "2 seeds, each of a split of the data and of the training on it",
    }
    assert len({each.rows[0].mean for each in of.values()}) > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budgets": ("9x",)}, "budget(='9x') must be a size above 0"),
        ({"budgets": ("0%",)}, "budget(='0%') must be a size above 0"),
        ({"budgets": ("1KiB", "1KiB")}, "none of them twice"),
        ({"policies": ("pel",)}, "policy(='pel') must be one of peel, weight, "),
        ({"policies": ("peel", "peel")}, "must not name peel twice"),
        ({"policies": ("weight_per_byte",)}, "it ranks as peel"),
        ({"seeds": (1, 1)}, "must be 1 to 1000 different numbers"),
        ({"vary": "split"}, "vary(='split') needs a random split of the data, and these are synthetic"),
        ({"scenarios": [SCENARIO, SCENARIO]}, "scenarios(=tiny, tiny) must have different names"),
        (
            {"scenarios": [SCENARIO, parse(TINY.replace("name: tiny", "name: b").replace("80,", "81,"))]},
            "b: must have the data of tiny",
        ),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_wrong_argument_is_one_line(change: dict[str, object], message: str, root: Path) -> None:
    arguments: dict[str, object] = {"scenarios": [SCENARIO], "budgets": ("400 B",), "store": root}
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate(**(arguments | change))  # type: ignore[arg-type]


def test_budgets_are_bytes_or_shares_of_the_table_in_fp32() -> None:
    assert [each.bytes_of(1000, 64) for each in read_budgets(("2 KiB", "1%", " 0.25 % ", "300 B"))] == [
        2048, 2560, 640, 300,
    ]  # fmt: skip


def test_a_number_of_seeds_counts_from_zero_and_a_list_is_itself() -> None:
    assert [tuple(seed_numbers(text)) for text in ("3", "4-6", "7,9")] == [(0, 1, 2), (4, 5, 6), (7, 9)]


def test_intervals_by_hand() -> None:
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.deviation) == (2.0, 1.0)
    assert interval.half_width == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    one = _metrics([0.2, 0.4, 0.6], [np.nan, 0.0, 1.0])
    assert over_seeds("tail_recall_at_20", [one]).count == 2
    assert over_seeds("coverage", [one]).half_width is None
    whole = _metrics([0.4, 0.8, 1.2], [np.nan, 0.5, 1.0])
    share = share_over_seeds("ndcg_at_20", [one], [whole])
    assert share.mean == pytest.approx(0.5)
    assert share.half_width == pytest.approx(0.0, abs=1e-12)


def test_the_command_writes_what_it_prints(tmp_path: Path, root: Path) -> None:
    command = [
        "evaluate", str(write(tmp_path)), "--budgets", "400 B,25%", "--policies", "peel,prefix",
        "--seeds", "2", "--store", str(root),
    ]  # fmt: skip
    files = [tmp_path / name for name in ("t/x.md", "x.tex", "x.html")]
    outputs = [part for file in files for part in (OPTIONS[file.suffix], str(file))]
    done = CliRunner(env={"COLUMNS": "120"}).invoke(app, [*command, *outputs])
    assert done.exit_code == 0, done.output
    page = files[0].read_text()
    (peel,) = [line for line in page.splitlines() if line.startswith("| peel |")][:1]
    for cell in peel.split("|")[2:4]:
        assert cell.strip() in done.stdout
    assert "95 % interval of the mean (Student's t) over 2 training seeds" in done.stdout
    assert files[1].read_text().count(r"\end{table}") == 2
    assert files[2].stat().st_size > 1_000_000
    wrong = CliRunner().invoke(app, [*command, "--table", "x.txt"])
    assert str(wrong.exception) == "x.txt: a table must end in .csv, .parquet, .tex, .md"


def test_the_page_names_all_policies() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evaluate.md").read_text()
    assert [name for name in NAMES if f"`{name}`" not in page] == []


def _inter() -> str:
    rows = [f"{user}\t{(user * 7 + step * step) % 60}\t5" for user in range(60) for step in range(12)]
    return "user_id:token\titem_id:token\trating:float\n" + "\n".join(rows) + "\n"


def _with_data(data: str) -> Scenario:
    scenario = parse(re.sub(r"data: \{.*\}", f"data: {data}", TINY))
    assert isinstance(load_data(scenario.data), Interactions)
    return msgspec.structs.replace(scenario, name="split")


def _metrics(ndcg: list[float], tail: list[float]) -> UserMetrics:
    first = np.zeros((len(ndcg), 10), dtype=np.int64)
    values = np.array([ndcg, ndcg, tail, *[ndcg] * 4])
    return UserMetrics(np.arange(len(ndcg)), values, np.ones(4, dtype=bool), first)
