"""The rules that matchers are compared by, written into every result."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from infra.errors import InputError
from models.matching.estimate import Estimator
from models.matching.warps import LEVEL_NAMES, LEVELS, LevelName, WarpLevel

PROTOCOL_VERSION = "1"
"""Changes whenever a figure could: results of two versions are not to be put beside one another."""


@dataclass(frozen=True, kw_only=True)
class MatchingProtocol:
    """All that a figure depends on, besides the pairs and the matcher."""

    level: LevelName = "none"
    """How far the moving image is warped beforehand."""
    seed: int = 0
    """Of the warps, together with each pair's id."""
    longest_side_px: int = 1280
    """Larger images are shrunk to it beforehand, by averaging; errors are then in the shrunk pixels."""
    max_keypoints: int = 2048
    """Only the best tie points up to this number count."""
    estimators: tuple[Estimator, ...] = (
        Estimator(),
        Estimator(threshold_px=3.0),
        Estimator("affine"),
        Estimator("affine", threshold_px=3.0),
    )
    """The first gives the headline figures; the others stand beside them."""
    success_px: tuple[float, ...] = (3.0, 5.0, 10.0)
    """Tolerances of the mean landmark error (of pairs without landmarks: of the mean corner error)."""
    auc_px: tuple[float, ...] = (5.0, 10.0, 20.0)
    """Limits of the area under the corner-error curve; a pair without an estimate has an infinite error."""
    precision_px: float = 3.0
    """How near to its true place a tie point is right."""

    @property
    def warp(self) -> WarpLevel:
        """The level's ranges."""
        return LEVELS[self.level]

    def describe(self) -> dict[str, Any]:
        """Return the rules as plain values for JSON."""
        return {
            "version": PROTOCOL_VERSION,
            **dataclasses.asdict(self),
            "warp": dataclasses.asdict(self.warp),
            "estimators": [
                {"method": "USAC_MAGSAC", **dataclasses.asdict(estimator)} for estimator in self.estimators
            ],
            "resize": f"area average to at most {self.longest_side_px} px along the longest side",
            "success_error": "mean landmark error; mean corner error of pairs without landmarks",
            "corner_error": "mean over the moving image's four corner pixels, in pixels of the fixed image",
            "auc": "area under the step curve of corner errors; a failure is infinite",
        }


def choose_level(name: str) -> LevelName:
    """Return a level's name, checked.

    Raises:
        InputError: there is no such level.
    """
    for level in LEVELS:
        if level == name:
            return level
    raise InputError(f"There is no level {name!r}; choose one of {', '.join(LEVEL_NAMES)}.")
