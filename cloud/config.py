"""What a scenario may say about data and training: frozen values, decoded and checked, no files touched.

Nothing in this file knows about torch, scikit-learn or the disk. The string below each field is its
documentation: `docs/` prints it. Ranges are checked when a scenario is decoded; rules between fields
hold for every value, however it was built.
"""

import codecs
import math
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from wire.geometry import MAX_BLOCKS

Count = Annotated[int, Meta(ge=1, le=100_000_000)]
"""How many of something, at least one."""

Minimum = Annotated[int, Meta(ge=0, le=100_000_000)]
"""The least number allowed; 0 asks for nothing."""

Share = Annotated[float, Meta(ge=0.0, lt=1.0)]
"""A part of the whole, less than all of it."""

Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""The seed of a family of random streams (`wire.streams`)."""

Rate = Annotated[float, Meta(gt=0.0, le=1e6)]
"""A positive size of step."""

Strength = Annotated[float, Meta(ge=0.0, le=1e6)]
"""A weight of a term in a loss; 0 switches the term off."""

Name = Annotated[str, Meta(min_length=1)]
"""A text that is not empty."""


ColumnName = Name | Annotated[int, Meta(ge=1, le=1_000_000)]
"""A column, by its name or by its number from 1."""

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "colons": "::", "space": " "}
"""Words that may stand for a separator; a space stands for any number of blanks."""

MOST_SYNTHETIC_BYTES = 32 * 2**30
"""The memory that making up a world may take, by an estimate: more is a slip of the pen."""


def _check_shares(valid_share: float, test_share: float) -> None:
    if not valid_share + test_share < 1:
        raise ValueError(
            f"valid_share(={valid_share}) + test_share(={test_share}) must be < 1, so that some train"
        )


def _check_rating(min_rating: float) -> None:
    if not math.isfinite(min_rating):
        raise ValueError(f"min_rating(={min_rating}) must be a finite number")


def _check_separator(separator: str | None) -> None:
    if separator is None or separator in SEPARATORS:
        return
    if any(c.isalnum() or c in "\"'\r\n\0" for c in separator):
        raise ValueError(
            f"separator(={separator!r}) must be one of {', '.join(SEPARATORS)}, or signs that are neither "
            "letters, digits nor quotes"
        )


def _check_encoding(encoding: str) -> None:
    try:
        fits = codecs.lookup(encoding)._is_text_encoding and encoding.isascii()
    except (LookupError, ValueError):
        fits = False
    if not fits:
        raise ValueError(f"encoding(={encoding!r}) must be one that Python knows, such as latin-1 or cp1252")


def _check_columns(*columns: str | int | None) -> None:
    names = [str(column) for column in columns if column is not None]
    if len(set(names)) < len(names):
        raise ValueError(f"user, item, rating and time(={', '.join(names)}) must name different columns")


class Setting(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all settings share: frozen, fields by name only, unknown fields refused."""


class ByTime(Setting, frozen=True, kw_only=True, tag_field="type", tag="time"):
    """Each user's last interactions are the test, those before them the validation.

    Equal times keep the order of the file. A user always keeps one interaction to train on.
    """

    valid_share: Share = 0.1
    """Part of each user's interactions used for validation, rounded to the nearest number, half up."""

    test_share: Share = 0.1
    """Part of each user's interactions used for testing, rounded likewise."""

    def __post_init__(self) -> None:
        _check_shares(self.valid_share, self.test_share)


class ByRatio(Setting, frozen=True, kw_only=True, tag_field="type", tag="ratio"):
    """A seeded random part of each user's interactions is the test, another the validation."""

    valid_share: Share = 0.1
    """Part of each user's interactions used for validation, rounded to the nearest number, half up."""

    test_share: Share = 0.2
    """Part of each user's interactions used for testing, rounded likewise."""

    seed: Seed = 0
    """Seed of the drawing."""

    def __post_init__(self) -> None:
        _check_shares(self.valid_share, self.test_share)


Split = ByTime | ByRatio
"""How interactions are divided into training, validation and test."""


