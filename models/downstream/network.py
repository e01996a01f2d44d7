"""A pyramid of features, a decoder and a head: what every downstream task trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from infra.errors import InputError
from models.decoders.choice import build_decoder
from models.decoders.pyramid import Pyramid
from models.downstream.lessons import View


class DownstreamNetwork(nn.Module):
    """Shows every view to the pyramid, brings its maps to one, and hands them to the head together.

    Args:
        pyramid: a module that follows :class:`models.decoders.pyramid.Pyramid`.
        decoder: name of one.
        width: of the decoder's map.
        head: takes a list of such maps.
        tuned: whether the pyramid's weights learn; else they stay, and it stays in evaluation mode.

    Raises:
        InputError: the pyramid is no module, or there is no such decoder.
    """

    def __init__(self, pyramid: Pyramid, decoder: str, width: int, head: nn.Module, *, tuned: bool) -> None:
        super().__init__()
        if not isinstance(pyramid, nn.Module):
            raise InputError(f"A pyramid is a {type(pyramid).__name__}; expected a torch.nn.Module.")
        self.pyramid: nn.Module = pyramid
        self.decoder = build_decoder(decoder, pyramid.widths, width)
        self.head = head
        self.tuned = tuned
        self.pyramid.requires_grad_(tuned)

    def train(self, mode: bool = True) -> DownstreamNetwork:
        """Set training or evaluation mode; a pyramid that does not learn keeps the latter."""
        super().train(mode)
        if not self.tuned:
            self.pyramid.eval()
        return self

    def look(self, view: View) -> Tensor:
        """Return the decoder's map of one view, (batch, width, height / 4, width / 4)."""
        if self.tuned:
            maps = self.pyramid(view.rgb, view.sar)
        else:
            with torch.no_grad():
                maps = self.pyramid(view.rgb, view.sar)
        features: Tensor = self.decoder(maps)
        return features

    def forward(self, views: Sequence[View]) -> Tensor:
        """Return the head's output."""
        output: Tensor = self.head([self.look(view) for view in views])
        return output
