"""Find small windows of one image again in the other, near where they are expected.

For scenes that are georeferenced to within some pixels this gives tie points on an even grid, each from a
search of its own over the same number of places: what the quality gate needs to tell agreement from chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.matching.images import prepare_image
from models.matching.matches import Matches
from models.matching.transforms import Transform, apply_transform
from models.registration.orientation import OrientationConfig, describe_structure

_BATCH = 64
_MIN_SCORE = 0.02  # below, the search area was all but empty


@dataclass(frozen=True)
class TemplateConfig:
    """How windows are laid out and searched for.

    Attributes:
        template_px: edge of a window; even.
        stride_px: least distance of neighbouring windows' middles.
        max_windows: about how many windows a scene gets at most; a large one gets them farther apart.
        reach_px: how far from the expected place a window is searched for, along each axis.
        min_structure: mean strength of direction that a window needs to be searched for, 0 to 1.
        orientation: how structure is described.
    """

    template_px: int = 64
    stride_px: int = 48
    max_windows: int = 600
    reach_px: int = 24
    min_structure: float = 0.02
    orientation: OrientationConfig = field(default_factory=OrientationConfig)

    def stride_for(self, shape: tuple[int, int]) -> int:
        """Return the distance of neighbouring windows' middles in a scene of a height and width, pixels."""
        return max(self.stride_px, math.ceil(math.sqrt(shape[0] * shape[1] / self.max_windows)))


