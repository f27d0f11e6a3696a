"""Settings of data in a scenario: frozen values, decoded and checked; no files are read.

The string below each field is its documentation: `docs/` prints it. Ranges are checked when a scenario is
decoded; rules between fields hold for every value, however it was built.
"""

import codecs
import math
from typing import Annotated, Final, Literal, get_args

import msgspec
from msgspec import Meta

from cloud.settings import Count, Seed, Setting, Share
from wire.plugins.plugin import PluginKind
from wire.plugins.registry import PluginRegistry, check_settings

Minimum = Annotated[int, Meta(ge=0, le=100_000_000)]
"""A lower limit; 0 for none."""


Name = Annotated[str, Meta(min_length=1)]
"""A text that is not empty."""


ColumnName = Name | Annotated[int, Meta(ge=1, le=1_000_000)]
"""A column, by its name or by its number from 1."""

SEPARATORS = {"comma": ",", "tab": "\t", "semicolon": ";", "pipe": "|", "colons": "::", "space": " "}
"""Names of separators; `space` stands for any number of blanks."""

MAX_SYNTHETIC_BYTES = 32 * 2**30
"""Largest estimated memory of a synthetic world; more must be a mistake."""


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


class ByTime(Setting, frozen=True, kw_only=True, tag_field="type", tag="time"):
    """Each user's last interactions are the test, those before them the validation.

    Equal times keep the order of the file. A user always keeps one interaction for training.
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


class ByCut(Setting, frozen=True, kw_only=True, tag_field="type", tag="cut"):
    """One moment for all users: training and validation come before it, the test after it.

    Nothing after the cut decides anything about the model: minima hold for what is before it, and users and
    items first seen after it are no part of the model.
    """

    warm_up: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.8
    """Part of all interactions, by time, before the cut; interactions of one moment stay together."""

    valid_share: Share = 0.1
    """Part of each user's interactions before the cut used for validation: the last ones, rounded to the
    nearest number, half up."""


SplitPerUser = ByTime | ByRatio
"""The ways to split the interactions of each user for themselves."""

Split = SplitPerUser | ByCut
"""The ways to split interactions into training, validation and test."""


class Synthetic(Setting, frozen=True, kw_only=True, tag_field="type", tag="synthetic"):
    """A synthetic world of known structure: user groups with different tastes for kinds of items."""

    users: Count = 600
    """Number of users."""

    items: Count = 1000
    """Number of items."""

    user_groups: Count = 6
    """Number of groups of users; members of a group share a taste."""

    item_kinds: Count = 32
    """Number of kinds of items; a taste is a preference for kinds."""

    interactions_per_user: Annotated[float, Meta(ge=1.0, le=1e6)] = 80.0
    """Mean number of interactions of a user; users vary log-normally around it."""

    popularity_skew: Annotated[float, Meta(ge=0.0, le=4.0)] = 0.7
    """Exponent of Zipf's law for the popularity of items; 0 makes all equally popular."""

    group_taste: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.5
    """Strength of a group's preferences: standard deviation of its log-odds; 0 makes groups alike."""

    own_taste: Annotated[float, Meta(ge=0.0, le=20.0)] = 1.5
    """Difference of a user from the group's taste: standard deviation of the log-odds."""

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
        # Tastes of users for kinds (three arrays), interactions during sorting, names.
        of_user = 24 * self.item_kinds + 80 * self.interactions_per_user + 200
        if self.users * of_user + 1000 * self.items > MAX_SYNTHETIC_BYTES:
            raise ValueError(
                f"users(={self.users}) with interactions_per_user(={self.interactions_per_user}) and "
                f"item_kinds(={self.item_kinds}), or items(={self.items}), must be fewer: the world would "
                f"take about {(self.users * of_user + 1000 * self.items) / 2**30:,.0f} GiB of memory"
            )


class LightGCN(Setting, frozen=True, kw_only=True, tag_field="type", tag="lightgcn"):
    """A folder with train.txt and test.txt, already split; a line is `user item item ...`, in any order."""

    path: Name
    """The folder."""

    valid_share: Share = 0.1
    """Part of each user's training items that is held out for validation if valid.txt is missing or empty;
    rounded to the nearest number, half up."""

    seed: Seed = 0
    """Seed of the random choice of held-out items."""


class RecBole(Setting, frozen=True, kw_only=True, tag_field="type", tag="recbole"):
    """A RecBole atomic file, with a header such as `user_id:token item_id:token`.

    Or one that is already split, as NAME.train.inter, NAME.valid.inter and NAME.test.inter.
    """

    path: Name
    """A .inter file, or a folder with exactly one, or with one that is split in two or three."""

    user: ColumnName = "user_id"
    """Column of the user, by its name, with or without its type, or its number from 1."""

    item: ColumnName = "item_id"
    """Column of the item, such as `artist_id`."""

    rating: ColumnName = "rating"
    """Column of the rating, such as `weight`; it may be missing if `min_rating` is 0."""

    time: ColumnName = "timestamp"
    """Column of the time: a number, or a date and time such as `2020-01-31 10:00:00`."""

    separator: Annotated[str, Meta(min_length=1, max_length=10)] | None = None
    """Separator of fields: comma, tab, semicolon, pipe, space, colons, or the characters themselves; null:
    detected, a tab unless the header shows another."""

    encoding: Name = "utf-8"
    """Encoding of the text, such as latin-1; a byte order mark wins."""

    split: Split | None = None
    """The way to split the interactions; null: by time, or at random (`ratio`) without a column `time`. For
    files that are already split but have no validation file, only `valid_share` of the training interactions
    is held out."""

    min_rating: float = 0.0
    """Interactions with a lower rating are dropped, and counted; the others count as liked. At 0 or below,
    interactions without a rating, or with one that is not a number, stay."""

    min_user_interactions: Minimum = 0
    """Drop users with fewer interactions, repeatedly until both minima hold (k-core)."""

    min_item_interactions: Minimum = 0
    """Drop items with fewer interactions, repeatedly until both minima hold (k-core)."""

    def __post_init__(self) -> None:
        _check_rating(self.min_rating)
        _check_separator(self.separator)
        _check_encoding(self.encoding)
        _check_columns(self.user, self.item, self.rating, self.time)