class Synthetic(Setting, frozen=True, kw_only=True, tag_field="type", tag="synthetic"):
    """A made-up world with a known structure: user groups with tastes of their own over kinds of items."""

    users: Count = 600
    """Number of users."""

    items: Count = 1000
    """Number of items."""

    user_groups: Count = 6
    """Number of groups of users; members of a group share a taste."""

    item_kinds: Count = 32
    """Number of kinds of items; a taste is a liking for kinds."""

    interactions_per_user: Annotated[float, Meta(ge=1.0, le=1e6)] = 80.0
    """Mean number of interactions of a user; single users vary log-normally around it."""

    popularity_skew: Annotated[float, Meta(ge=0.0, le=4.0)] = 0.7
    """Exponent of Zipf's law for the popularity of items; 0 makes all equally popular."""

    group_taste: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.5
    """How strongly a group prefers kinds: standard deviation of its log-odds; 0 makes groups alike."""

    own_taste: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.5
    """How far a user departs from the group's taste: standard deviation of the log-odds."""

    seed: Seed = 0
    """Seed of the world."""

    def __post_init__(self) -> None:
        if self.user_groups > self.users:
            raise ValueError(f"user_groups(={self.user_groups}) must be <= users(={self.users})")
        if self.item_kinds > self.items:
            raise ValueError(f"item_kinds(={self.item_kinds}) must be <= items(={self.items})")
        if self.interactions_per_user > self.items / 2:
            raise ValueError(
                f"interactions_per_user(={self.interactions_per_user}) must be <= items(={self.items}) / 2"
            )
        # Tastes of users for kinds, three times; interactions while they are sorted; names.
        of_user = 24 * self.item_kinds + 80 * self.interactions_per_user + 200
        if self.users * of_user + 1000 * self.items > MOST_SYNTHETIC_BYTES:
            raise ValueError(
                f"users(={self.users}) times interactions_per_user(={self.interactions_per_user}) and "
                f"item_kinds(={self.item_kinds}) must be fewer: making them up would take about "
                f"{(self.users * of_user + 1000 * self.items) / 2**30:,.0f} GiB of memory"
            )


class LightGCN(Setting, frozen=True, kw_only=True, tag_field="type", tag="lightgcn"):
    """A folder with train.txt and test.txt, already split; a line is `user item item ...`, in any order."""

    path: Name
    """The folder."""

    valid_share: Share = 0.1
    """Part of each user's training items that is held out for validation where there is no valid.txt, or an
    empty one; rounded to the nearest number, half up."""

    seed: Seed = 0
    """Seed of drawing what is held out."""


class RecBole(Setting, frozen=True, kw_only=True, tag_field="type", tag="recbole"):
    """A RecBole atomic file, with a header such as `user_id:token item_id:token`.

    Or one that is split already, as NAME.train.inter, NAME.valid.inter and NAME.test.inter.
    """

    path: Name
    """A .inter file, or a folder that holds exactly one, or one split in two or three."""

    user: ColumnName = "user_id"
    """Column of the user, by its name, with or without its type, or its number from 1."""

    item: ColumnName = "item_id"
    """Column of the item, such as `artist_id`."""

    rating: ColumnName = "rating"
    """Column of the rating, such as `weight`; it need not be there where `min_rating` asks for none."""

    time: ColumnName = "timestamp"
    """Column of the time: a number, or a date and time such as `2020-01-31 10:00:00`."""

    separator: Annotated[str, Meta(min_length=1, max_length=10)] | None = None
    """What divides fields: comma, tab, semicolon, pipe, space, colons, or the signs themselves; null: found
    out, a tab where nothing speaks against it."""

    encoding: Name = "utf-8"
    """What the text is written in, such as latin-1; a byte order mark wins."""

    split: Split | None = None
    """How to divide the interactions; null: by time, or where there is no column `time`, at random (`ratio`).
    Of files that are split already without a validation file, only `valid_share` of the training
    interactions is divided off."""

    min_rating: float = 0.0
    """Interactions rated lower are dropped, and counted; what is left counts as liked. At 0 or below, an
    interaction without a rating, or one that is no number, stays."""

    min_user_interactions: Minimum = 0
    """Drop users with fewer interactions, again and again until both minima hold (k-core)."""

    min_item_interactions: Minimum = 0
    """Drop items with fewer interactions, again and again until both minima hold (k-core)."""

    def __post_init__(self) -> None:
        _check_rating(self.min_rating)
        _check_separator(self.separator)
        _check_encoding(self.encoding)
        _check_columns(self.user, self.item, self.rating, self.time)


