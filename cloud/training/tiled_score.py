"""The tiled score in training: a user's vector in the form in which the inner product is that score.

The tiled score of a user u and an item v is <sum over all m of u^m, sum over all n of v^n>, if all slices are
held. That is the inner product of v with a vector whose slices are all the sum of the slices of u. A device
sums these N equal slices again, so its scores are N times as large, which changes no ranking. Letters: d
dimensions, N slices of w dimensions, B users.
"""

import torch
from torch import Tensor

from cloud.training.config import Training
from wire.geometry import Score


def user_factors(users: Tensor, config: Training) -> Tensor:
    """Return vectors, shape (B, d), whose inner product with an item's vector is the score to train.

    Under the tiled score each slice is the sum of all slices of the user's vector; a narrow last slice is
    taken as padded with zeros.
    """
    if config.score is not Score.TILED:
        return users
    count, dim = users.shape
    padded = torch.nn.functional.pad(users, (0, -dim % config.slice_width))
    total = padded.reshape(count, -1, config.slice_width).sum(dim=1)  # (B, w)
    return total.repeat(1, config.slices)[:, :dim]
