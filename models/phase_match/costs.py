"""How well the surroundings of each keypoint agree at each of the displacements looked at."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, pad

from models.phase_match.descriptors import smooth

_POOL = 4
_FLOOR = 0.1


def measure_agreement(fixed: Tensor, moving: Tensor, keypoints: Tensor, radius: int, window: float) -> Tensor:
    """Return normalised correlations, float32 (2 radius + 1, 2 radius + 1, n) as (y, x) of displacement.

    The descriptors of a Gaussian window round the keypoint are compared with those of the moving image so
    many samples further on. The products are averaged over small squares first: a wide window over them
    costs little, and windows of neighbouring keypoints share all of it.

    Args:
        fixed: descriptors, float32 (orientations, rows, columns).
        moving: the other image's, laid on the same samples.
        keypoints: float32 (n, 2), samples as (x, y).
        radius: of the displacements, samples.
        window: standard deviation, samples.
    """
    rows, columns = fixed.shape[1:]
    wide = pad(moving, (radius,) * 4)
    strength = wide.square().sum(0, keepdim=True)
    steps = range(2 * radius + 1)
    products = torch.cat([_pool_products(fixed, wide[:, y : y + rows]) for y in steps])
    strengths = torch.cat([_pool_shifts(strength[0, y : y + rows], columns) for y in steps])
    own = avg_pool2d(fixed.square().sum(0, keepdim=True), _POOL)
    planes = smooth(torch.cat([own, products, strengths]), window / _POOL)
    at = _read(planes, keypoints)
    floor = _FLOOR * at[0].mean()
    count = len(products)
    agreement = at[1 : count + 1] / ((at[0] + floor) * (at[count + 1 :] + floor)).sqrt()
    return agreement.reshape(len(steps), len(steps), -1)


def _pool_products(fixed: Tensor, wide: Tensor) -> Tensor:
    """Return the products at every displacement along x, averaged over squares: (displacements, h, w).

    One step for all of them: many small ones would leave threads waiting for one another.
    """
    shifted = wide.unfold(2, fixed.shape[2], 1)
    return avg_pool2d((fixed[:, :, None] * shifted).sum(0).transpose(0, 1), _POOL)


def _pool_shifts(wide: Tensor, columns: int) -> Tensor:
    return avg_pool2d(wide.unfold(1, columns, 1).transpose(0, 1), _POOL)


def _read(planes: Tensor, keypoints: Tensor) -> Tensor:
    """Return the value of every pooled plane at the keypoints, (planes, n)."""
    size = torch.tensor([planes.shape[2], planes.shape[1]], device=planes.device)
    grid = (2 * keypoints + 1) / (_POOL * size) - 1  # squares, not their centres, fill the range
    return grid_sample(planes[None], grid[None, None], align_corners=False, padding_mode="border")[0, :, 0]
