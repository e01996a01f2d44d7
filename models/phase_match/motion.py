"""One motion of the whole picture from the displacements of its keypoints, of which many are wrong."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.matching.transforms import Transform, apply_transform, similarity
from models.phase_match.config import MotionKind

_FEWEST = 12
_TRIALS = 300
_JUDGES = 400
_ROUNDS = 6
_WIDE_ROUNDS = 2
_THIN = 0.05
_NEAR = 1.0
_FAR = 2.0
_PERSPECTIVE_PRIOR = 1.0

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Peaks:
    """Where each keypoint agrees best.

    Attributes:
        places: float64 (n, 2), the keypoints, samples.
        offsets: float64 (n, 2), displacement of the best agreement, to a part of a sample.
        heights: float64 (n,), that agreement.
        usable: bool (n,), inside the range looked at, and better than nothing.
    """

    places: Points
    offsets: Points
    heights: NDArray[np.float64]
    usable: NDArray[np.bool_]


@dataclass(frozen=True)
class Motion:
    """What the keypoints agree on.

    Attributes:
        moved_from_place: 3×3, from a keypoint's sample to where the moving image has it.
        distances: float64 (n,), of each keypoint's own best place from there, samples.
        agreement: mean over *all* keypoints of the agreement of those whose best place is near it, 0 to 1.
    """

    moved_from_place: Transform
    distances: NDArray[np.float64]
    agreement: float


def find_peaks(agreement: Tensor, keypoints: Tensor) -> Peaks:
    """Return the best displacement of each keypoint, by a parabola through its neighbours."""
    side, count = agreement.shape[0], agreement.shape[2]
    flat = agreement.reshape(side * side, count)
    best = flat.argmax(0)
    y, x = best // side, best % side
    inner_y, inner_x = y.clamp(1, side - 2), x.clamp(1, side - 2)
    middle = inner_y * side + inner_x
    at = [flat.gather(0, (middle + step)[None])[0].double() for step in (0, -1, 1, -side, side)]
    offset = torch.stack([inner_x + _vertex(at[1], at[0], at[2]), inner_y + _vertex(at[3], at[0], at[4])], 1)
    heights = flat.gather(0, best[None])[0].double()
    usable = (y == inner_y) & (x == inner_x) & (heights > 0.05)
    offsets = offset - side // 2
    return Peaks(
        keypoints.double().cpu().numpy(), offsets.cpu().numpy(), heights.cpu().numpy(), usable.cpu().numpy()
    )


def _vertex(before: Tensor, middle: Tensor, after: Tensor) -> Tensor:
    curve = (before + after - 2 * middle).clamp(max=-1e-9)
    return (0.5 * (before - after) / curve).clamp(-0.5, 0.5)


def find_motion(peaks: Peaks, agreement: Tensor, kind: MotionKind, rng: np.random.Generator) -> Motion | None:
    """Return the motion that most keypoints agree on; None if too few say anything.

    Affine motions through three keypoints are drawn, and judged by how well *all* keypoints agree at the
    displacements they give, also those with a higher peak elsewhere. The best is then fitted to the peaks
    near it.

    Args:
        peaks: of the same keypoints as ``agreement``.
        agreement: float32 (side, side, n).
        kind: what is fitted at last.
        rng: of the draws.
    """
    if np.count_nonzero(peaks.usable) < _FEWEST:
        return None
    norm = _Normal.of(peaks.places)
    places = norm.apply(peaks.places)
    start = _draw_motion(peaks, places, agreement, rng)
    if start is None:
        return None
    motion = _fit(peaks, places, start / norm.size, kind, norm.size)
    moved = norm.denormalise(motion)
    distances = np.linalg.norm(peaks.places + peaks.offsets - apply_transform(moved, peaks.places), axis=1)
    near = peaks.usable & (distances < _NEAR)
    return Motion(moved, distances, float(np.mean(peaks.heights * near)))


@dataclass(frozen=True)
class _Normal:
    """Keypoints brought to the middle and to a size near 1, where fits are well-conditioned."""

    middle: Points
    size: float

    @classmethod
    def of(cls, places: Points) -> _Normal:
        low, high = places.min(axis=0), places.max(axis=0)
        return cls((low + high) / 2, max(float((high - low).max()) / 2, 1.0))

    def apply(self, places: Points) -> Points:
        centred: Points = (places - self.middle) / self.size
        return centred

    def denormalise(self, motion: Transform) -> Transform:
        back = similarity(scale=self.size, shift=(self.middle[0], self.middle[1]))
        forth = similarity(scale=1 / self.size, shift=tuple(-self.middle / self.size))
        whole: Transform = back @ motion @ forth
        whole /= whole[2, 2]
        return whole


def _draw_motion(peaks: Peaks, places: Points, agreement: Tensor, rng: np.random.Generator) -> Points | None:
    """Return the displacements (n, 2), samples, of the best of many drawn affine motions."""
    weights = np.where(peaks.usable, peaks.heights.clip(min=0), 0) ** 2
    drawn = rng.choice(len(places), (_TRIALS, 3), p=weights / weights.sum())
    corners = np.concatenate([places[drawn], np.ones((_TRIALS, 3, 1))], axis=2)
    wide = np.abs(np.linalg.det(corners)) > _THIN
    if not wide.any():
        return None
    slopes = np.linalg.solve(corners[wide], peaks.offsets[drawn[wide]])
    judges = np.arange(len(places))
    if len(judges) > _JUDGES:
        judges = rng.choice(judges, _JUDGES, replace=False)
    framed = np.concatenate([places, np.ones((len(places), 1))], axis=1)
    scores = _judge(agreement[..., torch.from_numpy(judges).to(agreement.device)], framed[judges] @ slopes)
    best: Points = framed @ slopes[int(scores.argmax())]
    return best


def _judge(agreement: Tensor, offsets: Points) -> NDArray[np.float64]:
    """Return the agreement of motions, (m,), each given as every keypoint's displacement, (m, n, 2)."""
    side, count = agreement.shape[0], agreement.shape[2]
    flat = agreement.clamp(min=0).square().reshape(-1)
    at = torch.from_numpy(offsets).float().to(agreement.device) + side // 2
    low = at.floor().clamp(0, side - 2)
    inside = ((at >= 0) & (at <= side - 1)).all(-1)
    (x, y), (part_x, part_y) = low.long().unbind(-1), (at - low).unbind(-1)
    base = (y * side + x) * count + torch.arange(count, device=flat.device)
    upper = flat[base] * (1 - part_x) + flat[base + count] * part_x
    lower = flat[base + side * count] * (1 - part_x) + flat[base + (side + 1) * count] * part_x
    read = (upper * (1 - part_y) + lower * part_y) * inside
    scores: NDArray[np.float64] = read.sum(1).double().cpu().numpy()
    return scores


