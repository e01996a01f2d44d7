"""Decoders by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from infra.errors import InputError
from models.decoders.fpn import FpnDecoder
from models.decoders.upernet import UperNetDecoder

DECODERS: dict[str, Callable[[Sequence[int], int], nn.Module]] = {
    "fpn": FpnDecoder,
    "upernet": UperNetDecoder,
}
"""Name → what makes it of the maps' widths and its own."""


def build_decoder(name: str, widths: Sequence[int], width: int) -> nn.Module:
    """Return a decoder with fresh weights.

    Args:
        name: one of :data:`DECODERS`.
        widths: features of the maps, finest first.
        width: features of the map that comes out, at least 1.

    Raises:
        InputError: no such decoder, no maps, or a width below 1.
    """
    if name not in DECODERS:
        raise InputError(f"There is no decoder {name!r}; choose one of {', '.join(DECODERS)}.")
    if not widths or min(*widths, width) < 1:
        raise InputError(
            f"A decoder of {width} features over maps of {list(widths)}; expected 1 or more of each."
        )
    return DECODERS[name](widths, width)
