"""The one setting of the training-free matcher, for all kinds of pairs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

MotionKind: TypeAlias = Literal["affine", "homography"]


@dataclass(frozen=True, kw_only=True)
class FilterBank:
    """Log-Gabor filters: each answers to edges and lines of one width and one direction.

    Attributes:
        orientations: evenly over half a turn.
        scales: wavelengths.
        shortest_px: shortest wavelength, pixels.
        ratio: of one wavelength to the next shorter one.
        bandwidth: width of the radial Gaussian over the centre frequency; 0.55 is about two octaves.
        spread_deg: standard deviation of the angular Gaussian.
    """

    orientations: int = 6
    scales: int = 4
    shortest_px: float = 3.5
    ratio: float = 2.0
    bandwidth: float = 0.6
    spread_deg: float = 22.5


@dataclass(frozen=True, kw_only=True)
class SearchRange:
    """Turns and scales of the moving image that are tried.

    Attributes:
        rotation_deg: up to this far either way; 180 for all.
        rotation_step_deg: between two turns.
        scales: smallest and largest size of the moving image's things in the fixed one.
        scale_step: ratio of one scale to the next.
        cells: the longer side of an image, in cells of the comparison.
        candidates: most poses that are looked at closer.
        rivalry: part of the best pose's score that another needs to be looked at closer.
        least_overlap: part of the smaller image that must lie on the other.
    """

    rotation_deg: float = 180.0
    rotation_step_deg: float = 9.0
    scales: tuple[float, float] = (0.55, 1.82)
    scale_step: float = 1.16
    cells: int = 48
    candidates: int = 3
    rivalry: float = 0.85
    least_overlap: float = 0.2


UPRIGHT = SearchRange(rotation_deg=15.0, scales=(0.78, 1.28))
"""For images whose grids differ little: a fortieth of the poses."""


@dataclass(frozen=True, kw_only=True)
class RefineLevel:
    """One round of looking for every keypoint's place under the model so far.

    Attributes:
        radius: how far a place may be from where the model has it, samples of the energies.
        window: standard deviation of the Gaussian window that is compared, samples.
        spacing: side of the squares that have one keypoint each, samples.
        motion: what is fitted to the places found.
    """

    radius: int
    window: float
    spacing: int
    motion: MotionKind


@dataclass(frozen=True, kw_only=True)
class PhaseMatchConfig:
    """All that a result depends on, besides the images.

    Attributes:
        longest_side_px: larger images are shrunk to it.
        coarse_side_px: the same for the search and the first round.
        coarse: the first rounds, on coarse energies.
        fine: the next, after the moving image was resampled by the first one's model.
        last: gives the tie points.
        tolerance: how far, in fine samples, a tie point may lie off the last model.
        least_evidence: of the coarse and the last round together (see ``Refined.evidence``); for less, the
            images are taken to share nothing.
        max_keypoints: most tie points.
        seed: of the draws of robust fitting.
    """

    bank: FilterBank = field(default_factory=FilterBank)
    search: SearchRange = field(default_factory=SearchRange)
    longest_side_px: int = 512
    coarse_side_px: int = 256
    coarse: tuple[RefineLevel, ...] = (
        RefineLevel(radius=6, window=8.0, spacing=4, motion="affine"),
        RefineLevel(radius=3, window=8.0, spacing=4, motion="homography"),
        RefineLevel(radius=3, window=8.0, spacing=4, motion="homography"),
    )
    fine: RefineLevel = RefineLevel(radius=5, window=12.0, spacing=8, motion="homography")
    last: RefineLevel = RefineLevel(radius=4, window=8.0, spacing=5, motion="homography")
    tolerance: float = 1.5
    least_evidence: float = 0.85
    max_keypoints: int = 2048
    seed: int = 0
