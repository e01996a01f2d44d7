"""UPerNet: the coarsest map sees itself at several scales, then all maps are fused side by side.

Source: Xiao et al., Unified Perceptual Parsing for Scene Understanding, ECCV 2018, arXiv:1807.10221.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.decoders.fpn import TopDown
from models.decoders.layers import make_block, match_size, pool_cells
from models.decoders.pyramid import check_maps

POOLED_CELLS = (1, 2, 3, 6)
"""Into how many parts a side of the coarsest map is averaged."""


class PyramidPooling(nn.Module):
    """Adds to a map its own means over parts of several sizes.

    Args:
        inputs: features that go in.
        width: that come out.
    """

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(make_block(inputs, width, kernel=1) for _ in POOLED_CELLS)
        self.fuse = make_block(inputs + len(POOLED_CELLS) * width, width)

    def forward(self, features: Tensor) -> Tensor:
        """Return a map of the same size."""
        seen = [
            match_size(scale(pool_cells(features, cells)), features)
            for scale, cells in zip(self.scales, POOLED_CELLS, strict=True)
        ]
        fused: Tensor = self.fuse(torch.cat([features, *seen], dim=1))
        return fused


class UperNetDecoder(nn.Module):
    """Pyramid pooling on top of a feature pyramid network, its levels fused at the finest one's size.

    Args:
        widths: features of the maps, finest first.
        width: features of the map that comes out.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.widths = tuple(widths)
        self.pooling = PyramidPooling(widths[-1], width)
        self.top_down = TopDown((*widths[:-1], width), width)
        self.fuse = make_block(len(widths) * width, width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return one map, (batch, width, height / 4, width / 4).

        Raises:
            InputError: maps of other widths.
        """
        check_maps(maps, self.widths)
        levels = self.top_down([*maps[:-1], self.pooling(maps[-1])])
        fused: Tensor = self.fuse(torch.cat([match_size(one, levels[0]) for one in levels], dim=1))
        return fused
