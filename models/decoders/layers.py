"""The layers that decoders, heads and small pyramids are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_GROUP = 8
"""Features that are normed together; a map of one cell has nothing else to be normed by."""


def make_block(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution, a norm over groups (the same for any batch) and a GELU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.GroupNorm(_count_groups(outputs), outputs),
        nn.GELU(),
    )


def _count_groups(features: int) -> int:
    together = math.gcd(_GROUP, features)
    return features // together if together > 1 else 1


class Residual(nn.Module):
    """Two convolutions beside a straight way.

    Args:
        width: features in and out.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(make_block(width, width), make_block(width, width))

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        changed: Tensor = features + self.blocks(features)
        return changed


def match_size(features: Tensor, like: Tensor) -> Tensor:
    """Resample features bilinearly to another map's height and width."""
    shape = [like.shape[-2], like.shape[-1]]
    if list(features.shape[-2:]) == shape:
        return features
    return F.interpolate(features, size=shape, mode="bilinear", align_corners=False)


def pool_cells(features: Tensor, cells: int) -> Tensor:
    """Average over ``cells`` × ``cells`` parts that cover a map; the same on every device.

    Matrix products stand in for adaptive pooling, whose gradient on a GPU adds in any order.
    """
    down, across = (_shares(side, cells).to(features) for side in features.shape[-2:])
    return down @ features @ across.T


def _shares(side: int, cells: int) -> Tensor:
    """Return (cells, side): which part of every cell's mean each pixel is."""
    shares = torch.zeros(cells, side)
    for cell in range(cells):
        first, last = cell * side // cells, -(-(cell + 1) * side // cells)
        shares[cell, first:last] = 1 / (last - first)
    return shares
