"""Settings of training in a scenario: frozen values, decoded and checked; no files are read.

The string below each field is its documentation: `docs/` prints it. Ranges are checked when a scenario is
decoded; rules between fields hold for every value, however it was built.
"""

from collections.abc import Callable
from typing import Annotated, Final, Literal, cast, get_args

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from cloud.data.interactions import Interactions
from cloud.settings import Count, Rate, Seed, Setting, Share, Strength
from cloud.training.cosine_settings import CosineSoftmax
from wire.geometry import MAX_BLOCKS, Score
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, check_settings


class Refinement(Setting, frozen=True, kw_only=True):
    """Stage 3: each user group refines its copy of the item table on its own interactions."""

    enabled: bool = False
    """True to refine tables; else every group gets the global table. No group kept it on the sets tried."""

    through: Literal["table", "mlp"] = "table"
    """Numbers that are learned: `table`, the entries of the group's table; or `mlp`, as in the paper's
    figure, a network of one hidden layer per group: its output for an item's vector is added to that."""

    hidden: Annotated[int, Meta(ge=1, le=4096)] = 128
    """With `through: mlp`: width of the network's hidden layer."""

    loss: Literal["softmax", "bpr"] = "softmax"
    """Loss on a group's interactions: `softmax` over all items, as of the backbone `mf`; or `bpr`, by ranking
    pairs, as of the backbone `lightgcn`."""

    epochs: Count = 12
    """Passes over a group's users, at most."""

    learning_rate: Rate = 0.005
    """Adam's rate at the start; it decays to 0 along a cosine."""

    pull: Strength = 7.0
    """Weight mu of the pull mu * |V_g - V|^2 / n_g toward the global table, n_g users in the group."""

    evaluate_every: Count = 3
    """Epochs between two evaluations on the group's validation interactions."""

    early_stop: bool = True
    """True to keep the table of the best evaluation; else `epochs` are done, and the last table is kept."""

    patience: Count = 2
    """With `early_stop`: stop a group after this many evaluations without a gain."""


class Controller(Setting, frozen=True, kw_only=True):
    """Stage 4: a small network learns the weights of blocks."""

    enabled: bool = False
    """True to learn weights; else the closed-form weights are used. No group kept it on the sets tried."""

    learns: Literal["correction", "weights"] = "correction"
    """A `correction` of the closed-form weight, one network for all groups; or, as in the paper, the
    `weights` themselves, a network per group that takes turns with the group's table. Weights choose blocks;
    no number of a block is multiplied by them."""

    steps: Count = 160
    """Optimization steps; of a `correction` in all, each with one user group and one budget; of `weights` in
    each user group, one for the table and one for the weights."""

    batch_size: Count = 256
    """Users of the group in a step, at most."""

    learning_rate: Rate = 0.01
    """Adam's rate."""

    hidden: Annotated[int, Meta(ge=1, le=4096)] = 16
    """Width of the network's hidden layer."""

    table_learning_rate: Rate = 0.005
    """Adam's rate for the copy of the table that `weights` take turns with; the table stays as it is."""

    reach: Annotated[float, Meta(gt=0.0, le=20.0)] = 2.0
    """Largest `correction`, up or down, of a weight's natural logarithm."""

    temperature: Annotated[float, Meta(gt=0.0, le=100.0)] = 0.5
    """Of a `correction`: softness of the gates; near 0 they are the hard selection."""

    least_budget: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.02
    """Of a `correction`: smallest sampled budget, as a share of all blocks."""

    most_budget: Annotated[float, Meta(gt=0.0, le=1.0)] = 0.5
    """Of a `correction`: largest sampled budget, as a share of all blocks."""

    def __post_init__(self) -> None:
        if self.least_budget > self.most_budget:
            raise ValueError(
                f"least_budget(={self.least_budget}) must be <= most_budget(={self.most_budget})"
            )


