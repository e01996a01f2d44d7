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


class Still(NamedTuple):
    """The fixed image, ready to be correlated with many poses of the other.

    Attributes:
        spectrum: complex64 (1, 7, side, side // 2 + 1) of harmonics, their squares' sum and the weight.
        whole: float32, sum of the weight.
        side: of the maps, cells.
    """

    spectrum: Tensor
    whole: Tensor
    side: int


def keep_still(maps: PoseMaps, side: int) -> Still:
    """Return an image's maps on a square of cells as they are correlated."""
    seen, weight = turned_maps(maps, 0.0, 1.0, side)
    return Still(torch.fft.rfft2(stack_layers(seen, weight)), weight.sum().clamp_min(1), side)


def stack_layers(harmonics: Tensor, weight: Tensor) -> Tensor:
    """Return harmonics, their squares' sum and the weight as one tensor, float32 (poses, 7, side, side)."""
    return torch.cat([harmonics, harmonics.square().sum(1, keepdim=True), weight], dim=1)


def pose_scores(still: Still, moving: Tensor, weight: Tensor) -> Tensor:
    """Return how alike maps are under every shift, float32 (poses, side, side), shift 0 first.

    Args:
        still: the fixed image.
        moving: harmonics, float32 (poses, 5, side, side).
        weight: float32 (poses, 1, side, side).
    """
    f, m = still.spectrum, torch.fft.rfft2(stack_layers(moving, weight)).conj()
    # Shift t: fixed at x meets moving at x - t.
    alike = (f[:, :5] * m[:, :5]).sum(dim=1)
    fixed_there, moving_there, overlap = f[:, 5] * m[:, 6], f[:, 6] * m[:, 5], f[:, 6] * m[:, 6]
    sides = [still.side, still.side]
    maps = torch.fft.irfft2(torch.stack([alike, fixed_there, moving_there, overlap], dim=1), s=sides)
    length = torch.sqrt(maps[:, 1].clamp_min(0) * maps[:, 2].clamp_min(0))
    share = (maps[:, 3] / still.whole).clamp(0, 1)
    correlation = maps[:, 0] / (length + 1e-3 * still.whole)
    # A chance correlation falls with the square root of the overlap, so that much is taken off for it.
    scores: Tensor = correlation * torch.sqrt(share) * (share > 0.15).to(correlation.dtype)
    return scores


class Pose(NamedTuple):
    """A way to lay the moving image over the fixed one.

    Attributes:
        angle: radians, x axis towards y axis.
        scale: above 1 enlarges the moving image.
        shift: float32 (2,), cells, x and y, of the middles.
        score: how alike the images then are, as :func:`pose_scores` says.
    """

    angle: float
    scale: float
    shift: Tensor
    score: float


