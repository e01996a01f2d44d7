"""MaRS as the pyramid that decoders are built on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.mars.network import Mars


class MarsPyramid(nn.Module):
    """Four maps of both modalities, side by side: the optical half first.

    A missing modality's half is what the network guesses from the other, so a decoder trained on both can
    be asked with one.

    Args:
        network: with its weights.
    """

    def __init__(self, network: Mars) -> None:
        super().__init__()
        self.network = network

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map, finest first."""
        return tuple(2 * width for width in self.network.config.widths)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image for one of each map."""
        return self.network.config.strides

    def forward(self, rgb: Tensor | None, sar: Tensor | None) -> list[Tensor]:
        """Return the maps, (batch, width, height / stride, width / stride) each.

        Args:
            rgb: float32 (batch, 3, height, width), standardised; None where it is missing.
            sar: float32 (batch, 1, height, width), likewise.

        Raises:
            InputError: both are missing, or an image is of another kind.
        """
        levels = self.network.levels(self.network.look(rgb, sar))
        return [torch.cat(pair, dim=1) for pair in zip(*levels, strict=True)]
