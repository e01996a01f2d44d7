"""Agree on what turns a tag's text into a vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

CLIP_WIDTH = 512
"""Numbers in a vector of CLIP ViT-B/16's text model, which GeoLink's graphs carry."""
CLIP_NORM = 18.6
"""Length of such a vector, measured on GeoLink's example graphs (standard deviation 0.82)."""


class TextEncoder(Protocol):
    """Turn texts into vectors; the same text gives the same vector, whatever stands beside it."""

    @property
    def name(self) -> str:
        """What goes into provenance: it changes when the vectors would."""

    @property
    def width(self) -> int:
        """Numbers per vector."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Encode n texts, in their order, as ``(n, width)`` float32."""
