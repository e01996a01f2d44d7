"""A pair as the protocol shows it to a matcher: shrunk where too large, the moving image warped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.matching.protocol import MatchingProtocol
from models.matching.transforms import Transform, apply_transform, invert, warp_image
from models.matching.warps import draw_warp, pair_generator

_WHOLE = 0.999  # a resampled mask is valid where rounding alone keeps it from 1


class KnownPair(Protocol):
    """Two images of one place and what is known of how they lie.

    Landmarks are (n, 2) positions of the same places in both images, in the same order; a pair has
    landmarks, or a true transform, or both. What kind of pair it is, is a word results are grouped by.
    """

    @property
    def id(self) -> str:
        """The pair's name; the warps are drawn by it."""

    @property
    def kind(self) -> str:
        """The class the pair is counted in."""

    @property
    def fixed(self) -> NDArray[Any]:
        """(height, width) or (height, width, bands)."""

    @property
    def moving(self) -> NDArray[Any]:
        """Likewise; may differ in size and bands."""

    @property
    def fixed_valid(self) -> NDArray[np.bool_] | None:
        """(height, width); None where every pixel says something."""

    @property
    def moving_valid(self) -> NDArray[np.bool_] | None:
        """Likewise."""

    @property
    def fixed_landmarks_xy(self) -> NDArray[np.float64] | None:
        """Places in the fixed image."""

    @property
    def moving_landmarks_xy(self) -> NDArray[np.float64] | None:
        """The same places in the moving image."""

    @property
    def fixed_from_moving(self) -> Transform | None:
        """The true transform, as far as it is known."""


@dataclass(frozen=True)
class MatchingCase:
    """What a matcher is given, and the truth about it, both in the pixels it is given.

    Attributes mean what :class:`KnownPair` says, after shrinking and warping.
    """

    id: str
    kind: str
    fixed: NDArray[Any]
    moving: NDArray[Any]
    fixed_valid: NDArray[np.bool_]
    moving_valid: NDArray[np.bool_]
    landmarks_xy: tuple[NDArray[np.float64], NDArray[np.float64]] | None
    """In the fixed and in the moving image."""
    fixed_from_moving: Transform | None

    @property
    def moving_shape(self) -> tuple[int, int]:
        """Height and width of the moving image."""
        height, width = self.moving_valid.shape
        return height, width


def prepare_case(pair: KnownPair, protocol: MatchingProtocol) -> MatchingCase:
    """Return a pair as the protocol's size limit and level make it; the same every time.

    Landmarks and truth go along: a landmark that the warp moves out of the image still counts.
    """
    fixed, fixed_valid, new_from_fixed = shrink_image(pair.fixed, pair.fixed_valid, protocol.longest_side_px)
    moving, moving_valid, new_from_moving = shrink_image(
        pair.moving, pair.moving_valid, protocol.longest_side_px
    )
    if protocol.level != "none":
        rng = pair_generator(protocol.seed, pair.id)
        warp = draw_warp(protocol.warp, moving_valid.shape, rng)
        moving, moving_valid = _warp_onto_itself(moving, moving_valid, warp)
        new_from_moving = warp @ new_from_moving
    truth, landmarks = pair.fixed_from_moving, None
    if truth is not None:
        truth = new_from_fixed @ truth @ invert(new_from_moving)
    if pair.fixed_landmarks_xy is not None and pair.moving_landmarks_xy is not None:
        landmarks = (
            apply_transform(new_from_fixed, pair.fixed_landmarks_xy),
            apply_transform(new_from_moving, pair.moving_landmarks_xy),
        )
    return MatchingCase(pair.id, pair.kind, fixed, moving, fixed_valid, moving_valid, landmarks, truth)


def shrink_image(
    image: NDArray[Any], valid: NDArray[np.bool_] | None, longest_px: int
) -> tuple[NDArray[Any], NDArray[np.bool_], Transform]:
    """Shrink an image by averaging until its longest side fits; one that fits stays as it is.

    Args:
        image: (height, width) or (height, width, bands), any real dtype. NaN and infinity are nodata.
        valid: bool (height, width); None for everywhere.
        longest_px: longest side allowed.

    Returns:
        The image (float32 where it was shrunk), its mask (a pixel is valid when all that went into it is),
        and ``new_from_old`` between pixel positions.
    """
    valid = np.ones(image.shape[:2], np.bool_) if valid is None else valid
    height, width = image.shape[:2]
    part = longest_px / max(height, width)
    if part >= 1:
        return image, valid, np.eye(3)
    import cv2

    size = max(round(width * part), 1), max(round(height * part), 1)
    bands = np.atleast_3d(_as_floats(image))
    finite = np.isfinite(bands)
    used = (finite & valid[..., None]).any(axis=(0, 1))  # one without any value stays NaN and spoils nothing
    valid = valid & finite[..., used].all(axis=2)
    clean = np.where(valid[..., None], bands, np.float32(0))
    shrunk = np.stack(
        [cv2.resize(clean[..., i], size, interpolation=cv2.INTER_AREA) for i in range(clean.shape[2])], axis=2
    )
    weight = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    scale_x, scale_y = size[0] / width, size[1] / height
    # Pixel edges, not centres, lie where they lay: half a pixel goes off before and on after.
    new_from_old = np.array(
        [[scale_x, 0.0, (scale_x - 1) / 2], [0.0, scale_y, (scale_y - 1) / 2], [0.0, 0.0, 1.0]]
    )
    return (shrunk[..., 0] if image.ndim == 2 else shrunk), weight >= _WHOLE, new_from_old


def _as_floats(image: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is nodata
        return image.astype(np.float32)


def _warp_onto_itself(
    image: NDArray[Any], valid: NDArray[np.bool_], warped_from_image: Transform
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    warped, inside = warp_image(_as_floats(image), warped_from_image, valid.shape)
    known, _ = warp_image(valid.astype(np.float32), warped_from_image, valid.shape)
    return warped, inside & (known >= _WHOLE)
