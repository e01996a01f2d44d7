"""The moving image's pose: every turn, scale and shift tried at once, coarsely, by Fourier correlation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from models.matching.transforms import Transform, apply_transform, image_corners, invert, similarity
from models.phase_match.config import SearchRange
from models.phase_match.congruency import OrientedEnergy, average_energy
from models.phase_match.descriptors import stand_out, turn_channels
from models.phase_match.filters import smooth_size

_SURROUNDINGS = 3.0
_FLOOR = 0.5
_DISTINCT = 0.15
_SMALL_OVERLAP = 0.1
_NEVER = -1e9


@dataclass(frozen=True)
class Pose:
    """A way to lay the moving image on the fixed one.

    Attributes:
        fixed_from_moving: pixels; a similarity.
        score: agreement over its chance deviation, of any scale but the same for all poses of a pair.
    """

    fixed_from_moving: Transform
    score: float


@dataclass(frozen=True)
class _Cells:
    """Descriptors of an image's cells, for correlation.

    Attributes:
        planes: float32 (orientations, rows, columns).
        valid: float32 (rows, columns), 1 or 0.
        pixel_from_cell: to the image's pixels.
    """

    planes: Tensor
    valid: Tensor
    pixel_from_cell: Transform


def find_poses(fixed: OrientedEnergy, moving: OrientedEnergy, search: SearchRange) -> tuple[Pose, ...]:
    """Return the best poses, best first; none if too little of either image is valid.

    A pose's score is the sum, over the cells on which both images say something, of the product of their
    descriptors, over the root of those cells' number: chance agreement has the same deviation for all.
    """
    still, mobile = _describe_cells(fixed, search.cells), _describe_cells(moving, search.cells)
    if min(float(still.valid.sum()), float(mobile.valid.sum())) < search.cells:
        return ()
    turns = torch.from_numpy(_list_turns(search)).float().to(still.planes.device)
    poses = [
        pose for scale in _list_scales(search) for pose in _try_scale(still, mobile, turns, scale, search)
    ]
    return _choose_distinct(poses, moving, search)


def _choose_distinct(poses: list[Pose], moving: OrientedEnergy, search: SearchRange) -> tuple[Pose, ...]:
    """Return the best poses that are no neighbours of a better one."""
    corners = apply_transform(moving.pixel_from_sample, image_corners(moving.shape))
    near = _DISTINCT * float(np.ptp(corners, axis=0).max())
    chosen: list[tuple[Pose, NDArray[np.float64]]] = []
    for pose in sorted(poses, key=lambda pose: -pose.score):
        if len(chosen) == search.candidates or (chosen and pose.score < search.rivalry * chosen[0][0].score):
            break
        laid = apply_transform(pose.fixed_from_moving, corners)
        if all(np.linalg.norm(laid - other, axis=1).mean() > near for _, other in chosen):
            chosen.append((pose, laid))
    return tuple(pose for pose, _ in chosen)


def _list_turns(search: SearchRange) -> NDArray[np.float64]:
    steps = math.floor(search.rotation_deg / search.rotation_step_deg)
    turns = np.arange(-steps, steps + 1) * search.rotation_step_deg
    radians: NDArray[np.float64] = np.radians(turns[turns > -180])  # 180 either way is one turn
    return radians


def _list_scales(search: SearchRange) -> list[float]:
    low, high = (math.log(scale) / math.log(search.scale_step) for scale in search.scales)
    return [search.scale_step**step for step in range(math.ceil(low), math.floor(high) + 1)]


def _describe_cells(energy: OrientedEnergy, cells: int) -> _Cells:
    side = max(energy.shape)
    count = min(cells, side)
    shape = max(1, round(energy.shape[0] * count / side)), max(1, round(energy.shape[1] * count / side))
    mean = average_energy(energy, shape)
    return _Cells(
        stand_out(mean.energy, mean.valid, _SURROUNDINGS, _FLOOR), mean.valid, mean.pixel_from_sample
    )


def _try_scale(fixed: _Cells, moving: _Cells, turns: Tensor, scale: float, search: SearchRange) -> list[Pose]:
    """Return the best poses of one scale; both images are scaled by its root, so none becomes too large."""
    less, more = scale**-0.5, scale**0.5
    still = _lay_out(fixed, torch.zeros(1, device=turns.device), less, _extent(fixed, less, turned=False))
    mobile = _lay_out(moving, turns, more, _extent(moving, more, turned=len(turns) > 1))
    side = _transform_side(still.shape[-1], mobile.shape[-1])
    spectra = torch.fft.rfft2(still, s=(side, side)) * torch.fft.rfft2(mobile, s=(side, side)).conj()
    agreement = torch.fft.irfft2(spectra[:, :-1].sum(1), s=(side, side))
    overlap = torch.fft.irfft2(spectra[:, -1], s=(side, side))
    whole = float(torch.minimum(still[:, -1].sum(), mobile[:, -1].sum(dim=(1, 2)).min()))
    scores = agreement / (overlap.clamp(min=0) + _SMALL_OVERLAP * whole).sqrt()
    scores = torch.where(overlap < search.least_overlap * whole, _NEVER, scores)
    layout = _Layout(fixed, moving, still.shape[-1], mobile.shape[-1], scale)
    peaks = zip(turns.tolist(), _find_peaks(scores), strict=True)
    return [Pose(layout.pose(turn, x, y), height) for turn, (height, x, y) in peaks if height > 0]


def _extent(cells: _Cells, scale: float, *, turned: bool) -> int:
    rows, columns = cells.valid.shape
    return max(2, math.ceil((math.hypot(rows, columns) if turned else max(rows, columns)) * scale))


def _transform_side(fixed: int, moving: int) -> int:
    """Return a side on which only poses of hardly any overlap are taken for one another."""
    return smooth_size(math.ceil(0.85 * (fixed + moving)), 2)


def _lay_out(cells: _Cells, turns: Tensor, scale: float, extent: int) -> Tensor:
    """Return descriptors and mask, turned and scaled about the middle: (turns, orientations + 1, e, e)."""
    rows, columns = cells.valid.shape
    along = torch.arange(extent, device=turns.device) - (extent - 1) / 2
    cosine, sine = (f(turns)[:, None, None] / scale for f in (torch.cos, torch.sin))
    x = cosine * along[None, None, :] + sine * along[None, :, None]
    y = cosine * along[None, :, None] - sine * along[None, None, :]
    grid = torch.stack([2 * x / max(columns - 1, 1), 2 * y / max(rows - 1, 1)], -1)
    turned = torch.einsum("tij,jhw->tihw", turn_channels(len(cells.planes), turns), cells.planes)
    source = torch.cat([turned, cells.valid.expand(len(turns), 1, -1, -1)], 1)
    laid = grid_sample(source, grid, align_corners=True)
    valid = (laid[:, -1:] > 0.6).float()
    return torch.cat([laid[:, :-1] * valid, valid], 1)


def _find_peaks(scores: Tensor) -> list[tuple[float, int, int]]:
    """Return each turn's highest score and its shift (x, y), from -side / 2."""
    side = scores.shape[-1]
    half = side // 2
    heights, places = scores.flatten(1).max(dim=1)
    return [
        (height, (place % side + half) % side - half, (place // side + half) % side - half)
        for height, place in zip(heights.tolist(), places.tolist(), strict=True)
    ]


@dataclass(frozen=True)
class _Layout:
    """How the cells of both images lie on the squares that were correlated."""

    fixed: _Cells
    moving: _Cells
    fixed_extent: int
    moving_extent: int
    scale: float

    def pose(self, turn: float, x: int, y: int) -> Transform:
        """Return fixed_from_moving, pixels, for a turn (radians) and a shift of the squares."""
        from_fixed = self._square_from_cell(self.fixed, self.fixed_extent, 0.0, self.scale**-0.5)
        from_moving = self._square_from_cell(self.moving, self.moving_extent, turn, self.scale**0.5)
        cells = invert(from_fixed) @ similarity(shift=(x, y)) @ from_moving
        return self.fixed.pixel_from_cell @ cells @ invert(self.moving.pixel_from_cell)

    @staticmethod
    def _square_from_cell(cells: _Cells, extent: int, turn: float, scale: float) -> Transform:
        rows, columns = cells.valid.shape
        centre = (columns - 1) / 2, (rows - 1) / 2
        to_middle = (extent - 1) / 2 - centre[0], (extent - 1) / 2 - centre[1]
        return similarity(rotation_deg=math.degrees(turn), scale=scale, shift=to_middle, centre=centre)
