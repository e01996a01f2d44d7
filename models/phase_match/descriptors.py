"""Descriptors: at every sample, how its orientations stand out from those around it.

A soft form of the maximum index map: instead of the one strongest orientation each sample keeps all, less
their surroundings' mean and over their surroundings' strength, so faint and strong edges count alike.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, interpolate, pad

from models.matching.transforms import Transform, apply_transform, invert
from models.phase_match.congruency import OrientedEnergy

_SMOOTHING = 1.0
_SURROUNDINGS = 10.0
_POOL = 4
_FLOOR = 0.3


def describe(energy: OrientedEnergy) -> Tensor:
    """Return the descriptor of every sample, float32 (orientations, rows, columns); 0 where not valid."""
    return stand_out(smooth(energy.energy, _SMOOTHING), energy.valid, _SURROUNDINGS, _FLOOR)


def stand_out(planes: Tensor, valid: Tensor, surroundings: float, floor: float) -> Tensor:
    """Take the local mean out of every plane and divide by the local strength of all.

    Args:
        planes: float32 (planes, rows, columns).
        valid: float32 (rows, columns), 1 or 0.
        surroundings: standard deviation of the Gaussian, samples.
        floor: part of the mean strength that is added, so that nothing does not become something.
    """
    masked = torch.cat([planes * valid, valid[None]])
    means = smooth_widely(masked, surroundings)
    rest = (planes - means[:-1] / means[-1].clamp(min=1e-3)) * valid
    squares = rest.square().sum(0)
    strength = smooth_widely(squares[None], surroundings)[0] / means[-1].clamp(min=1e-3)
    typical = squares.sum() / valid.sum().clamp(min=1)
    return rest / (strength + floor * typical + 1e-9).sqrt()


def smooth(planes: Tensor, deviation: float) -> Tensor:
    """Blur every plane (planes, rows, columns) by a Gaussian; 0 beyond the edge."""
    reach = math.ceil(2.5 * deviation)
    steps = torch.arange(-reach, reach + 1, device=planes.device)
    kernel = torch.exp(-0.5 * (steps / deviation).square())
    kernel = kernel / kernel.sum()
    rows = conv2d(planes[:, None], kernel.view(1, 1, 1, -1), padding=(0, reach))
    return conv2d(rows, kernel.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]


def smooth_widely(planes: Tensor, deviation: float) -> Tensor:
    """The same for a wide Gaussian, on coarser planes: a quarter of the side, a sixtieth of the work."""
    rows, columns = planes.shape[1:]
    if deviation < 2 * _POOL or min(rows, columns) < 2 * _POOL:
        return smooth(planes, deviation)
    odd = (0, -columns % _POOL, 0, -rows % _POOL)
    coarse = smooth(avg_pool2d(pad(planes, odd), _POOL), deviation / _POOL)
    return interpolate(coarse[None], scale_factor=float(_POOL), mode="bilinear")[0, :, :rows, :columns]


def turn_channels(count: int, turns: Tensor) -> Tensor:
    """Return the matrices (n, count, count) that turn orientations by so many radians, clockwise as shown.

    Between two orientations the energy is shared by distance. Orientations repeat after half a turn.
    """
    steps = turns / (math.pi / count)
    below = torch.floor(steps)
    share = (steps - below)[:, None, None]
    places = torch.arange(count, device=turns.device)
    shift = (places[None, :, None] - places[None, None, :] - below[:, None, None].long()) % count
    return (shift == 0) * (1 - share) + (shift == 1) * share


def place_energy(
    moving: OrientedEnergy, fixed: OrientedEnergy, fixed_from_moving: Transform
) -> OrientedEnergy:
    """Resample the moving image's energies onto the fixed one's samples, with their orientations turned."""
    samples = invert(fixed.pixel_from_sample) @ fixed_from_moving @ moving.pixel_from_sample
    planes = torch.cat([moving.energy, moving.valid[None]])
    placed = warp_planes(planes, samples, fixed.shape)
    valid = (placed[-1] > 0.9).float()
    turn = torch.tensor([local_turn(samples, moving.shape)], device=planes.device)
    turned = torch.einsum("ij,jhw->ihw", turn_channels(len(moving.energy), turn)[0], placed[:-1])
    return OrientedEnergy(turned * valid, valid, fixed.pixel_from_sample)


def warp_planes(planes: Tensor, target_from_source: Transform, shape: tuple[int, int]) -> Tensor:
    """Resample planes (planes, rows, columns) onto another grid of a shape, bilinearly; 0 outside."""
    inverse = torch.from_numpy(invert(target_from_source)).to(planes.device)
    rows = torch.arange(shape[0], device=planes.device, dtype=torch.float64)
    columns = torch.arange(shape[1], device=planes.device, dtype=torch.float64)
    source = inverse[:, 0] * columns[None, :, None] + inverse[:, 1] * rows[:, None, None] + inverse[:, 2]
    size = torch.tensor(planes.shape[:0:-1], device=planes.device).clamp(min=2)
    ahead = source[..., 2:].clamp(min=1e-6)  # what lies behind the horizon is sent far outside
    grid = 2 * (source[..., :2] / ahead) / (size - 1) - 1
    return grid_sample(planes[None], grid[None].float(), align_corners=True)[0]


def local_turn(target_from_source: Transform, shape: tuple[int, int]) -> float:
    """Return by how much the middle of a grid of a shape is turned, radians, clockwise as shown."""
    x, y = (shape[1] - 1) / 2, (shape[0] - 1) / 2
    middle, right, below = apply_transform(target_from_source, np.array([[x, y], [x + 1, y], [x, y + 1]]))
    (a, c), (b, d) = right - middle, below - middle
    return math.atan2(c - b, a + d)
