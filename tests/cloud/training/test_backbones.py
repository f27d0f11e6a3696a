import itertools
import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud.data.interactions import Interactions
from cloud.training.backbones.cosine import sampled_softmax_loss, scale
from cloud.training.backbones.ials import batches_by_count, gather_rows, solve_ridge, solve_table, transpose
from cloud.training.backbones.lightgcn import (
    UnseenItems,
    bpr_loss,
    combine_layers,
    interaction_graph,
    pair_batches,
)
from cloud.training.config import Graph, LeastSquares, Training
from cloud.training.cosine_settings import CosineSoftmax
from cloud.training.evaluation import ndcg_per_user
from cloud.training.loop import Factors, fastest_device, generator
from cloud.training.pretrain import BACKBONES, pretrain
from tests.cloud.worlds import SMALL, checkerboard, ignore
from wire.errors import RunError
from wire.ranking_metrics import FloatArray, ItemLists

Name = Literal["mf", "lightgcn", "ials", "cosine"]
NAMES: tuple[Name, ...] = ("mf", "lightgcn", "ials", "cosine")
QUICK = replace(
    SMALL,
    lightgcn=Graph(layers=2, learning_rate=0.02, batch_size=128, epochs=15),
    ials=LeastSquares(epochs=6, l2=0.1),
    cosine=CosineSoftmax(rounds=4, batch_size=32, sampled_items=20),
)
FEW = replace(
    QUICK,
    epochs=2,
    lightgcn=replace(QUICK.lightgcn, epochs=2),
    ials=LeastSquares(epochs=2),
    cosine=replace(QUICK.cosine, rounds=2),
)

SIZES_BEFORE = [22.6253, 23.2185]  # of what `mf` learned when it was the only one
NDCG_BEFORE = 0.424991219


def learned(name: Name, world: Interactions, config: Training = QUICK) -> Factors:
    return pretrain(world, replace(config, backbone=name), ignore)[0]


def random_lists(users: int, items: int, share: float, seed: int = 0) -> ItemLists:
    known = np.random.default_rng(seed).random((users, items)) < share
    rows, columns = np.nonzero(known)
    return ItemLists.of_pairs(rows, columns, users)


def dense(lists: ItemLists, items: int) -> FloatArray:
    table = np.zeros((len(lists), items))
    table[lists.pairs()] = 1.0
    return table


# --- what every backbone keeps --------------------------------------------------------------------


def test_every_name_has_a_backbone() -> None:
    assert tuple(BACKBONES) == (*NAMES, "file")  # which learns nothing: tests/test_own_vectors.py


@pytest.mark.parametrize("name", NAMES[1:])  # the first has its own test
def test_the_checkerboard_is_learned(name: Name) -> None:
    world = checkerboard()
    actual = learned(name, world)
    assert (actual.users.shape, actual.items.shape) == ((40, 8), (40, 8))
    assert {table.dtype.name for table in (actual.users, actual.items)} == {"float32"}
    assert ndcg_per_user(actual.users, actual.items, world.known, world.test).tolist() == [1.0] * 40


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_bits(name: Name) -> None:
    state = torch.get_rng_state()
    once, again, other = (learned(name, checkerboard(), replace(FEW, seed=seed)) for seed in (1, 1, 2))
    assert once.users.tobytes() == again.users.tobytes()
    assert once.items.tobytes() == again.items.tobytes()
    assert once.items.tobytes() != other.items.tobytes()
    assert torch.equal(torch.get_rng_state(), state)  # no global stream is touched


@pytest.mark.parametrize("name", NAMES[:3])  # the last is evaluated at the end only
def test_progress_and_report(name: Name) -> None:
    heard: list[tuple[int, int]] = []
    every, config = 3, replace(FEW, backbone=name, epochs=7, evaluate_every=3)
    config = replace(
        config,
        lightgcn=replace(FEW.lightgcn, epochs=7, evaluate_every=every),
        ials=LeastSquares(epochs=7, evaluate_every=every, l2_doublings=0),
    )
    _, report = pretrain(checkerboard(), config, lambda done, total, note: heard.append((done, total)))
    assert heard == [(3, 7), (6, 7), (7, 7)]
    assert (report["backbone"], report["epochs"]) == (name, 7)


@pytest.mark.parametrize("name", NAMES)
def test_without_validation_the_last_tables_are_kept(name: Name) -> None:
    world = checkerboard()
    nothing = ItemLists.of_pairs(np.empty(0, np.int64), np.empty(0, np.int64), world.n_users)
    blind = Interactions("blind", world.known, nothing, world.test, world.user_ids, world.item_ids)
    _, report = pretrain(blind, replace(FEW, backbone=name), ignore)
    assert (report["best_epoch"], report["valid_ndcg_at_20"]) == (2, None)


