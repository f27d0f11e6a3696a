"""The score that is trained is the score that ranks, for vectors of any shape."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cloud.data.interactions import Interactions
from cloud.training.config import Graph, Training
from cloud.training.loop import Factors
from cloud.training.pretrain import pretrain
from cloud.training.tiled_score import user_factors
from devices.recommender.scoring import table_scores
from tests.cloud.worlds import SMALL, checkerboard, ignore
from wire.codecs import Codec
from wire.geometry import Geometry, Score
from wire.random_streams import stream

TILED = replace(SMALL, score=Score.TILED, rotate=False, lightgcn=Graph(layers=1, combine="concat", epochs=60))


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32))
def test_the_inner_product_is_the_devices_score_of_the_whole_table(dim: int, width: int, seed: int) -> None:
    rng, width = stream(seed, "vectors"), min(dim, width)
    users, items = (rng.normal(size=(rows, dim)).astype(np.float32) for rows in (2, 3))
    training = Training(backbone="mf", score=Score.TILED, rotate=False, dim=dim, slice_width=width)
    geometry = Geometry(
        items=3, dim=dim, item_groups=2, slice_width=width, codec=Codec.FP32, score=Score.TILED
    )
    held = np.ones((2, training.slices), dtype=bool)
    trained = user_factors(torch.from_numpy(users), training).numpy()
    expected = table_scores(users, items, held, geometry)
    np.testing.assert_allclose(trained @ items.T, expected, rtol=1e-4, atol=1e-4)


def learned(name: str, world: Interactions) -> Factors:
    return pretrain(world, replace(TILED, backbone=name), ignore)[0]


@pytest.mark.parametrize("name", ["mf", "lightgcn"])
def test_any_slice_of_a_table_that_is_trained_tiled_can_stand_in_for_the_whole(name: str) -> None:
    actual = learned(name, checkerboard())
    by_slice = actual.users.reshape(40, -1, 2)
    np.testing.assert_allclose(by_slice, np.broadcast_to(by_slice[:, :1], by_slice.shape), rtol=1e-5)
    likes = np.add.outer(np.arange(40), np.arange(40)) % 2 == 0
    for columns in (slice(0, 2), slice(6, 8)):
        scores = actual.users[:, columns] @ actual.items[:, columns].T
        assert scores[likes].mean() > scores[~likes].mean() + 0.1
