"""What every reader of image pairs answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Picture:
    """One image.

    Attributes:
        pixels: (height, width) or (height, width, bands), as stored.
        valid: bool (height, width), False where the image says nothing; None for everywhere.
    """

    pixels: NDArray[Any]
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True, kw_only=True)
class ImagePair:
    """Two images of one place, and what is known of how they lie.

    Positions are (x, y) pixels with (0, 0) at the centre of the upper left pixel. A pair has landmarks,
    or a transform, or both.
    """

    id: str
    """Unlike all others of its set, and the same however often the set is read."""
    kind: str
    """The class it is counted in, e.g. ``SAR_Optical``."""
    fixed: NDArray[Any]
    """(height, width) or (height, width, bands)."""
    moving: NDArray[Any]
    fixed_valid: NDArray[np.bool_] | None = None
    """(height, width); None for everywhere."""
    moving_valid: NDArray[np.bool_] | None = None
    fixed_landmarks_xy: NDArray[np.float64] | None = None
    """(n, 2) places in the fixed image."""
    moving_landmarks_xy: NDArray[np.float64] | None = None
    """(n, 2) the same places in the moving image."""
    fixed_from_moving: NDArray[np.float64] | None = None
    """3×3, for column vectors."""


@dataclass(frozen=True)
class PairSource:
    """A pair that is known to be there and has not been read.

    Attributes:
        id: of the pair.
        kind: its class.
        read: reads the images.
    """

    id: str
    kind: str
    read: Callable[[], ImagePair]