class Guard(Setting, frozen=True, kw_only=True):
    """Validation users decide whether a user group keeps the results of refinement, rotation and controller.

    All of them decide together first; a group departs from that if its own users disagree. Refinement and
    controller are kept only with evidence for them, rotation unless there is evidence against it.
    """

    enabled: bool = True
    """True to compare; else every stage that is switched on is kept in every group."""

    standard_errors: Annotated[float, Meta(ge=0.0, le=100.0)] = 3.0
    """A choice changes only for a mean difference of more standard errors than this; with 2, chance alone
    changes it in one of 44 groups."""


class Graph(Setting, frozen=True, kw_only=True):
    """The backbone `lightgcn`: vectors spread along the graph of interactions, learned by ranking pairs."""

    layers: Annotated[int, Meta(ge=0, le=16)] = 2
    """Number K of times that vectors are spread; 0 is plain matrix factorization by ranking pairs (BPR)."""

    combine: Literal["mean", "concat"] = "mean"
    """Final vector: the `mean` of layers 0 to K; or `concat`, one layer after the other, each of d / (K + 1)
    dimensions."""

    epochs: Count = 100
    """Passes over all training interactions, at most."""

    learning_rate: Rate = 0.02
    """Adam's rate."""

    l2: Strength = 0.001
    """Weight of half the mean squared length of the three vectors, before they spread, of a pair."""

    batch_size: Count = 16_384
    """Interactions in a step; each is compared with one item that its user has not interacted with."""

    evaluate_every: Count = 4
    """Epochs between two evaluations on the validation interactions."""

    patience: Count = 3
    """Stop after this many evaluations without a gain."""


class LeastSquares(Setting, frozen=True, kw_only=True):
    """The backbone `ials`: least squares over all pairs of user and item, solved in turns.

    Its cost grows with the number of interactions, not with users times items.
    """

    epochs: Count = 24
    """Turns, at most; each solves all users, then all items."""

    unobserved: Annotated[float, Meta(gt=0.0, le=1e6)] = 10.0
    """Total weight of target 0 for all pairs of user and item, as a multiple of that of target 1 for all
    interactions."""

    l2: Annotated[float, Meta(gt=0.0, le=1e6)] = 0.007
    """Weight of the squared length of a vector, before it is scaled by the vector's frequency."""

    l2_doublings: Annotated[int, Meta(ge=0, le=32)] = 3
    """Largest number of times that `l2` is doubled and the model learned again, while validation improves."""

    frequency_exponent: Annotated[float, Meta(ge=0.0, le=2.0)] = 1.0
    """Power of a vector's frequency by which its `l2` is scaled; 0 treats frequent and rare ones alike."""

    evaluate_every: Count = 2
    """Turns between two evaluations on the validation interactions."""

    patience: Count = 3
    """Stop after this many evaluations without a gain."""


class VectorFiles(Setting, frozen=True, kw_only=True):
    """The backbone `file`: vectors that another program has learned; a score is their inner product.

    Names of users and items are those of the data. Paths are absolute, or from the scenario's folder.
    """

    users: str = ""
    """File with a vector per user: Parquet with the columns `id` and `vector`; `.npy`, one vector a row; or
    `.safetensors` with a tensor `users`."""

    items: str = ""
    """File with a vector per item, likewise; the tensor is `items`."""

    user_ids: str = ""
    """Text file with the names of the users of `.npy` or `.safetensors`, one a line, in the order of rows."""

    item_ids: str = ""
    """Text file with the names of the items, likewise."""

    @property
    def names(self) -> tuple[str, ...]:
        """The files that are named."""
        return tuple(name for name in (self.users, self.items, self.user_ids, self.item_ids) if name)


BackboneName = Literal["auto", "cosine", "ials", "mf", "lightgcn", "file"]
"""The registry: the names of our own backbones, beside those of `BACKBONE_PLUGINS`."""

Vectors = NDArray[np.float32]
"""Vectors, one a row."""