def search_pose(
    fixed: PoseMaps, moving: PoseMaps, turns: int, scales: list[float], candidates: int, rounds: int
) -> Pose:
    """Return the best pose: the best of all turns and scales, each candidate moved to the top of its hill.

    A pose half a step beside the truth says little more than a wrong one; on the hill's top it does.

    Args:
        fixed: maps of cells as large as ``moving``'s.
        moving: maps.
        turns: tried, a multiple of 4.
        scales: tried, evenly by ratio.
        candidates: hills that are climbed at most.
        rounds: of climbing; each halves the steps.
    """
    height = max(fixed.weight.shape[2], moving.weight.shape[2])
    longest = max(height, fixed.weight.shape[3], moving.weight.shape[3])
    # Half as much again: a shift beyond a quarter wraps a strip round, which costs less than larger maps.
    side = longest + 2 * (longest // 4)
    still = keep_still(fixed, side)
    scores = score_turns(still, moving, turns, scales)
    peaks, rows = highest_peaks(scores, candidates)
    ratio = scales[-1] / scales[0]
    step = 2 * math.pi / turns, ratio ** (1 / max(len(scales) - 1, 1))
    best = Pose(0.0, 1.0, torch.zeros(2), -1.0)
    worth_climbing = 0.6 * float(peaks[0])
    for i in range(rows.shape[0]):
        if float(peaks[i]) >= worth_climbing:
            row = int(rows[i])
            angle, scale = 2 * math.pi * (row // len(scales)) / turns, scales[row % len(scales)]
            start = Pose(angle, scale, torch.zeros(2), -1.0)
            found = climb(still, moving, start, step, rounds)
            if found.score > best.score:
                best = found
    return best


def score_turns(still: Still, moving: PoseMaps, turns: int, scales: list[float]) -> Tensor:
    """Return the highest score over all shifts of each turn and scale, float32 (turns, scales)."""
    best = torch.zeros(turns, len(scales))
    quarter = turns // 4
    for i in range(quarter):
        for k, scale in enumerate(scales):
            turned, weight = turned_maps(moving, 2 * math.pi * i / turns, scale, still.side)
            # A quarter turn moves whole cells.
            four = torch.cat([_quarter_turns(turned, n) for n in range(4)])
            weights = torch.cat([torch.rot90(weight, -n, [2, 3]) for n in range(4)])
            values = pose_scores(still, four, weights).flatten(1).max(dim=1).values
            best[i::quarter, k] = values.to(best.device)
    return best


def climb(
    still: Still,
    moving: PoseMaps,
    start: Pose,
    step: tuple[float, float],
    rounds: int,
) -> Pose:
    """Return the best pose near one, by steps in turn (radians) and scale (ratio) that halve each round."""
    turn_step, scale_step = step
    best = start
    for _ in range(rounds):
        turn_step, scale_step = 0.5 * turn_step, math.sqrt(scale_step)
        poses: list[tuple[float, float]] = []
        maps: list[Tensor] = []
        weights: list[Tensor] = []
        for i in range(-1, 2):
            for k in range(-1, 2):
                pose = best.angle + i * turn_step, best.scale * scale_step**k
                turned, weight = turned_maps(moving, pose[0], pose[1], still.side)
                poses.append(pose)
                maps.append(turned)
                weights.append(weight)
        scores = pose_scores(still, torch.cat(maps), torch.cat(weights))
        top = int(scores.flatten(1).max(dim=1).values.argmax())
        best = Pose(poses[top][0], poses[top][1], peak_shift(scores[top]), float(scores[top].max()))
    return best


def peak_shift(scores: Tensor) -> Tensor:
    """Return where a map (side, side) of scores by shift is highest, x and y, to a part of a cell."""
    side = scores.shape[0]
    place = int(scores.argmax())
    y, x = place // side, place % side
    middle = float(scores[y, x])
    left, right = float(scores[y, x - 1]), float(scores[y, (x + 1) % side])
    above, below = float(scores[y - 1, x]), float(scores[(y + 1) % side, x])
    part_x = 0.5 * (right - left) / max(2 * middle - left - right, 1e-6)
    part_y = 0.5 * (below - above) / max(2 * middle - above - below, 1e-6)
    # The second half of a map holds negative shifts.
    whole_x, whole_y = x - side if x >= side // 2 else x, y - side if y >= side // 2 else y
    return torch.tensor([whole_x + min(max(part_x, -0.5), 0.5), whole_y + min(max(part_y, -0.5), 0.5)])


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


def as_transform(pose: Pose, fixed: PoseMaps, moving: PoseMaps) -> Tensor:
    """Return ``fixed_from_moving`` in pixels, float32 (3, 3); the middles meet before the shift."""
    cell = fixed.cell_px
    a, b = pose.scale * math.cos(pose.angle), pose.scale * math.sin(pose.angle)
    from_x = (moving.weight.shape[3] * cell - 1) / 2
    from_y = (moving.weight.shape[2] * cell - 1) / 2
    to_x = (fixed.weight.shape[3] * cell - 1) / 2 + float(pose.shift[0]) * cell
    to_y = (fixed.weight.shape[2] * cell - 1) / 2 + float(pose.shift[1]) * cell
    return torch.tensor(
        [
            [a, -b, to_x - a * from_x + b * from_y],
            [b, a, to_y - b * from_x - a * from_y],
            [0.0, 0.0, 1.0],
        ]
    )
