"""Recipes: sets of defaults for training. Keys that a scenario sets win over its recipe.

`best` was chosen by validation: refinement and controller, which validation kept nowhere, are off, and
rotation is guarded by it. `paper` follows the code that the authors published (arXiv 2306.10532) where there
is some, and the text of the paper elsewhere; `docs/paper.md` has the two and ours line by line. It names
every key on which it depends, so that `best` may change.

From the code: the tiled score is trained and ranks; vectors are four concatenated layers of 32 dimensions,
learned by ranking pairs; 16 slices of 8 dimensions and 20 item groups of equal size; weights choose blocks
and change no number. The weight of the diversity term is in the range of the code, where the term itself is
commented out. From the text and the figure: refinement of each user group through a network, without a pull
toward the global table; a controller that sees popularity and loss of item groups and ends in a softmax, in
turns with the tables; no rotation; nothing is compared on validation and undone. Where there are no numbers,
validation chose them.
"""

from collections.abc import Mapping
from typing import Final, Literal

from cloud.training.config import Controller, Graph, Guard, Refinement, Training
from wire.geometry import Score

RecipeName = Literal["best", "paper"]

TRAININGS: Final[Mapping[RecipeName, Training]] = {
    "best": Training(),
    "paper": Training(
        backbone="lightgcn",
        lightgcn=Graph(
            layers=3,
            combine="concat",
            epochs=200,
            learning_rate=0.002,
            l2=0.01,
            batch_size=16_384,
            evaluate_every=4,
            patience=3,
        ),
        dim=128,
        score=Score.TILED,
        dropout=0.0,
        diversity=1e-4,
        diversity_form="unbounded",
        clustering="kmeans",
        user_groups=16,
        min_group_size=32,
        item_groups=20,
        item_weights="met",
        slice_width=8,
        refine=Refinement(
            enabled=True,
            through="mlp",
            hidden=128,
            loss="bpr",
            epochs=24,
            learning_rate=0.0003,
            pull=0.0,
            early_stop=False,
        ),
        rotate=False,
        all_users_weight=0.0,
        controller=Controller(enabled=True, learns="weights", steps=20, table_learning_rate=0.0003),
        guard=Guard(enabled=False),
    ),
}
"""The defaults of `Training` under each recipe."""
