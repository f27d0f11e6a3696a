"""The diversity regularizer: a term of the pretraining loss that keeps the slices of a table different.

Letters: I items, d dimensions, N slices of w dimensions; E^n is the columns of slice n as one long vector.
"""

import torch
from torch import Tensor

from cloud.training.config import Training


def diversity_term(items: Tensor, config: Training) -> Tensor:
    """Return the term that *config* adds to the loss of a table, shape (I, d)."""
    if config.diversity_form == "bounded":
        return config.diversity * slice_similarity(items, config.slice_width)
    return -config.diversity * neighbour_distance(items, config.slice_width)


def slice_similarity(items: Tensor, slice_width: int) -> Tensor:
    """Return sum over m < n of cos^2(E^m, E^n).

    The bounded form: at most N (N - 1) / 2, 0 for slices that are orthogonal to one another.
    """
    directions = torch.nn.functional.normalize(_slices(items, slice_width), dim=1)
    return (directions @ directions.T).triu(diagonal=1).square().sum()


def neighbour_distance(items: Tensor, slice_width: int) -> Tensor:
    """Return 1 / I * sum over n of |E^n - E^(n+1)|^2.

    This is the form of the authors but for the factor 1 / I, which makes its weight comparable with that of
    L2, a mean over items too. It grows with the table without bound, at most by 4 times the mean squared
    length.
    """
    slices = _slices(items, slice_width)
    return (slices[1:] - slices[:-1]).square().sum() / len(items)


def _slices(items: Tensor, slice_width: int) -> Tensor:
    """Return each slice as one vector, shape (N, w * I); the last is padded with zeros."""
    n_items, dim = items.shape
    padded = torch.nn.functional.pad(items, (0, -dim % slice_width))
    return padded.T.reshape(-1, slice_width * n_items)