@pytest.mark.parametrize("name", NAMES)
def test_users_and_items_without_interactions(name: Name) -> None:
    train = ItemLists.of_pairs(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 1, 2]), 3)  # user 1 knows all
    valid = ItemLists.of_pairs(np.array([2]), np.array([3]), 3)
    world = Interactions("sparse", train, valid, valid, ("a", "b", "c"), ("p", "q", "r", "s"))
    actual = learned(name, world, FEW)
    assert np.isfinite(actual.users).all()
    assert np.isfinite(actual.items).all()


@pytest.mark.parametrize("name", NAMES)
def test_tables_that_are_no_numbers_stop_training(name: Name, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cloud.training.loop.INIT_DEVIATION", math.nan)
    with pytest.raises(RunError, match=r"in epoch 1: (the loss is nan; learning_rate|found no solution)"):
        learned(name, checkerboard())


def test_mf_is_what_it_was_before_there_were_others() -> None:
    config = replace(SMALL, epochs=3, evaluate_every=3, diversity=0.01)
    actual, report = pretrain(checkerboard(), config, ignore)
    sizes = [float(np.abs(table).sum()) for table in (actual.users, actual.items)]
    assert sizes == pytest.approx(SIZES_BEFORE, rel=1e-5)  # bits differ between machines
    assert report["valid_ndcg_at_20"] == pytest.approx(NDCG_BEFORE)


# --- LightGCN -------------------------------------------------------------------------------------


def test_layers_are_those_of_the_dense_matrix() -> None:
    train = random_lists(6, 5, 0.4)
    likes = dense(train, 5)
    adjacency = np.block([[np.zeros((6, 6)), likes], [likes.T, np.zeros((5, 5))]])
    degrees = np.maximum(adjacency.sum(axis=1), 1)
    spread = adjacency / np.sqrt(np.outer(degrees, degrees))
    ego = torch.randn(11, 3, generator=generator(0, "ego"))
    for layers in range(4):
        expected = sum(np.linalg.matrix_power(spread, power) for power in range(layers + 1)) / (layers + 1)
        actual = combine_layers(interaction_graph(train, 5), ego, Graph(layers=layers), 3)
        np.testing.assert_allclose(actual.numpy(), expected @ ego.numpy(), atol=1e-6)
        powers = [np.linalg.matrix_power(spread, power) @ ego.numpy() for power in range(layers + 1)]
        side_by_side = Graph(layers=layers, combine="concat")
        actual = combine_layers(interaction_graph(train, 5), ego, side_by_side, 3 * layers + 2)
        np.testing.assert_allclose(actual.numpy(), np.hstack(powers)[:, :-1], atol=1e-6)  # cut to the width


@pytest.mark.parametrize("layers", range(4))
def test_a_row_depends_on_its_neighbourhood_only(layers: int) -> None:
    """Row i of every layer, before spreading, is of user i only; each layer reaches one step further."""
    train = ItemLists.of_pairs(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]), 4)  # 0 - p - 1 - q - 2, and 3
    graph, ego = interaction_graph(train, 2), torch.ones(6, 1, requires_grad=True)
    steps = {0: 0, 4: 1, 1: 2, 5: 3, 2: 4}  # from user 0; users are rows 0 to 3, items 4 and 5
    combine_layers(graph, ego, Graph(layers=layers), 1)[0].sum().backward()  # type: ignore[no-untyped-call]
    assert ego.grad is not None
    reached = set(np.flatnonzero(ego.grad.numpy()).tolist())
    assert reached == {row for row, distance in steps.items() if distance <= layers}


def test_the_gradient_is_that_of_the_dense_product() -> None:
    graph = interaction_graph(random_lists(5, 4, 0.5), 4)
    actual, expected = (torch.randn(9, 2, generator=generator(0, "t")).requires_grad_() for _ in range(2))
    combine_layers(graph, actual, Graph(layers=2), 2).pow(3).sum().backward()  # type: ignore[no-untyped-call]
    matrix = graph.to_dense()
    averaged = (expected + matrix @ expected + matrix @ (matrix @ expected)) / 3
    averaged.pow(3).sum().backward()  # type: ignore[no-untyped-call]
    assert actual.grad is not None
    assert expected.grad is not None
    torch.testing.assert_close(actual.grad, expected.grad)


