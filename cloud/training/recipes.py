"""Recipes: sets of defaults for training. Keys that a scenario sets win over its recipe.

`best` was chosen by validation: refinement and controller, which validation kept nowhere, are off, and
rotation is guarded by it. `paper` follows the text of the paper (arXiv 2306.10532) as closely as possible. If
the paper gives a form without numbers, the numbers suit the form:

- the diversity term is the authors', bounded only by the L2 term;
- refinement has no pull toward the global table and runs a fixed number of epochs, without early stop;
  groups are larger, because nothing else prevents overfitting;
- there is no rotation;
- the controller learns the weights themselves: from the popularity and loss of item groups to a softmax over
  the blocks, in turns with the tables; the tables are multiplied by them;
- slices are 8 dimensions wide, as the authors'; the full width d stays, so that the full tables of both
  recipes have the same bytes;
- nothing is compared on validation and undone.
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
        refine=Refinement(enabled=True, epochs=24, pull=0.0, early_stop=False),
        rotate=False,
        controller=Controller(enabled=True, learns="weights", steps=20),
        guard=Guard(enabled=False),
    ),
}
"""The defaults of `Training` under each recipe."""
