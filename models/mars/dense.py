"""MaRS as the encoder that whole scenes are encoded with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from infra.errors import InputError
from models.mars.config import CHANNELS, PATCH_PX
from models.mars.network import Mars


class MarsDenseEncoder:
    """A vector for every 4 × 4 pixels: what stands there and what it stands in, joined from all scales.

    The vectors are the dense map's: all four scales joined, after the attention between modalities. Four
    pixels, not eight, because at 10 m fields and streets are a few pixels wide.

    Args:
        network: with its weights; it is put into evaluation mode. Not with ``reference_compat``.

    Raises:
        InputError: the published network, which has no dense map.
    """

    def __init__(self, network: Mars) -> None:
        if network.config.reference_compat:
            raise InputError("The published MaRS has no dense map; encode with a preset of ours.")
        self.network = network.eval()

    @property
    def name(self) -> str:
        """The preset's name."""
        return self.network.config.name

    @property
    def width(self) -> int:
        """Features of a cell, the optical half first."""
        return self.network.config.dense_width

    @property
    def stride_px(self) -> int:
        """Pixels of the image for one cell."""
        return PATCH_PX

    @property
    def window_px(self) -> int:
        """Side of the windows to encode: that of the images it was trained on."""
        return self.network.config.image_px

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Return (batch, width, height / 4, width / 4) of windows, on their device.

        Args:
            images: "rgb" (batch, 3, height, width), "sar" (batch, 1, height, width), float32, standardised;
                one may be missing. Pixels that are not finite count as the mean.

        Raises:
            InputError: images of another kind, or none.
        """
        unknown = set(images) - set(CHANNELS)
        if unknown:
            raise InputError(f"MaRS does not look at {', '.join(sorted(unknown))}; it knows rgb and sar.")
        with torch.inference_mode():
            return self.network.densify(self.network.look(images.get("rgb"), images.get("sar")))