def _fit(peaks: Peaks, places: Points, start: Points, kind: MotionKind, size: float) -> Transform:
    """Fit a motion to the peaks, those far from it counting less and less; normalised units.

    Hills do not obey one motion. How far is far therefore follows the distances, within limits: the fit
    is then a compromise of the whole picture, not the motion of its largest flat part.
    """
    targets = places + peaks.offsets / size
    current = places + start
    motion = np.eye(3)
    for step in range(_ROUNDS):
        wide = step < _WIDE_ROUNDS
        far = ((targets - current) ** 2).sum(axis=1) * size**2
        far /= (4 if wide else 1) * _spread(far[peaks.usable])
        weights = np.where(peaks.usable, peaks.heights.clip(min=0) ** 2, 0) / (1 + far) ** 2
        motion = _least_squares(places, targets, weights, "affine" if wide else kind)
        current = apply_transform(motion, places)
    return motion


def _spread(squares: NDArray[np.float64]) -> float:
    """Return the squared tolerance that suits distances, samples²: half of them are within it."""
    return float(np.clip(np.median(squares), _NEAR**2, _FAR**2))


def _least_squares(
    places: Points, targets: Points, weights: NDArray[np.float64], kind: MotionKind
) -> Transform:
    """Return the motion of least weighted squares; perspective is held back unless the points ask for it."""
    x, y = places.T
    one, zero = np.ones_like(x), np.zeros_like(x)
    shift = targets - places
    across = [one, x, y, zero, zero, zero]
    down = [zero, zero, zero, one, x, y]
    if kind == "homography":
        across += [-targets[:, 0] * x, -targets[:, 0] * y]
        down += [-targets[:, 1] * x, -targets[:, 1] * y]
    rows = np.concatenate([np.stack(across, 1), np.stack(down, 1)])
    weight = np.concatenate([weights, weights])[:, None]
    prior = np.full(rows.shape[1], 1e-6)
    prior[6:] = _PERSPECTIVE_PRIOR
    q = np.linalg.solve(rows.T @ (rows * weight) + np.diag(prior), rows.T @ (shift.T.reshape(-1, 1) * weight))
    a = [*q.ravel(), 0.0, 0.0][:8]
    return np.array([[1 + a[1], a[2], a[0]], [a[4], 1 + a[5], a[3]], [a[6], a[7], 1.0]])