def test_the_loss_is_the_surprise_of_the_order() -> None:
    vectors = [torch.tensor([row]) for row in ([1.0, 2.0], [3.0, 0.0], [0.0, 1.0])]  # scores 3 and 2
    assert bpr_loss(*vectors).item() == pytest.approx(-math.log(1 / (1 + math.exp(-1))))


def test_layers_side_by_side_have_the_width_that_is_asked_for() -> None:
    config = replace(FEW, dim=7, lightgcn=replace(FEW.lightgcn, layers=2, combine="concat"))
    actual = learned("lightgcn", checkerboard(), config)
    assert (actual.users.shape, actual.items.shape) == ((40, 7), (40, 7))


@given(st.integers(1, 6), st.integers(2, 12), st.floats(0, 0.9), st.integers(0, 2**32))
def test_drawn_items_are_never_known(users: int, items: int, share: float, seed: int) -> None:
    known = random_lists(users, items, share, seed)
    open_users = np.flatnonzero(known.counts() < items)
    asked = torch.from_numpy(np.repeat(open_users, 20))
    actual = UnseenItems.of(known, items).draw(asked, generator(seed, "draw")).numpy()
    assert ((actual >= 0) & (actual < items)).all()
    assert not dense(known, items)[asked.numpy(), actual].any()


def test_unknown_items_are_equally_likely() -> None:
    known = ItemLists.of_pairs(np.array([0, 0, 0, 1]), np.array([0, 3, 4, 6]), 2)
    actual = UnseenItems.of(known, 7).draw(torch.zeros(40_000, dtype=torch.long), generator(0, "draw"))
    counts = torch.bincount(actual, minlength=7)
    assert counts[[0, 3, 4]].tolist() == [0, 0, 0]
    assert counts[[1, 2, 5, 6]].tolist() == pytest.approx([10_000] * 4, rel=0.05)


def test_drawing_depends_on_the_generator_only() -> None:
    unknown, users = UnseenItems.of(random_lists(9, 30, 0.3), 30), torch.arange(9)
    once, again = (unknown.draw(users, generator(4, "draw")) for _ in range(2))
    assert torch.equal(once, again)


def test_batches_are_every_pair_once() -> None:
    pairs = random_lists(7, 9, 0.5).pairs()
    actual = list(pair_batches(pairs, 8, generator(0, "batches")))
    assert {len(users) for users, _ in actual[:-1]} == {8}
    together = [(int(u), int(i)) for users, items in actual for u, i in zip(users, items, strict=True)]
    assert sorted(together) == list(zip(*map(np.ndarray.tolist, pairs), strict=True))


# --- iALS -----------------------------------------------------------------------------------------


