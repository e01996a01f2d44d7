"""From features back to pixels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from models.mars.config import COARSEST_PX, PATCH_PX


class PixelShuffleHead(nn.Module):
    """The published head: every coarsest cell is spread over its own 32 × 32 pixels.

    Args:
        width: features of a cell.
        channels: of the images.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.spread = nn.Conv2d(width, COARSEST_PX**2 * channels, 1)
        self.shuffle = nn.PixelShuffle(COARSEST_PX)

    def forward(self, coarsest: Tensor) -> Tensor:
        """Return images (batch, channels, height, width) of maps (batch, width, height/32, width/32)."""
        image: Tensor = self.shuffle(self.spread(coarsest))
        return image


class DenseDecoder(nn.Module):
    """Join four maps, coarsest first, into one that has a cell for every 4 × 4 pixels.

    Every step spreads a cell over 2 × 2 finer ones by a pixel shuffle, so a coarse cell can tell what lies
    where in it, and adds what the encoder saw there.

    Args:
        widths: features of the maps, finest first.
        width: features of the dense map.
    """

    def __init__(self, widths: Sequence[int], width: int) -> None:
        super().__init__()
        self.enter = nn.ModuleList(nn.Sequential(nn.LayerNorm(own), nn.Linear(own, width)) for own in widths)
        self.rise = nn.ModuleList(nn.Linear(width, 4 * width) for _ in widths[1:])
        self.norm = nn.LayerNorm(width)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Return (batch, height / 4, width / 4, width), normalised, of maps (batch, width_i, …)."""
        *finer, dense = (enter(one.permute(0, 2, 3, 1)) for enter, one in zip(self.enter, maps, strict=True))
        for rise in self.rise:
            spread = rise(F.gelu(dense)).permute(0, 3, 1, 2)
            dense = F.pixel_shuffle(spread, 2).permute(0, 2, 3, 1) + finer.pop()
        normal: Tensor = self.norm(dense)
        return normal


class DensePixelHead(nn.Module):
    """Every dense cell is spread over its own 4 × 4 pixels, after one hidden layer.

    Args:
        width: features of a cell.
        channels: of the images.
    """

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.GELU(), nn.Linear(width, PATCH_PX**2 * channels)
        )

    def forward(self, dense: Tensor) -> Tensor:
        """Return images (batch, channels, height, width) of a map (batch, height/4, width/4, width)."""
        return F.pixel_shuffle(self.layers(dense).permute(0, 3, 1, 2), PATCH_PX)


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return tokens (batch, rows × columns, width) as a map (batch, width, rows, columns)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], *grid)