class MovieLens(Setting, frozen=True, kw_only=True, tag_field="type", tag="movielens"):
    """GroupLens' own files: ratings.dat (`::`), ratings.csv (commas, header) or u.data (tabs)."""

    path: Name
    """One of these files, packed or not, or a folder that holds one of them."""

    split: Split = ByTime()
    """How to divide the interactions."""

    min_rating: float = 0.0
    """Interactions rated lower are dropped; what is left counts as liked."""

    min_user_interactions: Minimum = 0
    """Drop users with fewer interactions, again and again until both minima hold (k-core)."""

    min_item_interactions: Minimum = 0
    """Drop items with fewer interactions, again and again until both minima hold (k-core)."""

    def __post_init__(self) -> None:
        _check_rating(self.min_rating)


class Table(Setting, frozen=True, kw_only=True, tag_field="type", tag="table"):
    """Any table, one interaction a row: as text (.csv, .tsv, .txt, .inter and others) or as .parquet.

    Text may be packed by gzip, bzip2, xz or zstd.
    """

    path: Name
    """The file; its ending says which format it has."""

    user: ColumnName = "user"
    """Column of the user, by its name or its number from 1."""

    item: ColumnName = "item"
    """Column of the item."""

    rating: ColumnName | None = None
    """Column of the rating, if there is one."""

    time: ColumnName | None = None
    """Column of the time, if there is one: a number, or a date and time such as `2020-01-31 10:00:00` or
    `2020-01-31T10:00:00+01:00`."""

    separator: Annotated[str, Meta(min_length=1, max_length=10)] | None = None
    """What divides fields: comma, tab, semicolon, pipe, space, colons, or the signs themselves; null: found
    out by the wanted columns, or where there is no header by lines that have as many fields."""

    header: bool = True
    """Whether the first line names the columns. If not, `columns` does, or they are numbered; then `user` and
    `item`, where left out, are columns 1 and 2."""

    columns: tuple[Name, ...] = ()
    """The names of all columns, in order, where there is no header."""

    encoding: Name = "utf-8"
    """What the text is written in, such as latin-1 or utf-16; a byte order mark wins."""

    decimal: Literal[".", ","] = "."
    """The decimal mark of ratings and times."""

    split: Split = ByRatio()
    """How to divide the interactions; by time needs `time`."""

    min_rating: float = 0.0
    """Interactions rated lower are dropped, and counted, where there is a column `rating`. At 0 or below, an
    interaction without a rating, or one that is no number, stays."""

    min_user_interactions: Minimum = 0
    """Drop users with fewer interactions, again and again until both minima hold (k-core)."""

    min_item_interactions: Minimum = 0
    """Drop items with fewer interactions, again and again until both minima hold (k-core)."""

    def __post_init__(self) -> None:
        _check_rating(self.min_rating)
        _check_separator(self.separator)
        _check_encoding(self.encoding)
        if self.columns and self.header:
            raise ValueError(f"columns(={', '.join(self.columns)}) must be left out unless header is false")
        if self.min_rating > 0 and self.rating is None:
            raise ValueError(
                f"rating(={self.rating}) must name a column when min_rating(={self.min_rating}) > 0"
            )
        if isinstance(self.split, ByTime) and self.time is None:
            raise ValueError(f"time(={self.time}) must name a column when the split is by time")
        _check_columns(self.user, self.item, self.rating, self.time)
        names = [str(name) for name in (self.user, self.item, self.rating, self.time) if name is not None]
        unknown = [name for name in names if self.columns and name not in self.columns and not name.isdigit()]
        if unknown:
            raise ValueError(f"columns(={', '.join(self.columns)}) must have {unknown[0]!r}")


Ratings = RecBole | MovieLens | Table
"""The sources that are one table of interactions, to be filtered and split."""

Data = Synthetic | LightGCN | RecBole | MovieLens | Table
"""Where interactions come from."""