class TemplateMatcher:
    """Finds tie points between two images of one pixel size that are off by at most ``reach_px``."""

    name = "template"

    def __init__(self, config: TemplateConfig = TemplateConfig(), device: str = "cpu") -> None:
        self.config = config
        self._device = device

    def match(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        *,
        fixed_valid: NDArray[np.bool_] | None = None,
        moving_valid: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return tie points on a grid; see :class:`models.matching.matches.Matcher`."""
        first, second = prepare_image(fixed, fixed_valid), prepare_image(moving, moving_valid)
        if first.flat or second.flat:
            return Matches.none()
        orientation = self.config.orientation
        return self.search(describe_structure(first, orientation), describe_structure(second, orientation))

    def search(
        self,
        fixed: NDArray[np.complex64],
        moving: NDArray[np.complex64],
        moving_from_fixed: Transform | None = None,
    ) -> Matches:
        """Return tie points between two described images.

        Args:
            fixed: complex64 (height, width) from ``describe_structure``.
            moving: likewise; its size may differ.
            moving_from_fixed: where windows are expected; None for the same pixels. It moves windows, it
                does not turn them: they are small, and scenes are nearly upright.
        """
        corners = self._lay_out(fixed)
        middle = corners + (self.config.template_px - 1) / 2
        expected = middle if moving_from_fixed is None else apply_transform(moving_from_fixed, middle)
        step = np.rint(np.nan_to_num(expected - middle, posinf=1e9, neginf=-1e9)).astype(np.intp)
        areas = corners + step - self.config.reach_px
        span = self.config.template_px + 2 * self.config.reach_px
        inside = ((areas >= 0) & (areas + span <= moving.shape[::-1])).all(axis=1)
        corners, areas, step, middle = corners[inside], areas[inside], step[inside], middle[inside]
        if not len(corners):
            return Matches.none()
        found = [
            self._search_batch(fixed, moving, corners[at : at + _BATCH], areas[at : at + _BATCH])
            for at in range(0, len(corners), _BATCH)
        ]
        shift, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kept = np.flatnonzero(scores > _MIN_SCORE)
        order = kept[np.argsort(-scores[kept], kind="stable")]
        return Matches(
            middle[order].astype(np.float32),
            (middle + step + shift)[order].astype(np.float32),
            np.minimum(scores[order], 1).astype(np.float32),
        )

    def _lay_out(self, fixed: NDArray[np.complex64]) -> NDArray[np.intp]:
        """Return the upper left corners (n, 2), x and y, of the windows that hold structure."""
        edge, stride = self.config.template_px, self.config.stride_for((fixed.shape[0], fixed.shape[1]))
        steps = [np.arange(0, max(0, length - edge + 1), stride) for length in fixed.shape]
        tops, lefts = (axis.ravel() for axis in np.meshgrid(*steps, indexing="ij"))
        # Sums over windows by differences of one running sum: no loop over windows.
        total = np.pad(np.cumsum(np.cumsum(np.abs(fixed), 0, np.float64), 1), ((1, 0), (1, 0)))
        bottoms, rights = tops + edge, lefts + edge
        held = total[bottoms, rights] - total[tops, rights] - total[bottoms, lefts] + total[tops, lefts]
        rich = held >= self.config.min_structure * edge**2
        return np.stack([lefts[rich], tops[rich]], axis=1)

    def _search_batch(
        self,
        fixed: NDArray[np.complex64],
        moving: NDArray[np.complex64],
        corners: NDArray[np.intp],
        areas: NDArray[np.intp],
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shifts (n, 2), x and y, and how well each window fits where it fits best."""
        edge, reach = self.config.template_px, self.config.reach_px
        cut, area = _gather(fixed, corners, edge), _gather(moving, areas, edge + 2 * reach)
        scores = _correlate(torch.from_numpy(cut).to(self._device), torch.from_numpy(area).to(self._device))
        return _find_peaks(scores.cpu().numpy(), reach)


def count_apart(middles: NDArray[np.float64], shape: tuple[int, int], template_px: int) -> float:
    """Return how many windows without common pixels the ground under some windows amounts to.

    Args:
        middles: (n, 2), x and y of the windows' middles, one at least.
        shape: height and width of the scene.
        template_px: edge of a window.
    """
    cell = max(1, template_px // 8)
    covered = np.zeros((shape[0] // cell + 1, shape[1] // cell + 1), np.bool_)
    for x, y in (middles - template_px / 2).tolist():
        top, left = max(0, round(y / cell)), max(0, round(x / cell))
        covered[top : top + template_px // cell, left : left + template_px // cell] = True
    return float(covered.sum()) * cell**2 / template_px**2


def _gather(image: NDArray[np.complex64], corners: NDArray[np.intp], edge: int) -> NDArray[np.complex64]:
    """Cut square windows out by their upper left corners (n, 2), x and y: (n, edge, edge)."""
    along = np.arange(edge)
    windows: NDArray[np.complex64] = image[
        (corners[:, 1:] + along)[:, :, None], (corners[:, :1] + along)[:, None, :]
    ]
    return windows


def _correlate(cut: Tensor, area: Tensor) -> Tensor:
    """Return how well windows (n, t, t) fit at each place of areas (n, t + 2r, t + 2r), −1 to 1."""
    edge, size = cut.shape[-1], area.shape[-1]
    places = size - edge + 1
    spectrum = torch.fft.fft2(area) * torch.fft.fft2(cut, s=(size, size)).conj()
    product = torch.fft.ifft2(spectrum).real[:, :places, :places]
    energy = _sum_windows(area.abs().double() ** 2, edge).float()
    own = (cut.abs() ** 2).sum(dim=(1, 2))
    fit: Tensor = product / torch.sqrt(own[:, None, None] * energy.clamp_min(0) + 1e-6)
    return fit


def _sum_windows(planes: Tensor, edge: int) -> Tensor:
    """Sum square windows at each place of (n, s, s), by differences of one running sum."""
    total = torch.nn.functional.pad(planes.cumsum(1).cumsum(2), (1, 0, 1, 0))
    across = total[:, :, edge:] - total[:, :, :-edge]
    return across[:, edge:] - across[:, :-edge]


def _find_peaks(scores: NDArray[np.float32], reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find each window's best place; at the rim of the search the true place lies outside: 0."""
    count, places, _ = scores.shape
    best = scores.reshape(count, -1).argmax(axis=1)
    rows, columns = np.divmod(best, places)
    rim = (rows == 0) | (rows == places - 1) | (columns == 0) | (columns == places - 1)
    rows, columns = np.clip(rows, 1, places - 2), np.clip(columns, 1, places - 2)
    every = np.arange(count)
    around = [scores[every, rows + dy, columns + dx] for dy, dx in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))]
    middle, above, below, left, right = (values.astype(np.float64) for values in around)
    shift = np.stack([columns + _vertex(left, middle, right), rows + _vertex(above, middle, below)], axis=1)
    return shift - reach, np.where(rim, 0.0, middle)


def _vertex(
    before: NDArray[np.float64], middle: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return where the parabola through three neighbours is highest, −0.5 to 0.5."""
    bend = before - 2 * middle + after
    offset = np.divide((before - after) / 2, bend, out=np.zeros_like(bend), where=bend < 0)
    return np.clip(offset, -0.5, 0.5)