class BackbonePlugin(Setting, frozen=True, kw_only=True):
    """Base class of the backbones of plug-ins: the settings, and how vectors are learned with them."""

    def learn(
        self, interactions: Interactions, training: "Training", tick: Callable[[int, int, str], None]
    ) -> tuple[Vectors, Vectors]:
        """Return the vectors of all users and those of all items, `training.dim` numbers each.

        Args:
            interactions: the data; only ``interactions.train`` may be learned from.
            training: the settings of all stages; random numbers must come from its seed.
            tick: receives the steps done, the number of steps, and a note.
        """
        raise NotImplementedError


class Training(Setting, frozen=True, kw_only=True):
    """The stages of PEEL and their settings: pretrain, cluster, refine, rotate, weigh."""

    backbone: BackboneName | BackbonePlugin = "ials"
    """Stage 1: `ials`, least squares, whose cost grows with the number of interactions; `cosine`, items
    learned by a softmax over cosines along the graph, likewise, with more of the tail; `auto`, that of these
    two which validation prefers; `mf`, matrix factorization with a softmax over all items, for catalogues of
    some thousands; `lightgcn`; or `file`, vectors that another program has learned."""

    refit: bool = False
    """True to learn stage 1 again, with the settings that validation chose, from training and validation
    interactions together. Later stages then compare on validation interactions that the vectors know, and
    only the report's figures for the test are fair."""

    lightgcn: Graph = Graph()
    """Settings of the backbone `lightgcn`, instead of `epochs` to `patience`."""

    cosine: CosineSoftmax = CosineSoftmax()
    """Settings of the backbone `cosine`, instead of `epochs` to `patience`."""

    ials: LeastSquares = LeastSquares()
    """Settings of the backbone `ials`, instead of `epochs` to `patience`."""

    file: VectorFiles = VectorFiles()
    """Files of the backbone `file`; `dim` must be the number of values of a vector."""

    dim: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Dimensions d of a vector."""

    score: Score = Score.ALIGNED
    """Score that is trained, see `model.score`; `tiled` with the backbones `mf` and `lightgcn` only. Under
    `tiled` all slices of a user's vector are the same: only their sum counts."""

    epochs: Count = 80
    """Passes over all users in pretraining, at most."""

    learning_rate: Rate = 0.02
    """Adam's rate at the start of pretraining; it decays to 0 along a cosine."""

    dropout: Share = 0.45
    """Part of a user vector's entries set to 0 in training."""

    l2: Strength = 0.06
    """Weight of the mean squared length of user vectors plus that of item vectors in the loss."""

    user_weight_exponent: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    """A user with n interactions weighs n to this power: 0 counts users, 1 counts interactions."""

    batch_size: Count = 512
    """Users in a step of pretraining and refinement."""

    evaluate_every: Count = 5
    """Epochs between two evaluations on the validation interactions."""

    patience: Count = 4
    """Stop pretraining after this many evaluations without a gain."""

    diversity: Strength = 0.0
    """Weight lambda of the term that keeps slices of the table different; 0: off. Backbones `mf` and, there
    over layer 0, `lightgcn`."""

    diversity_form: Literal["bounded", "unbounded"] = "bounded"
    """`bounded`: + lambda * sum over m < n of cos^2(E^m, E^n). `unbounded`, as the authors have it:
    - lambda / I * sum over n of |E^n - E^(n+1)|^2, I items, which only `l2` limits."""

    clustering: Literal["kmeans", "random", "off"] = "kmeans"
    """Stage 2: k-means on user vectors; random groups, as a control; or one group for all."""

    user_groups: Annotated[int, Meta(ge=1, le=65_535)] = 128
    """Largest number G of user groups; fewer if groups would be smaller than `min_group_size`."""

    min_group_size: Count = 16
    """Smallest group of users; a smaller one joins the nearest."""

    item_groups: Annotated[int, Meta(ge=1, le=65_535)] = 16
    """Number M of item groups: ranges of an order of the items (`model.order`); at most one per item."""

    item_weights: Literal["recommended", "met"] = "recommended"
    """Weight of an item where blocks are ranked: `recommended`, how often the whole table recommends it to
    members of the user group; or `met`, how often they have interacted with it."""

    slice_width: Annotated[int, Meta(ge=1, le=4096)] = 8
    """Dimensions w of a slice; the last slice is narrower if w does not divide d. At small budgets 2 is
    better if blocks are whole cells (codecs `fp32` to `int4`)."""

    refine: Refinement = Refinement()
    """Stage 3: refinement per user group."""

    rotate: bool = True
    """True to rotate each group's vectors so that the first dimensions carry most of the score."""

    all_users_weight: Share = 0.05
    """Weight of all users together, as a part of that of a group's members, in the basis, the scales and the
    closed-form block weights of a group. So its table also spans the tastes of users who join the group
    later. 0: the members alone."""

    controller: Controller = Controller()
    """Stage 4: learned block weights."""

    guard: Guard = Guard()
    """The guard that decides by validation which results are kept."""

    seed: Seed = 0
    """Seed of everything random in training."""

    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Threads of arithmetic; another number may change the last digits of figures. The steps are small: on a
    machine with other work, threads that wait for each other cost much more than they save."""

    def __post_init__(self) -> None:
        if self.slice_width > self.dim:
            raise ValueError(f"slice_width(={self.slice_width}) must be <= dim(={self.dim})")
        if self.item_groups * self.slices > MAX_BLOCKS:
            raise ValueError(
                f"item_groups(={self.item_groups}) times slices(={self.slices}) must be <= {MAX_BLOCKS}"
            )
        if (self.backbone == "file") != bool(self.file.names):
            raise ValueError(
                f"backbone(={self.backbone}) must be file where files are named under file, and only there"
            )
        if self.backbone == "file" and not (self.file.users and self.file.items):
            raise ValueError("file.users and file.items must both name a file")
        if self.refit and (self.backbone == "file" or not isinstance(self.backbone, str)):
            raise ValueError(
                f"refit(={self.refit}) must be false where vectors are from files or from a plug-in"
            )
        self._check_diversity()
        if self.score is Score.TILED and self.backbone not in ("mf", "lightgcn"):
            raise ValueError(
                f"score(={self.score}) must be aligned where backbone(={self.backbone}) is neither mf nor "
                "lightgcn"
            )
        if self.score is Score.TILED and self.rotate:
            raise ValueError(f"rotate(=true) must be false where score(={self.score}) is tiled")

    def _check_diversity(self) -> None:
        if self.diversity > 0 and self.backbone not in ("mf", "lightgcn"):
            raise ValueError(
                f"diversity(={self.diversity}) must be 0 where backbone(={self.backbone}) is neither mf nor "
                "lightgcn"
            )
        # Twice the sum of squares bounds the squared distance of two slices, and an inner slice has two
        # neighbours: beyond l2 / 4 the loss falls without limit as vectors grow. `lightgcn` halves its l2.
        if self.diversity_form == "unbounded":
            name, l2, part = (
                ("lightgcn.l2", self.lightgcn.l2, 8) if self.backbone == "lightgcn" else ("l2", self.l2, 4)
            )
            if self.diversity > l2 / part:
                raise ValueError(
                    f"diversity(={self.diversity}) must be <= {name}(={l2}) / {part} where diversity_form is "
                    "unbounded, or the loss has no least value"
                )

    @property
    def slices(self) -> int:
        """N, the number of slices; the last is narrower where w does not divide d."""
        return -(-self.dim // self.slice_width)


def _check_plugin(name: str, found: object) -> type[BackbonePlugin]:
    checked = check_settings(name, found, (), base=BackbonePlugin)
    if checked.learn is BackbonePlugin.learn:  # type: ignore[attr-defined]  # derived from it
        raise ValueError(f"{checked.__name__} must have the method learn")
    return cast("type[BackbonePlugin]", checked)


BACKBONE_PLUGINS: Final = PluginRegistry(PluginKind.BACKBONE, get_args(BackboneName), _check_plugin)
"""The backbones of plug-ins."""
