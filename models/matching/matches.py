"""What a matcher is given and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Matches:
    """Tie points between a fixed and a moving image, best first.

    Pixel positions are (x to the right, y down) with (0, 0) at the *centre* of the upper left pixel.

    Attributes:
        fixed_xy: float32 (n, 2), pixels of the fixed image.
        moving_xy: float32 (n, 2), the same places in the moving image.
        scores: float32 (n,), 0 to 1, falling; comparable within one matcher only.
    """

    fixed_xy: NDArray[np.float32]
    moving_xy: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        """Return the number of tie points."""
        return len(self.scores)

    @classmethod
    def none(cls) -> Matches:
        """Return the answer for images that share nothing, or have nothing to find."""
        empty = np.zeros((0, 2), np.float32)
        return cls(empty, empty, np.zeros(0, np.float32))


class Matcher(Protocol):
    """Finds tie points between two images, whatever their modalities."""

    @property
    def name(self) -> str:
        """The name the matcher is asked for by, and written into results under."""

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
        """
