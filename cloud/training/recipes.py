"""Recipes: sets of defaults for training. What a scenario writes itself wins over its recipe.

`best` is what validation prefers, and guards every stage by it. `paper` follows the text of the paper
(arXiv 2306.10532) as literally as it allows, where it gives a form but no figure with figures that
suit the form:

- the diversity term is the authors', without a lower bound but for the L2 that holds it;
- refinement has no pull toward the global table and runs a fixed number of epochs, whatever
  validation says; groups are larger, as there is nothing else to keep it from learning by heart;
- there is no rotation;
- the controller learns the weights themselves: from item groups' popularity and loss to a softmax
  over the blocks, in turns with the tables; they are folded into the table;
- slices are 8 dimensions wide, as the authors'; the width d of the whole stays, so that the full
  tables of both recipes have the same bytes;
- nothing is compared on validation and taken back.
"""

from collections.abc import Mapping
from typing import Final, Literal

from cloud.training.config import Controller, Guard, Refinement, Training

RecipeName = Literal["best", "paper"]

TRAININGS: Final[Mapping[RecipeName, Training]] = {
    "best": Training(),
    "paper": Training(
        backbone="mf",
        diversity=0.01,
        diversity_form="unbounded",
        user_groups=16,
        min_group_size=32,
        refine=Refinement(epochs=24, pull=0.0, early_stop=False),
        rotate=False,
        controller=Controller(learns="weights", steps=20),
        guard=Guard(enabled=False),
    ),
}
"""The defaults of `Training` under each recipe."""
