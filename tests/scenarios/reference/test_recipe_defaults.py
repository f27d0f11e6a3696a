"""A recipe chooses the defaults of the model; what is written wins."""

import pytest
import yaml
from msgspec.structs import replace

from cloud.training.config import Controller, Guard, Refinement, Training
from scenarios.language.load import dump, parse
from scenarios.language.schema import RECIPES, Model
from scenarios.reference import scenario_page
from scenarios.reference.json_schema import json_schema
from scenarios.reference.recipe_defaults import recipe_defaults
from tests.scenarios.refusals import SMALL
from wire.codecs import Codec
from wire.errors import InputError

PAPER = SMALL + "model:\n  recipe: paper\n"


def model(text: str, *overrides: str) -> Model:
    return parse(text, overrides=overrides).model


def test_best_is_what_is_taken_where_nothing_is_said() -> None:
    assert model(SMALL) == model(SMALL + "model: {recipe: best}") == RECIPES["best"] == Model()


def test_paper_changes_the_defaults_of_keys_at_any_depth() -> None:
    found = model(PAPER)
    assert (found.recipe, found.codec, found.score, found.layers) == ("paper", Codec.FP32, "tiled", 320)
    training = found.training
    assert (training.dim, training.slices * training.item_groups, training.score) == (128, 320, "tiled")
    assert (training.rotate, training.slice_width, training.diversity_form) == (False, 8, "unbounded")
    assert (training.refine.pull, training.refine.early_stop) == (0.0, False)
    assert (training.controller.learns, training.guard) == ("weights", Guard(enabled=False))
    assert (training.epochs, training.l2) == (Training().epochs, Training().l2)


def test_what_is_written_wins_and_the_rest_stays_the_recipes() -> None:
    found = model(PAPER + "  codec: int8\n  training: {user_groups: 4, refine: {epochs: 3}}\n")
    assert (found.codec, found.training.user_groups, found.training.slice_width) == (Codec.INT8, 4, 8)
    assert found.training.refine == replace(RECIPES["paper"].training.refine, epochs=3)
    assert found.training.controller == RECIPES["paper"].training.controller


def test_an_override_reaches_into_a_recipe_and_can_choose_it() -> None:
    once = model(PAPER, "model.training.controller.steps=7")
    assert once.training.controller == Controller(
        enabled=True, learns="weights", steps=7, table_learning_rate=0.0003
    )
    assert model(SMALL, "model.recipe=paper") == model(PAPER)
    assert model(SMALL, "model.training.refine.epochs=3", "model.recipe=paper").training.refine.pull == 0


def test_the_resolved_scenario_says_all_and_gives_the_same_again() -> None:
    scenario = parse(PAPER + "  training: {refine: {epochs: 3}}\n")
    text = dump(scenario)
    resolved = yaml.safe_load(text)["model"]
    assert (resolved["recipe"], resolved["codec"], resolved["training"]["slice_width"]) == (
        "paper",
        "fp32",
        8,
    )
    assert parse(text) == scenario
    # Nothing is left for the recipe to say.
    assert parse(text.replace("recipe: paper", "recipe: best")).model.training == scenario.model.training


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{recipe: papr}", "model.recipe (='papr') must be one of best, paper; did you mean 'paper'?"),
        ("{recipe: [paper]}", "model.recipe must be one of best, paper, not a list"),
        (
            "{recipe: paper, training: {diversity: 0.5}}",
            "model.training.diversity (=0.5) must be <= lightgcn.l2 (=0.01) / 8 where diversity_form is "
            "unbounded, or the loss has no least value",
        ),
        (
            "{recipe: paper, score: aligned}",
            "model.score (=aligned) must be tiled where training.score is tiled",
        ),
        ("{recipe: paper, training: {dim: 4}}", "model.training.slice_width (=8) must be <= dim (=4)"),
        (
            "{recipe: paper, training: {rotat: true}}",
            "model.training: unknown key 'rotat'; did you mean 'rotate'?",
        ),
    ],
)
def test_what_breaks_a_rule_under_a_recipe_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(SMALL + "model: " + text, "x.yaml")
    assert str(caught.value) == f"x.yaml:7: {message}"


def test_the_reference_and_the_schema_show_what_the_paper_changes() -> None:
    assert recipe_defaults(Refinement, "pull") == {"paper": 0.0}
    assert recipe_defaults(Refinement, "evaluate_every") == {}
    assert recipe_defaults(Model, "recipe") == {}
    assert "| `7.0`, with recipe paper `0.0` |" in scenario_page.page()
    definition = json_schema()["$defs"]["Refinement"]["properties"]
    assert definition["pull"]["description"].endswith(" Default with recipe paper: 0.0.")
    assert definition["early_stop"]["description"].endswith(" Default with recipe paper: false.")
    assert "recipe" not in definition["evaluate_every"]["description"]
