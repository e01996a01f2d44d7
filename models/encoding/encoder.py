"""What encoding asks of a model: windows of standardised pixels in, one vector for each cell out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

RGB, SAR = "rgb", "sar"
MODALITIES = {RGB: 3, SAR: 1}
"""Modality → how many bands it has."""


class DenseEncoder(Protocol):
    """Gives every cell of a window a vector."""

    @property
    def name(self) -> str:
        """Return what the encoder is called."""
        ...

    @property
    def width(self) -> int:
        """Return the length of a vector."""
        ...

    @property
    def stride_px(self) -> int:
        """Return the edge of a cell, pixels."""
        ...

    @property
    def window_px(self) -> int:
        """Return the edge of the windows it sees, pixels; a multiple of ``stride_px``."""
        ...

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch of windows.

        Args:
            images: float32 ``{"rgb": (batch, 3, window_px, window_px), "sar": (batch, 1, …)}``,
                standardised, 0 where there is no data; one of the two may be missing.

        Returns:
            float32 (batch, width, window_px / stride_px, window_px / stride_px), on the images' device.
        """
        ...