def slowly_solved(likes: FloatArray, other: FloatArray, settings: LeastSquares) -> FloatArray:
    """Solve each row by writing its weighted least squares down in full."""
    rows = []
    for liked in likes:
        weights = liked + settings.unobserved * likes.mean()
        strength = settings.l2 * weights.sum() ** settings.frequency_exponent
        left = other.T @ np.diag(weights) @ other + strength * np.eye(other.shape[1])
        rows.append(np.linalg.solve(left, other.T @ liked))
    return np.array(rows)


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0])
def test_solutions_are_those_of_the_slow_version(exponent: float) -> None:
    known = random_lists(30, 20, 0.3)
    other = np.random.default_rng(1).normal(size=(20, 4))
    settings = LeastSquares(unobserved=0.7, l2=0.05, frequency_exponent=exponent)
    actual = solve_table(known, torch.from_numpy(other.astype(np.float32)).to(fastest_device()), settings)
    np.testing.assert_allclose(
        actual.cpu().numpy(), slowly_solved(dense(known, 20), other, settings), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("columns", [1, 3, 4, 9])  # fewer than the four dimensions, as many, more
def test_both_ways_to_solve_give_the_same(columns: int) -> None:
    rng = np.random.default_rng(columns)
    vectors, diagonals = rng.normal(size=(5, columns, 4)), rng.uniform(0.5, 2, (5, 4))
    expected = [
        np.linalg.solve(each.T @ each + np.diag(diagonal), each.sum(axis=0))
        for each, diagonal in zip(vectors, diagonals, strict=True)
    ]
    actual = solve_ridge(torch.from_numpy(vectors), torch.from_numpy(diagonals))
    np.testing.assert_allclose(actual.numpy(), expected)


def test_a_solved_row_depends_on_its_own_interactions_only() -> None:
    other = torch.randn(20, 4, generator=generator(0, "items"))
    first = random_lists(10, 20, 0.3)
    order = np.array([9, 8, 7, 3, 6, 5, 4, 2, 1, 0])  # the others change places, user 3 stays
    one, two = (solve_table(lists, other, LeastSquares()) for lists in (first, first.take(order)))
    torch.testing.assert_close(one[3], two[3])
    assert not torch.allclose(one[0], two[0])
    torch.testing.assert_close(one[order], two)


def test_each_turn_lowers_the_loss() -> None:
    known, settings = random_lists(30, 20, 0.3), LeastSquares(unobserved=0.7, l2=0.05)
    likes = dense(known, 20)
    zeros = settings.unobserved * likes.mean()
    items = torch.randn(20, 4, generator=generator(0, "items"))
    losses = []
    for _ in range(4):
        users = solve_table(known, items, settings)
        items = solve_table(transpose(known, 20), users, settings)
        scores = (users @ items.T).numpy()
        fit = (likes * (1 - scores) ** 2 + zeros * scores**2).sum()
        user_pulls = (likes + zeros).sum(axis=1) @ (users.numpy() ** 2).sum(axis=1)
        item_pulls = (likes + zeros).sum(axis=0) @ (items.numpy() ** 2).sum(axis=1)
        losses.append(fit + settings.l2 * (user_pulls + item_pulls))
    assert all(later < earlier for earlier, later in itertools.pairwise(losses))


def test_gathered_rows_are_filled_up_with_zeros() -> None:
    known = ItemLists.of_pairs(np.array([0, 2, 2]), np.array([1, 0, 2]), 3)
    actual = gather_rows(known, torch.tensor([[1.0], [2.0], [3.0]]))
    assert actual.squeeze(2).tolist() == [[2, 0], [0, 0], [1, 3]]


@given(st.lists(st.integers(0, 300), max_size=50))
def test_batches_of_like_rows_are_all_rows_once(counts: list[int]) -> None:
    array = np.array(counts, dtype=np.int64)
    actual = list(batches_by_count(array, 4))
    every = np.concatenate([*actual, np.empty(0, np.int64)])
    assert sorted(every.tolist()) == np.flatnonzero(array).tolist()
    assert all(array[batch].max() <= 2 * array[batch].min() for batch in actual)


# --- a softmax over cosines -----------------------------------------------------------------------


def test_the_sampled_loss_with_every_item_is_the_softmax_over_cosines() -> None:
    """The target counts once more, as one item among the sampled ones."""
    users, items = (torch.randn(rows, 4, generator=generator(0, "tables")) for rows in (3, 5))
    targets = ItemLists.of_pairs(np.array([0, 0, 2]), np.array([1, 4, 3]), 3)  # user 1 likes nothing
    actual = sampled_softmax_loss(users, items, targets, torch.arange(5), 0.2)
    cosines = torch.nn.functional.cosine_similarity(users[:, None], items[None], dim=2) / 0.2
    shares = [
        cosines[user, item].exp() / (cosines[user].exp().sum() + cosines[user, item].exp())
        for user, item in zip(*targets.pairs(), strict=True)
    ]
    torch.testing.assert_close(actual, -torch.stack(shares).log().mean())


def test_the_loss_does_not_know_lengths_nor_how_many_are_sampled() -> None:
    users, items = (torch.randn(rows, 4, generator=generator(1, "tables")) for rows in (3, 5))
    targets = ItemLists.of_pairs(np.array([0, 1]), np.array([1, 4]), 3)
    once = sampled_softmax_loss(users, items, targets, torch.arange(5), 0.2)
    lengths = torch.tensor([1.0, 5.0, 0.1, 2.0, 3.0])[:, None]
    for again in (
        sampled_softmax_loss(7 * users, items * lengths, targets, torch.arange(5), 0.2),
        sampled_softmax_loss(users, items, targets, torch.arange(5).repeat(3), 0.2),
    ):
        torch.testing.assert_close(again, once)


def test_an_item_is_as_long_as_it_is_popular_and_known_items_score_1() -> None:
    train = ItemLists.of_pairs(np.array([0, 1, 2, 3, 0]), np.array([0, 0, 0, 0, 1]), 4)  # 4, 1 and 0 times
    users = torch.nn.functional.normalize(torch.tensor([[1.0, 1.0], [1.0, 1.0], [1.0, 2.0], [-1.0, 0.0]]))
    model = scale(users, torch.nn.functional.normalize(torch.ones(3, 2)), train, 0.5)
    np.testing.assert_allclose(np.linalg.norm(model.items, axis=1), [0.6, 0.3, 0.3], rtol=1e-6)
    scores = model.users @ model.items.T
    assert scores[0, :2].mean() == pytest.approx(1)
    assert scores[1:3, 0].tolist() == pytest.approx([1, 1])
    assert -20 <= scores[3, 0] < 0  # who was learned badly is no longer than is allowed
