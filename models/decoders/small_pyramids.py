"""Pyramids that need no trained weights: a small network to train, and fixed measurements to compare with."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.decoders.layers import Residual, make_block
from models.decoders.pyramid import STRIDES, check_images
from models.modality.fields import slopes

_BANDS = 4  # red, green, blue, radar
_MEASURES = 4  # mean, deviation, slope along x, slope along y


class ConvPyramid(nn.Module):
    """A small convolutional network over both images.

    A missing image is replaced by zeros, and two constant bands say which are there.

    Args:
        widths: features of the four maps, finest first.
    """

    def __init__(self, widths: tuple[int, int, int, int] = (24, 32, 48, 64)) -> None:
        super().__init__()
        self.widths: tuple[int, ...] = widths
        self.strides: tuple[int, ...] = STRIDES
        self.stem = nn.Sequential(
            make_block(_BANDS + 2, widths[0] // 2, stride=2), make_block(widths[0] // 2, widths[0], stride=2)
        )
        self.stages = nn.ModuleList(Residual(width) for width in widths)
        self.down = nn.ModuleList(make_block(fine, coarse, stride=2) for fine, coarse in pairwise(widths))

    def forward(self, rgb: Tensor | None, sar: Tensor | None) -> list[Tensor]:
        """Return four maps, finest first; see :class:`models.decoders.pyramid.Pyramid`.

        Raises:
            InputError: images that do not fit.
        """
        bands = stack_bands(rgb, sar)
        present = torch.tensor([rgb is not None, sar is not None]).to(bands)
        flags = present.view(1, 2, 1, 1).expand(len(bands), 2, *bands.shape[2:])
        features = self.stem(torch.cat([bands, flags], dim=1))
        maps = [self.stages[0](features)]
        for down, stage in zip(self.down, list(self.stages)[1:], strict=True):
            maps.append(stage(down(maps[-1])))
        return maps


class FixedPyramid(nn.Module):
    """Measurements that nobody trained: mean, deviation and slopes of every band in cells of four sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.widths: tuple[int, ...] = (_BANDS * _MEASURES,) * len(STRIDES)
        self.strides: tuple[int, ...] = STRIDES

    def forward(self, rgb: Tensor | None, sar: Tensor | None) -> list[Tensor]:
        """Return four maps, finest first; see :class:`models.decoders.pyramid.Pyramid`.

        Raises:
            InputError: images that do not fit.
        """
        bands = stack_bands(rgb, sar)
        along_x, along_y = slopes(bands)
        squares = bands.square()
        maps = []
        for stride in STRIDES:
            mean, square = F.avg_pool2d(bands, stride), F.avg_pool2d(squares, stride)
            spread = (square - mean.square()).clamp_min(0).add(1e-6).sqrt()
            steep = [F.avg_pool2d(slope.abs(), stride) for slope in (along_x, along_y)]
            maps.append(torch.cat([mean, spread, *steep], dim=1))
        return maps


def stack_bands(rgb: Tensor | None, sar: Tensor | None) -> Tensor:
    """Return red, green, blue and radar, (batch, 4, height, width); 0 for what is missing.

    Raises:
        InputError: both are missing, or they do not fit.
    """
    given = check_images(rgb, sar)
    shape = given.shape
    rgb = given.new_zeros(shape[0], 3, *shape[2:]) if rgb is None else rgb
    sar = given.new_zeros(shape[0], 1, *shape[2:]) if sar is None else sar
    return torch.cat([rgb, sar], dim=1)
