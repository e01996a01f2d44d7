"""Tie points under a first model: a better model, and where each keypoint really is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import avg_pool2d

from models.matching.transforms import Transform, apply_transform, invert
from models.phase_match.borders import WorkImage
from models.phase_match.config import FilterBank, RefineLevel
from models.phase_match.congruency import OrientedEnergy, measure_energy
from models.phase_match.costs import measure_agreement
from models.phase_match.descriptors import describe, place_energy, warp_planes
from models.phase_match.keypoints import choose_keypoints
from models.phase_match.motion import Motion, Peaks, find_motion, find_peaks

_WHOLLY = 0.99
_SEEN_SIDE = 9
_SEEN = 0.5


@dataclass(frozen=True)
class Refined:
    """One round's answer.

    Attributes:
        fixed_from_moving: the better model, pixels.
        started_from: the model before.
        peaks: each keypoint's best displacement, in the fixed image's samples.
        motion: what they agree on.
        fixed: the energies that the samples are of.
        evidence: mean agreement times the root of the number of windows that do not share samples: what
            chance gives has the same range for images of all sizes and overlaps.
    """

    fixed_from_moving: Transform
    started_from: Transform
    peaks: Peaks
    motion: Motion
    fixed: OrientedEnergy
    evidence: float

    def fixed_xy(self) -> NDArray[np.float64]:
        """Return the keypoints in the fixed image's pixels, float64 (n, 2)."""
        return apply_transform(self.fixed.pixel_from_sample, self.peaks.places)

    def moving_xy(self) -> NDArray[np.float64]:
        """Return where the moving image has them, its pixels, float64 (n, 2)."""
        moved = apply_transform(self.fixed.pixel_from_sample, self.peaks.places + self.peaks.offsets)
        return apply_transform(invert(self.started_from), moved)


def refine(
    fixed: OrientedEnergy,
    moving: OrientedEnergy,
    fixed_from_moving: Transform,
    level: RefineLevel,
    limit: int,
    rng: np.random.Generator,
) -> Refined | None:
    """Look for every keypoint near where a model has it; None if they agree on nothing.

    Args:
        fixed: energies of the fixed image.
        moving: energies of the moving image, in any pose.
        fixed_from_moving: the model, pixels.
        level: how far and how closely is looked.
        limit: most keypoints.
        rng: of the draws.
    """
    placed = place_energy(moving, fixed, fixed_from_moving)
    both = fixed.valid * placed.valid
    still = OrientedEnergy(fixed.energy * both, both, fixed.pixel_from_sample)
    mobile = OrientedEnergy(placed.energy * both, both, fixed.pixel_from_sample)
    seen = avg_pool2d(both[None], _SEEN_SIDE, 1, _SEEN_SIDE // 2)[0] > _SEEN
    keypoints = choose_keypoints(still.energy, seen & (both > 0), level.spacing, limit)
    if not len(keypoints):
        return None
    agreement = measure_agreement(describe(still), describe(mobile), keypoints, level.radius, level.window)
    peaks = find_peaks(agreement, keypoints)
    motion = find_motion(peaks, agreement, level.motion, rng)
    if motion is None:
        return None
    samples = fixed.pixel_from_sample @ invert(motion.moved_from_place) @ invert(fixed.pixel_from_sample)
    better = samples @ fixed_from_moving
    windows = len(keypoints) * level.spacing**2 / (4 * math.pi * level.window**2)
    evidence = motion.agreement * math.sqrt(windows)
    return Refined(better / better[2, 2], fixed_from_moving, peaks, motion, fixed, evidence)


def resample_energy(
    moving: WorkImage, fixed: WorkImage, fixed_from_moving: Transform, bank: FilterBank
) -> OrientedEnergy:
    """Resample the moving *image* onto the fixed one's grid and measure its energies there.

    The filters then have the same size and directions in both, which no resampling of energies gives.
    """
    works = invert(fixed.pixel_from_work) @ fixed_from_moving @ moving.pixel_from_work
    grey, valid = warp_planes(torch.stack([moving.grey, moving.valid]), works, fixed.shape)
    back = invert(fixed_from_moving) @ fixed.pixel_from_work
    return measure_energy(WorkImage(grey, (valid > _WHOLLY).float(), back), bank)
