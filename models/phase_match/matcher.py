"""The training-free matcher."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models.matching.images import GreyImage, prepare_image
from models.matching.matches import Matches
from models.matching.transforms import Transform
from models.phase_match.borders import WorkImage, prepare_work, shrink
from models.phase_match.config import PhaseMatchConfig
from models.phase_match.congruency import OrientedEnergy, measure_energy
from models.phase_match.refine import Refined, refine, resample_energy
from models.phase_match.search import find_poses

_SMALLEST_PX = 32
_LOCK = threading.Lock()
_BEFORE: list[int] = []
"""For each match that runs: how many threads there were before the first of them."""


@dataclass(frozen=True)
class ImagePair:
    """Two images to be matched.

    Attributes:
        fixed: (height, width) or (height, width, bands), any integer or float dtype. NaN is nodata.
        moving: likewise.
        fixed_valid: bool (height, width); None for everywhere.
        moving_valid: likewise.
    """

    fixed: NDArray[Any]
    moving: NDArray[Any]
    fixed_valid: NDArray[np.bool_] | None = None
    moving_valid: NDArray[np.bool_] | None = None


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one core meanwhile.

    The steps are many and short. Threads that wait for one another at each of them take ten times longer
    as soon as another process has one of the cores. A new thread of Python begins with
    the number that was set last anywhere: where matches overlap, each puts back what the first one found.
    """
    with _LOCK:
        _BEFORE.append(_BEFORE[0] if _BEFORE else torch.get_num_threads())
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _LOCK:
            torch.set_num_threads(_BEFORE.pop())


class PhaseMatcher:
    """Matches images of different modalities by their phase congruency, without weights.

    The pose is searched for over all turns, scales and shifts; a model is fitted on coarse energies, the
    moving image is resampled by it, and keypoints are looked for twice more, to a part of a pixel. What
    is returned agrees with one homography within a few pixels; nothing is returned when too few keypoints
    agree. Images of less than 32 pixels along a side are not matched.

    Args:
        config: the setting; one for all kinds of pairs.
        device: ``cpu``, ``cuda`` or ``cuda:<number>``.

    Source: after Li et al., RIFT, IEEE TIP 29, 2020; Li et al., RIFT2, arXiv 2303.00319.
    """

    def __init__(self, config: PhaseMatchConfig | None = None, device: str = "cpu") -> None:
        self.config = config or PhaseMatchConfig()
        self.device = device

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return "phase"

    def match(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        *,
        fixed_valid: NDArray[np.bool_] | None = None,
        moving_valid: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return the tie points of two images.

        Args:
            fixed: (height, width) or (height, width, bands), any integer or float dtype. NaN is nodata.
            moving: likewise; its size and bands may differ.
            fixed_valid: bool (height, width), False where the image says nothing; None for everywhere.
            moving_valid: likewise for ``moving``.

        Raises:
            InputError: an array is no image, or a mask does not fit.
        """
        still, mobile = prepare_image(fixed, fixed_valid), prepare_image(moving, moving_valid)
        if any(image.flat or min(image.shape) < _SMALLEST_PX for image in (still, mobile)):
            return Matches.none()
        with torch.inference_mode(), _one_thread():
            refined = self._align(still, mobile)
        return Matches.none() if refined is None else self._select(refined)

    def match_batch(self, pairs: Sequence[ImagePair]) -> list[Matches]:
        """Return the tie points of several pairs, each the same as by itself."""
        return [
            self.match(pair.fixed, pair.moving, fixed_valid=pair.fixed_valid, moving_valid=pair.moving_valid)
            for pair in pairs
        ]

    def _align(self, fixed: GreyImage, moving: GreyImage) -> Refined | None:
        """Refine a model from coarse to fine; None if too little agrees."""
        config = self.config
        rng = np.random.default_rng(config.seed)
        still, mobile = (prepare_work(i, config.longest_side_px, self.device) for i in (fixed, moving))
        first = self._align_coarsely(still, mobile, rng)
        if first is None:
            return None
        energy = measure_energy(still, config.bank)
        resampled = resample_energy(mobile, still, first.fixed_from_moving, config.bank)
        limit = config.max_keypoints
        fine = refine(energy, resampled, first.fixed_from_moving, config.fine, limit, rng)
        if fine is None:
            return None
        last = refine(energy, resampled, fine.fixed_from_moving, config.last, limit, rng)
        if last is None or first.evidence + last.evidence < config.least_evidence:
            return None
        return last

    def _align_coarsely(
        self, fixed: WorkImage, moving: WorkImage, rng: np.random.Generator
    ) -> Refined | None:
        """Return the first model: of the poses found, the one that most keypoints agree with."""
        config = self.config
        still, mobile = (self._measure_coarsely(image) for image in (fixed, moving))
        best: Refined | None = None
        for pose in find_poses(still, mobile, config.search):
            found = self._follow(still, mobile, pose.fixed_from_moving, rng)
            if found and (best is None or found.evidence > best.evidence):
                best = found
        return best

    def _follow(
        self,
        fixed: OrientedEnergy,
        moving: OrientedEnergy,
        fixed_from_moving: Transform,
        rng: np.random.Generator,
    ) -> Refined | None:
        """Refine a pose through the coarse rounds."""
        found: Refined | None = None
        for level in self.config.coarse:
            found = refine(fixed, moving, fixed_from_moving, level, self.config.max_keypoints, rng)
            if found is None:
                return None
            fixed_from_moving = found.fixed_from_moving
        return found

    def _measure_coarsely(self, image: WorkImage) -> OrientedEnergy:
        return measure_energy(shrink(image, self.config.coarse_side_px), self.config.bank)

    def _select(self, refined: Refined) -> Matches:
        """Return the keypoints that agree with the model, best first."""
        peaks = refined.peaks
        kept = np.flatnonzero(peaks.usable & (refined.motion.distances < self.config.tolerance))
        kept = kept[np.argsort(-peaks.heights[kept], kind="stable")]
        return Matches(
            refined.fixed_xy()[kept].astype(np.float32),
            refined.moving_xy()[kept].astype(np.float32),
            peaks.heights[kept].clip(0, 1).astype(np.float32),
        )