class MovieLens(Setting, frozen=True, kw_only=True, tag_field="type", tag="movielens"):
    """GroupLens' own files: ratings.dat (`::`), ratings.csv (commas, header) or u.data (tabs)."""

    path: Name
    """One of these files, compressed or not, or a folder with one of them."""

    split: Split = ByTime()
    """The way to split the interactions."""

    min_rating: float = 0.0
    """Interactions with a lower rating are dropped; the others count as liked."""

    min_user_interactions: Minimum = 0
    """Drop users with fewer interactions, repeatedly until both minima hold (k-core)."""

    min_item_interactions: Minimum = 0
    """Drop items with fewer interactions, repeatedly until both minima hold (k-core)."""

    def __post_init__(self) -> None:
        _check_rating(self.min_rating)


class Table(Setting, frozen=True, kw_only=True, tag_field="type", tag="table"):
    """Any table with one interaction a row: as text (.csv, .tsv, .txt, .inter and others) or as .parquet.

    Text may be compressed by gzip, bzip2, xz or zstd.
    """

    path: Name
    """The file; its ending decides its format."""

    user: ColumnName = "user"
    """Column of the user, by its name or its number from 1."""

    item: ColumnName = "item"
    """Column of the item."""

    rating: ColumnName | None = None
    """Column of the rating, if there is one."""

    time: ColumnName | None = None
    """Column of the time, if there is one: a number, or a date and time such as `2020-01-31 10:00:00` or
    `2020-01-31T10:00:00+01:00`."""

    title: ColumnName | None = None
    """Column of the item's title, if there is one: for people, nothing is trained on it."""

    separator: Annotated[str, Meta(min_length=1, max_length=10)] | None = None
    """Separator of fields: comma, tab, semicolon, pipe, space, colons, or the characters themselves; null:
    detected by the names of the columns or, without a header, by lines with the same number of fields."""

    header: bool = True
    """True if the first line has the names of the columns. If not, `columns` has them, or columns are
    numbered; then `user` and `item` are by default columns 1 and 2."""

    columns: tuple[Name, ...] = ()
    """The names of all columns, in order, if there is no header."""

    encoding: Name = "utf-8"
    """Encoding of the text, such as latin-1 or utf-16; a byte order mark wins."""

    decimal: Literal[".", ","] = "."
    """The decimal mark of ratings and times."""

    split: Split = ByRatio()
    """The way to split the interactions; by time needs `time`."""

    min_rating: float = 0.0
    """Interactions with a lower rating are dropped, and counted, if there is a column `rating`. At 0 or
    below, interactions without a rating, or with one that is not a number, stay."""

    min_user_interactions: Minimum = 0
    """Drop users with fewer interactions, repeatedly until both minima hold (k-core)."""

    min_item_interactions: Minimum = 0
    """Drop items with fewer interactions, repeatedly until both minima hold (k-core)."""

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
        if isinstance(self.split, ByTime | ByCut) and self.time is None:
            raise ValueError(f"time(={self.time}) must name a column when the split is by time or a cut")
        _check_columns(self.user, self.item, self.rating, self.time)
        wanted = (self.user, self.item, self.rating, self.time, self.title)
        names = [str(name) for name in wanted if name is not None]
        unknown = [name for name in names if self.columns and name not in self.columns and not name.isdigit()]
        if unknown:
            raise ValueError(f"columns(={', '.join(self.columns)}) must have {unknown[0]!r}")


Ratings = RecBole | MovieLens | Table
"""The sources that are one table of interactions, to be filtered and split."""

Data = Synthetic | LightGCN | RecBole | MovieLens | Table
"""The sources of interactions, beside `LOADER_PLUGINS`; to add one, see `cloud.data.load.READERS`."""


def has_files(data: Data) -> bool:
    """Tell whether *data* are read from files; else they are made."""
    return "path" in data.__struct_fields__


def _check_plugin(name: str, found: object) -> type[msgspec.Struct]:
    return check_settings(name, found, ("read",))


LOADER_PLUGINS: Final = PluginRegistry(
    PluginKind.LOADER, [str(source.__struct_config__.tag) for source in get_args(Data)], _check_plugin
)
"""The readers of data of plug-ins: settings with a method `read`, which gets the path of the files.

Settings without a key `path` have no files: they make their data.
"""