class Refinement(Setting, frozen=True, kw_only=True):
    """Stage 3: each user group refines its copy of the item table on its own interactions."""

    enabled: bool = True
    """Whether tables are refined; if not, every group gets the global table."""

    epochs: Count = 12
    """Passes over a group's users, at most."""

    learning_rate: Rate = 0.005
    """Adam's rate at the start; it decays to 0 along a cosine."""

    pull: Strength = 7.0
    """Weight mu of the pull mu * |V_g - V|^2 / n_g toward the global table, n_g users in the group."""

    evaluate_every: Count = 3
    """Epochs between two looks at the group's validation interactions."""

    early_stop: bool = True
    """Whether the best look on validation interactions counts; if not, `epochs` are done and the last."""

    patience: Count = 2
    """With `early_stop`: stop a group after so many looks without a gain."""


class Controller(Setting, frozen=True, kw_only=True):
    """Stage 4: a small network learns what blocks are worth."""

    enabled: bool = True
    """Whether anything is learned; if not, the closed-form weights are used."""

    learns: Literal["correction", "weights"] = "correction"
    """A `correction` to the closed-form weight, one network for all groups; or, as in the paper, the
    `weights` themselves, a network per group that takes turns with the group's table."""

    steps: Count = 160
    """Optimization steps; of a `correction` in all, each with one user group and one budget; of `weights`
    in each user group, one for the table and one for the weights."""

    batch_size: Count = 256
    """Users of the group in a step, at most."""

    learning_rate: Rate = 0.01
    """Adam's rate."""

    hidden: Annotated[int, Meta(ge=1, le=4096)] = 16
    """Width of the network's hidden layer."""

    table_learning_rate: Rate = 0.005
    """Adam's rate for the table, which `weights` take turns with."""

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
    """Validation decides whether a user group keeps what refinement, rotation and controller made of it.

    All users that judge decide together first; a group departs from that if its own users disagree.
    Refinement and controller must prove themselves, rotation holds unless it is refuted.
    """

    enabled: bool = True
    """Whether anything is compared; if not, every stage that is switched on is kept in every group."""

    standard_errors: Annotated[float, Meta(ge=0.0, le=100.0)] = 3.0
    """Only a mean difference of more than so many standard errors changes a choice; with 2, chance alone
    changes it in one of 44 groups."""


class Graph(Setting, frozen=True, kw_only=True):
    """The backbone `lightgcn`: vectors spread along the graph of interactions, learned by ranking pairs."""

    layers: Annotated[int, Meta(ge=0, le=16)] = 2
    """Number K of times that vectors are spread; 0 is plain matrix factorization by ranking pairs (BPR)."""

    epochs: Count = 100
    """Passes over all training interactions, at most."""

    learning_rate: Rate = 0.02
    """Adam's rate."""

    l2: Strength = 0.001
    """Weight of half the mean squared length of the three vectors, before they spread, of a pair."""

    batch_size: Count = 16_384
    """Interactions in a step; each is compared with one item that its user has not met."""

    evaluate_every: Count = 4
    """Epochs between two looks at the validation interactions."""

    patience: Count = 3
    """Stop after so many looks without a gain."""


class LeastSquares(Setting, frozen=True, kw_only=True):
    """The backbone `ials`: least squares over all pairs of user and item, solved in turns.

    Its cost grows with the number of interactions, not with users times items.
    """

    epochs: Count = 24
    """Turns, at most; each solves all users, then all items."""

    unobserved: Annotated[float, Meta(gt=0.0, le=1e6)] = 10.0
    """Weight of wanting 0 from all pairs of user and item together, as a multiple of that of wanting 1 from
    all interactions."""

    l2: Annotated[float, Meta(gt=0.0, le=1e6)] = 0.007
    """Weight of the squared length of a vector, before it is scaled by the vector's frequency."""

    l2_doublings: Annotated[int, Meta(ge=0, le=32)] = 3
    """How often, at most, `l2` is doubled and the model learned anew: as long as validation gains by it."""

    frequency_exponent: Annotated[float, Meta(ge=0.0, le=2.0)] = 1.0
    """Power of a vector's frequency by which its `l2` is scaled; 0 treats frequent and rare alike."""

    evaluate_every: Count = 2
    """Turns between two looks at the validation interactions."""

    patience: Count = 3
    """Stop after so many looks without a gain."""


