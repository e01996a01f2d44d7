"""The feature pyramid network: coarse maps are laid onto finer ones, all of one width.

Source: Lin et al., Feature Pyramid Networks for Object Detection, CVPR 2017, arXiv:1612.03144; the sum of
all levels as in Kirillov et al., Panoptic Feature Pyramid Networks, CVPR 2019, arXiv:1901.02446.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from models.decoders.layers import make_block, match_size
from models.decoders.pyramid import check_maps


class TopDown(nn.Module):
    """Brings maps to one width and adds to each what the coarser ones know.

    Args:
        widths: features of the maps, finest first.
        width: features of every map that comes out.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.lateral = nn.ModuleList(nn.Conv2d(one, width, 1) for one in widths)
        self.smooth = nn.ModuleList(make_block(width, width) for _ in widths)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return maps of the same sizes, finest first.

        Raises:
            InputError: maps of other widths.
        """
        check_maps(maps, self.widths)
        level = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        for finer in range(len(level) - 2, -1, -1):
            level[finer] = level[finer] + match_size(level[finer + 1], level[finer])
        return [smooth(one) for smooth, one in zip(self.smooth, level, strict=True)]


class FpnDecoder(nn.Module):
    """A feature pyramid network whose levels are added up at the finest one's size.

    Args:
        widths: features of the maps, finest first.
        width: features of the map that comes out.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.width = width
        self.top_down = TopDown(widths, width)
        self.fuse = make_block(width, width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return one map, (batch, width, height / 4, width / 4).

        Raises:
            InputError: maps of other widths.
        """
        levels = self.top_down(maps)
        total = levels[0]
        for level in levels[1:]:
            total = total + match_size(level, levels[0])
        fused: Tensor = self.fuse(total / len(levels))
        return fused
