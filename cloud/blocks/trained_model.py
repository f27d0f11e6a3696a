"""A trained model: the tables and vectors that blocks are cut from."""

from dataclasses import dataclass

from wire.arrays import Float32Array
from wire.ranking_metrics import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """The result of training.

    User u's score of item i is ``user_vectors[u] @ item_tables[user_groups[u]][i]``; a user's vector is in
    the basis of the user's group. Shapes: ``user_vectors`` (U, d), ``user_groups`` (U,), ``item_tables`` (I,
    d) for each of G groups (equal tables are one array), ``second_moments`` (G, d): the mean square of each
    dimension over the users whom a group's table is for; ``item_weights`` (G, I): the weight of an item in a
    group, rows sum to 1; ``corrections`` (G, M, N), positive: factors by which the controller changes the
    closed-form weights of blocks. ``report`` has JSON types only.
    """

    user_vectors: Float32Array
    user_groups: IntArray
    item_tables: tuple[Float32Array, ...]
    second_moments: FloatArray
    item_weights: Float32Array
    corrections: Float32Array
    report: dict[str, object]