class Training(Setting, frozen=True, kw_only=True):
    """The stages of PEEL and their settings: pretrain, cluster, refine, rotate, weigh."""

    backbone: Literal["ials", "mf", "lightgcn"] = "ials"
    """Stage 1: `ials`, least squares, whose cost grows with the number of interactions; `mf`, matrix
    factorization with a softmax over all items, for catalogues of some thousands; or `lightgcn`."""

    lightgcn: Graph = Graph()
    """What the backbone `lightgcn` takes in place of `epochs` to `patience`."""

    ials: LeastSquares = LeastSquares()
    """What the backbone `ials` takes in place of `epochs` to `patience`."""

    dim: Annotated[int, Meta(ge=1, le=4096)] = 64
    """Dimensions d of a vector."""

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
    """Epochs between two looks at the validation interactions."""

    patience: Count = 4
    """Stop pretraining after so many looks without a gain."""

    diversity: Strength = 0.0
    """Weight lambda of the term that keeps slices of the table different, backbone `mf` only; 0: off."""

    diversity_form: Literal["bounded", "unbounded"] = "bounded"
    """`bounded`: + lambda * sum over m < n of cos^2(E^m, E^n). `unbounded`, as the authors have it:
    - lambda / I * sum over n of |E^n - E^(n+1)|^2, I items, which only `l2` keeps from running away."""

    clustering: Literal["kmeans", "random", "off"] = "kmeans"
    """Stage 2: k-means on user vectors; random groups, as a control; or one group for all."""

    user_groups: Annotated[int, Meta(ge=1, le=65_535)] = 128
    """Number G of user groups, at most; fewer where groups would be smaller than `min_group_size`."""

    min_group_size: Count = 16
    """Smallest group of users; a smaller one joins the nearest."""

    item_groups: Annotated[int, Meta(ge=1, le=65_535)] = 20
    """Number M of item groups: ranges of equal size in the order of popularity; at most one per item."""

    slice_width: Annotated[int, Meta(ge=1, le=4096)] = 8
    """Dimensions w of a slice; the last slice is narrower where w does not divide d. At small budgets 2 is
    better where blocks are stored whole (codecs `fp32` to `int4`)."""

    refine: Refinement = Refinement()
    """Stage 3: refinement per user group."""

    rotate: bool = True
    """Whether each group's vectors are rotated so that the first dimensions carry most of the score."""

    controller: Controller = Controller()
    """Stage 4: learned block weights."""

    guard: Guard = Guard()
    """Whether validation decides what is kept of the stages."""

    seed: Seed = 0
    """Seed of everything random in training."""

    threads: Annotated[int, Meta(ge=1, le=1024)] = 1
    """Threads of arithmetic; with another number, figures may differ in the last digits. The steps are
    small: on a machine with other work, threads that wait for one another cost far more than they
    save."""

    def __post_init__(self) -> None:
        if self.slice_width > self.dim:
            raise ValueError(f"slice_width(={self.slice_width}) must be <= dim(={self.dim})")
        if self.item_groups * self.slices > MAX_BLOCKS:
            raise ValueError(
                f"item_groups(={self.item_groups}) times slices(={self.slices}) must be <= {MAX_BLOCKS}"
            )
        if self.diversity > 0 and self.backbone != "mf":
            raise ValueError(
                f"diversity(={self.diversity}) must be 0 where backbone(={self.backbone}) is not mf"
            )
        # Twice the sum of squares bounds the squared distance of two slices, and an inner slice has two
        # neighbours: beyond l2 / 4 longer vectors pay without end.
        if self.diversity_form == "unbounded" and self.diversity > self.l2 / 4:
            raise ValueError(
                f"diversity(={self.diversity}) must be <= l2(={self.l2}) / 4 where diversity_form is "
                "unbounded, or the loss has no least value"
            )

    @property
    def slices(self) -> int:
        """N, the number of slices; the last is narrower where w does not divide d."""
        return -(-self.dim // self.slice_width)
