"""The coarse pose of two images: orientation maps correlated under every turn, scale and shift.

Orientation channels are a function of the angle at each cell; their first harmonics turn with the image by
a factor, so that one set of maps serves all turns. Cross-correlation by FFT gives all shifts at once, and
is divided by what both maps hold where they overlap, so that black borders and small overlaps neither win
nor lose.
"""

# No postponed annotations: TorchScript reads named tuples by their types.

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from models.mapglue.saliency import blur


class PoseMaps(NamedTuple):
    """What is correlated of one image.

    Attributes:
        harmonics: float32 (1, 5, h, w): mean, and cosine and sine parts of the first two harmonics.
        weight: float32 (1, 1, h, w), 1 where the image is valid.
        cell_px: size of a cell in pixels of the image.
    """

    harmonics: Tensor
    weight: Tensor
    cell_px: float


def pose_maps(energy: Tensor, valid: Tensor, cell_px: float) -> PoseMaps:
    """Return an image's maps.

    Args:
        energy: float32 (1, orientations, h, w).
        valid: float32 (1, 1, h, w), part of each cell that is valid.
        cell_px: size of a cell in pixels of the image.
    """
    weight = (valid > 0.99).to(energy.dtype)
    weight = -F.max_pool2d(-F.pad(weight, [1, 1, 1, 1]), 3, stride=1)  # filters reach over the edge
    around = blur(energy * weight, 6.0) / (blur(weight, 6.0) + 1e-3)
    detail = (energy - around) * weight
    count = energy.shape[1]
    angles = torch.arange(count, device=energy.device, dtype=energy.dtype) * (2 * math.pi / count)
    parts = [0.5 * detail.mean(dim=1)]  # which way structure runs says more than how much there is
    for order in (1, 2):
        parts.append((detail * torch.cos(order * angles)[:, None, None]).mean(dim=1))
        parts.append((detail * torch.sin(order * angles)[:, None, None]).mean(dim=1))
    harmonics = torch.stack(parts, dim=1)
    length = harmonics.square().sum(dim=1, keepdim=True).sqrt()
    typical = (length * weight).sum() / weight.sum().clamp_min(1)
    return PoseMaps(harmonics / (length + typical + 1e-6), weight, cell_px)


def turned_maps(maps: PoseMaps, angle: float, scale: float, side: int) -> tuple[Tensor, Tensor]:
    """Return harmonics and weight as the image would show them, turned and scaled about its middle.

    Args:
        maps: of the image.
        angle: radians, x axis towards y axis.
        scale: above 1 enlarges.
        side: of the square answer, cells.
    """
    height, width = maps.weight.shape[2], maps.weight.shape[3]
    place = torch.arange(side, device=maps.weight.device, dtype=maps.weight.dtype) - (side - 1) / 2
    y, x = place[:, None], place[None]
    cosine, sine = math.cos(angle) / scale, math.sin(angle) / scale
    grid = torch.stack(
        [(cosine * x + sine * y) * (2 / width), (cosine * y - sine * x) * (2 / height)], dim=-1
    )
    both = torch.cat([maps.harmonics, maps.weight], dim=1)
    seen = F.grid_sample(both, grid[None], padding_mode="zeros", align_corners=False)
    parts = [seen[:, 0]]
    for order in (1, 2):
        real, imaginary = seen[:, 2 * order - 1], seen[:, 2 * order]
        c, s = math.cos(2 * order * angle), math.sin(2 * order * angle)
        parts += [c * real - s * imaginary, s * real + c * imaginary]
    weight = (seen[:, 5:6] > 0.5).to(both.dtype)
    return torch.stack(parts, dim=1) * weight, weight


def pose_scores(fixed: Tensor, fixed_weight: Tensor, moving: Tensor, moving_weight: Tensor) -> Tensor:
    """Return how alike maps are under every shift, float32 (moving, side, side), shift 0 first.

    Args:
        fixed: float32 (1, 5, side, side).
        fixed_weight: float32 (1, 1, side, side).
        moving: float32 (poses, 5, side, side).
        moving_weight: float32 (poses, 1, side, side).
    """
    side = fixed.shape[-1]
    layers_fixed = torch.cat([fixed, fixed.square().sum(1, keepdim=True), fixed_weight], dim=1)
    layers_moving = torch.cat([moving, moving.square().sum(1, keepdim=True), moving_weight], dim=1)
    f, m = torch.fft.rfft2(layers_fixed), torch.fft.rfft2(layers_moving).conj()
    # Shift t: fixed at x meets moving at x - t.
    alike = (f[:, :5] * m[:, :5]).sum(dim=1)
    fixed_there, moving_there, overlap = f[:, 5] * m[:, 6], f[:, 6] * m[:, 5], f[:, 6] * m[:, 6]
    maps = torch.fft.irfft2(torch.stack([alike, fixed_there, moving_there, overlap], dim=1), s=[side, side])
    whole = fixed_weight.sum().clamp_min(1)
    length = torch.sqrt(maps[:, 1].clamp_min(0) * maps[:, 2].clamp_min(0))
    share = (maps[:, 3] / whole).clamp(0, 1)
    correlation = maps[:, 0] / (length + 1e-3 * whole)
    # A chance correlation falls with the square root of the overlap, so that much is taken off for it.
    scores: Tensor = correlation * torch.sqrt(share) * (share > 0.15).to(correlation.dtype)
    return scores


