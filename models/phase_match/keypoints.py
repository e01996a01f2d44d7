"""Keypoints: the clearest sample of every square, so that they lie evenly."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from models.phase_match.congruency import measure_moments


def choose_keypoints(energy: Tensor, allowed: Tensor, spacing: int, limit: int) -> Tensor:
    """Return the samples of the largest moment in each square, float32 (n, 2) as (x, y).

    Args:
        energy: float32 (orientations, rows, columns).
        allowed: bool (rows, columns), where a keypoint may lie.
        spacing: side of a square, samples.
        limit: most keypoints; the clearest are kept.
    """
    if min(energy.shape[1:]) < spacing:
        return energy.new_zeros(0, 2)
    largest, _ = measure_moments(energy)
    clearest, places = max_pool2d((largest * allowed)[None], spacing, return_indices=True)
    clearest, places = clearest.flatten(), places.flatten()
    order = torch.argsort(clearest, descending=True, stable=True)[:limit]
    places = places[order[clearest[order] > 0]]
    return torch.stack([places % energy.shape[2], places // energy.shape[2]], 1).float()
