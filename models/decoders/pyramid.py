"""What decoders ask of the network below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from infra.errors import InputError

STRIDES = (4, 8, 16, 32)
"""Pixels of the image for one of each map, finest first."""


class Pyramid(Protocol):
    """Four maps of features of one image, or of two aligned ones; a ``torch.nn.Module`` too."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map, finest first."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the image for one of each map."""

    def forward(self, rgb: Tensor | None, sar: Tensor | None) -> list[Tensor]:
        """Return the maps, (batch, width, height / stride, width / stride) each.

        Args:
            rgb: float32 (batch, 3, height, width), standardised; None where it is missing.
            sar: float32 (batch, 1, height, width), likewise. One of the two is there; height and width are
                multiples of 32.
        """


def check_images(rgb: Tensor | None, sar: Tensor | None) -> Tensor:
    """Return one of the images, for its size.

    Raises:
        InputError: both are missing, they do not fit one another, or are of another size or kind.
    """
    given = rgb if rgb is not None else sar
    if given is None:
        raise InputError("Features of no image are asked for; give rgb, sar or both.")
    height, width = given.shape[-2:]
    for name, image, bands in (("rgb", rgb, 3), ("sar", sar, 1)):
        if image is not None and tuple(image.shape) != (len(given), bands, height, width):
            raise InputError(
                f"{name} has the shape {tuple(image.shape)}; expected {(len(given), bands, height, width)}."
            )
    if height % STRIDES[-1] or width % STRIDES[-1]:
        raise InputError(
            f"Images of {width} × {height} pixels are given; expected multiples of {STRIDES[-1]}: pad them."
        )
    return given


def check_maps(maps: Sequence[Tensor], widths: Sequence[int]) -> None:
    """Refuse maps that a decoder was not made for.

    Raises:
        InputError: another number of maps, or of features.
    """
    found = [feature.shape[1] for feature in maps]
    if found != list(widths):
        raise InputError(f"Maps of {found} features are given to a decoder made for {list(widths)}.")
