"""Any raster as the one grey image a matcher looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from infra.errors import InputError

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_STRETCH = (1.0, 99.0)


@dataclass(frozen=True)
class GreyImage:
    """One image as matchers see it.

    Attributes:
        grey: float32 (height, width), 0 to 1; 0 where not valid.
        valid: bool (height, width).
    """

    grey: NDArray[np.float32]
    valid: NDArray[np.bool_]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.grey.shape
        return height, width

    @property
    def flat(self) -> bool:
        """Whether there is nothing to find: no valid pixel, or all of one value."""
        return not self.valid.any() or float(np.ptp(self.grey[self.valid])) == 0.0


def prepare_image(image: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> GreyImage:
    """Stretch an image to 0..1 and blend its bands to grey.

    Three bands are taken for red, green and blue and blended to luma; of any other number each band is
    stretched by itself and all are averaged. Bands without any finite value are left out.

    Args:
        image: (height, width) or (height, width, bands), any integer, float or bool dtype.
        valid: bool (height, width); None for everywhere. Pixels with a NaN or infinity in a used band
            are never valid.

    Raises:
        InputError: not two or three axes, an axis of length 0, complex numbers, or a mask of another size.
    """
    bands, valid = _checked(image, valid)
    finite = np.isfinite(bands)
    used = (finite & valid[..., None]).any(axis=(0, 1))
    valid = valid & finite[..., used].all(axis=2) if used.any() else np.zeros_like(valid)
    if not valid.any():
        return GreyImage(np.zeros(valid.shape, np.float32), valid)
    bands = np.where(valid[..., None], bands[..., used], 0)
    if image.ndim == 3 and image.shape[2] == 3 and used.all():
        grey = _stretch(bands @ _LUMA, valid)
    else:
        grey = np.mean([_stretch(bands[..., i], valid) for i in range(bands.shape[2])], axis=0)
    return GreyImage(np.where(valid, grey, 0).astype(np.float32), valid)


def _checked(
    image: NDArray[Any], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    if image.ndim not in (2, 3) or 0 in image.shape or image.dtype.kind not in "biuf":
        raise InputError(
            f"An image of shape {image.shape} and type {image.dtype} cannot be matched; "
            "expected (height, width) or (height, width, bands) of integers or floats."
        )
    if valid is None:
        valid = np.ones(image.shape[:2], np.bool_)
    elif valid.shape != image.shape[:2]:
        raise InputError(
            f"A mask of shape {valid.shape} does not fit an image of {image.shape[:2]}; "
            "expected one value per pixel."
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, which is nodata
        bands = image.reshape(*image.shape[:2], -1).astype(np.float32)
    return bands, valid.astype(np.bool_)


def _stretch(band: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Put the middle 98 % of the valid values onto 0..1; a constant becomes 0."""
    values = band[valid].astype(np.float64)
    low, high = np.percentile(values, _STRETCH)
    if high <= low:  # nearly constant: a few different pixels are still something to see
        low, high = values.min(), values.max()
    if high <= low:
        return np.zeros_like(band)
    stretched: NDArray[np.float32] = np.clip((band - low) / (high - low), 0, 1).astype(np.float32)
    return stretched
