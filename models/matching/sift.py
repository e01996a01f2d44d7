"""Two measures to hold matchers against: SIFT, and taking the images to lie on one another already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.matching.images import GreyImage, prepare_image
from models.matching.matches import Matches

_LEAST_NEIGHBOURS = 2
_GRID_SIDE = 16


@dataclass(frozen=True)
class SiftConfig:
    """The setting of the SIFT baseline.

    Attributes:
        max_keypoints: strongest of each image.
        max_ratio: a tie point's descriptor distance over the next best one's; Lowe's test.
    """

    max_keypoints: int = 2048
    max_ratio: float = 0.8


@dataclass(frozen=True)
class SiftMatcher:
    """Lowe's SIFT, matched both ways with the ratio test.

    Source: Lowe, IJCV 2004, doi:10.1023/B:VISI.0000029664.99615.94, as OpenCV has it.
    """

    config: SiftConfig = SiftConfig()

    @property
    def name(self) -> str:
        """The name the matcher is asked for by."""
        return "sift"

    def match(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        *,
        fixed_valid: NDArray[np.bool_] | None = None,
        moving_valid: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return the tie points of two images, as :class:`models.matching.matches.Matcher` says."""
        fixed_xy, fixed_words = self._describe(prepare_image(fixed, fixed_valid))
        moving_xy, moving_words = self._describe(prepare_image(moving, moving_valid))
        if min(len(fixed_xy), len(moving_xy)) < _LEAST_NEIGHBOURS:
            return Matches.none()
        pairs, ratios = self._pair(fixed_words, moving_words)
        order = np.argsort(ratios, kind="stable")
        chosen = pairs[order]
        scores = (1 - ratios[order]).astype(np.float32)
        return Matches(fixed_xy[chosen[:, 0]], moving_xy[chosen[:, 1]], scores)

    def _describe(self, image: GreyImage) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return keypoints (n, 2) and their descriptors (n, 128)."""
        import cv2

        if image.flat:
            return np.zeros((0, 2), np.float32), np.zeros((0, 128), np.float32)
        eight_bit = np.round(image.grey * 255).astype(np.uint8)
        # OpenCV's own stubs miss the function.
        sift = cv2.SIFT_create(nfeatures=self.config.max_keypoints)  # type: ignore[attr-defined]
        points, words = sift.detectAndCompute(eight_bit, image.valid.astype(np.uint8))
        # OpenCV may return more than it was asked for where several are equally strong.
        kept = np.argsort([-point.response for point in points], kind="stable")[: self.config.max_keypoints]
        xy = np.array([point.pt for point in points], np.float32).reshape(-1, 2)
        return xy[kept], np.zeros((0, 128), np.float32) if words is None else words[kept]

    def _pair(
        self, fixed: NDArray[np.float32], moving: NDArray[np.float32]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Return index pairs (m, 2) that are one another's best and pass the ratio test, and the ratios."""
        # Descriptors hold whole numbers below 512: their products are exact in float64.
        a, b = fixed.astype(np.float64), moving.astype(np.float64)
        distances = np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0))
        rows = np.arange(len(a))
        best = distances.argmin(axis=1)
        nearest, second = np.partition(distances, 1, axis=1)[:, :2].T
        ratios = nearest / np.maximum(second, 1e-9)
        good = (distances.argmin(axis=0)[best] == rows) & (ratios < self.config.max_ratio)
        return np.stack([rows[good], best[good]], axis=1), ratios[good]


class IdentityMatcher:
    """Says that the images lie on one another already: what a matcher must beat."""

    @property
    def name(self) -> str:
        """The name the matcher is asked for by."""
        return "identity"

    def match(
        self,
        fixed: NDArray[Any],
        moving: NDArray[Any],
        *,
        fixed_valid: NDArray[np.bool_] | None = None,
        moving_valid: NDArray[np.bool_] | None = None,
    ) -> Matches:
        """Return a grid of positions that both images have, each tied to itself."""
        height, width = np.minimum(fixed.shape[:2], moving.shape[:2])
        x, y = np.meshgrid(np.linspace(0, width - 1, _GRID_SIDE), np.linspace(0, height - 1, _GRID_SIDE))
        xy = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float32)
        return Matches(xy, xy, np.ones(len(xy), np.float32))
