"""Heads: from maps of features, one for each view, to what a task asks for."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.decoders.layers import make_block

STRIDE = 4
"""Pixels of the image for one of the decoders' map."""


def compare_views(features: Sequence[Tensor]) -> Tensor:
    """Return the features of one view, or those of two and how far apart they are, side by side."""
    if len(features) == 1:
        return features[0]
    first, second = features
    return torch.cat([first, second, (first - second).abs()], dim=1)


class MapHead(nn.Module):
    """A value, or several, for every pixel: cells of the decoder's map are unfolded to 4 × 4 pixels.

    Args:
        width: features of a view.
        outputs: values of a pixel.
        views: 1 or 2.
    """

    def __init__(self, width: int, outputs: int, *, views: int = 1) -> None:
        super().__init__()
        self.mix = make_block(width * (1 if views == 1 else 3), 2 * width)
        self.unfold = nn.Sequential(nn.Conv2d(2 * width, outputs * STRIDE**2, 1), nn.PixelShuffle(STRIDE))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return (batch, outputs, height, width)."""
        values: Tensor = self.unfold(self.mix(compare_views(features)))
        return values


class BoxHead(nn.Module):
    """Where objects have their middles, by class, and how far from there their four sides are; no anchors.

    Args:
        width: features.
        classes: of objects.
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.middles = nn.Sequential(make_block(width, 2 * width), nn.Conv2d(2 * width, classes, 1))
        self.sides = nn.Sequential(make_block(width, 2 * width), nn.Conv2d(2 * width, 4, 1))
        last = self.middles[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        nn.init.constant_(last.bias, -3.0)  # objects are rare: say so from the start

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return (batch, classes + 4, height / 4, width / 4): logits, and sides in cells, all above 0."""
        return torch.cat([self.middles(features[0]), F.softplus(self.sides(features[0]))], dim=1)


class DescriptorHead(nn.Module):
    """A description of every cell that another sensor's image of the place shares.

    Args:
        width: features.
        size: numbers of a description.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.describe = nn.Sequential(make_block(width, 2 * width), nn.Conv2d(2 * width, size, 1))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return unit vectors, (batch, views, size, height / 4, width / 4)."""
        return torch.stack([F.normalize(self.describe(one).float(), dim=1) for one in features], dim=1)