class Poses(NamedTuple):
    """Candidates, best first.

    Attributes:
        fixed_from_moving: float32 (k, 3, 3), pixels.
        scores: float32 (k,).
    """

    fixed_from_moving: Tensor
    scores: Tensor


def search_poses(
    fixed: PoseMaps, moving: PoseMaps, turns: int, scales: list[float], candidates: int
) -> Poses:
    """Return the best poses of the moving image over the fixed one.

    Args:
        fixed: maps of cells as large as ``moving``'s.
        moving: maps.
        turns: tried, a multiple of 4.
        scales: tried.
        candidates: how many to return.
    """
    height = max(fixed.weight.shape[2], moving.weight.shape[2])
    longest = max(height, fixed.weight.shape[3], moving.weight.shape[3])
    # Half as much again: a shift beyond a quarter wraps a strip round, which costs less than larger maps.
    side = longest + 2 * (longest // 4)
    still, still_weight = turned_maps(fixed, 0.0, 1.0, side)
    best, place = torch.zeros(turns, len(scales)), torch.zeros(turns, len(scales), 2)
    quarter = turns // 4
    for i in range(quarter):
        for k, scale in enumerate(scales):
            turned, weight = turned_maps(moving, 2 * math.pi * i / turns, scale, side)
            # A quarter turn moves whole cells.
            four = torch.cat([_quarter_turns(turned, n) for n in range(4)])
            weights = torch.cat([torch.rot90(weight, -n, [2, 3]) for n in range(4)])
            values, shifts = best_shifts(pose_scores(still, still_weight, four, weights))
            best[i::quarter, k] = values.to(best.device)
            place[i::quarter, k] = shifts.to(best.device)
    poses: list[Tensor] = []
    peaks, rows = highest_peaks(best, candidates)
    for i in range(rows.shape[0]):
        row = int(rows[i])
        turn, k = row // len(scales), row % len(scales)
        poses.append(_pose(2 * math.pi * turn / turns, scales[k], place[turn, k], fixed, moving))
    return Poses(torch.stack(poses), peaks)


def best_shifts(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return each map's highest score and its shift (x, y), cells; the second half of a map is negative."""
    side = scores.shape[-1]
    values, index = scores.flatten(1).max(dim=1)
    shifts = torch.stack([index % side, torch.div(index, side, rounding_mode="floor")], dim=1)
    return values, torch.where(shifts >= side // 2, shifts - side, shifts).to(scores.dtype)


def highest_peaks(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the highest scores of turns and scales that are no neighbours of a higher one, and their places.

    Args:
        scores: float32 (turns, scales); the last turn is the first one's neighbour.
        count: at most so many.
    """
    ring = torch.cat([scores[-1:], scores, scores[:1]])[None, None]
    around = F.max_pool2d(F.pad(ring, [1, 1, 0, 0], value=-1.0), 3, stride=1)[0, 0]
    peaks = torch.where(around == scores, scores, torch.full_like(scores, -1.0)).flatten()
    values, places = torch.topk(peaks, min(count, peaks.shape[0]))
    return values, places


def _quarter_turns(harmonics: Tensor, count: int) -> Tensor:
    turned = torch.rot90(harmonics, -count, [2, 3])
    if count % 2 == 0:
        return turned
    # The first harmonic changes sign with a quarter turn, the second does not.
    signs = torch.tensor([1.0, -1.0, -1.0, 1.0, 1.0], device=turned.device, dtype=turned.dtype)
    return turned * signs[:, None, None]


def _pose(angle: float, scale: float, shift: Tensor, fixed: PoseMaps, moving: PoseMaps) -> Tensor:
    """Return ``fixed_from_moving`` in pixels; both images' middles lie on each other before the shift."""
    cell = fixed.cell_px
    a, b = scale * math.cos(angle), scale * math.sin(angle)
    from_x = (moving.weight.shape[3] * cell - 1) / 2
    from_y = (moving.weight.shape[2] * cell - 1) / 2
    to_x = (fixed.weight.shape[3] * cell - 1) / 2 + float(shift[0]) * cell
    to_y = (fixed.weight.shape[2] * cell - 1) / 2 + float(shift[1]) * cell
    return torch.tensor(
        [
            [a, -b, to_x - a * from_x + b * from_y],
            [b, a, to_y - b * from_x - a * from_y],
            [0.0, 0.0, 1.0],
        ]
    )
