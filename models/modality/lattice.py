"""Parcels and streets: irregular grids of cells that turn and bend from place to place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.modality.draws import Draws, Range
from models.modality.fields import draw_field, look_up

CODES = 4096
"""Cells are numbered below this, a power of 2; two far cells may share a number."""

_FULL_TURN = 2 * torch.pi


@dataclass(frozen=True)
class Lattice:
    """Which cell every pixel is in, and where in it; all (samples, 1, height, width).

    Attributes:
        cell: int64, the cell's number, below ``CODES``.
        across: float32, 0 to 1 from side to side of the cell.
        along: float32, 0 to 1 from its start to its end.
        to_side_px: float32, distance to the nearer side.
        to_end_px: float32, distance to the nearer end.
    """

    cell: Tensor
    across: Tensor
    along: Tensor
    to_side_px: Tensor
    to_end_px: Tensor


def pixel_places(shape: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return each pixel's x (1, 1, 1, width) and y (1, 1, height, 1)."""
    height, width = shape
    x = torch.arange(width, dtype=torch.float32, device=device).view(1, 1, 1, -1)
    y = torch.arange(height, dtype=torch.float32, device=device).view(1, 1, -1, 1)
    return x, y


def draw_lattice(draws: Draws, shape: tuple[int, int], breadth_px: Tensor, length_px: Tensor) -> Lattice:
    """Draw cells whose breadth and length differ from strip to strip around given ones.

    Args:
        draws: whose samples.
        shape: height and width.
        breadth_px: (samples, 1, 1 or height, 1 or width), of the strips.
        length_px: likewise, of the cells within a strip.
    """
    u, v = _bent_axes(draws, shape)
    place = u / breadth_px
    place = place + 0.3 * torch.sin(2.3 * place + draws.uniform((0.0, _FULL_TURN)))  # uneven, still rising
    strip = place.floor()
    tables = draws.uniform((0.0, 1.0), 2 * CODES).view(len(draws), 2, CODES)
    code = strip.long() & (CODES - 1)
    stretched = v / (length_px * (0.6 + 0.8 * look_up(code, tables[:, 0])))
    position = stretched + 64 * look_up(code, tables[:, 1])
    number = position.floor()
    across, along = place - strip, position - number
    return Lattice(
        cell=(code * 613 + number.long() * 1049) & (CODES - 1),
        across=across,
        along=along,
        to_side_px=(0.5 - (across - 0.5).abs()) * breadth_px,
        to_end_px=(0.5 - (along - 0.5).abs()) * length_px,
    )


def draw_course(draws: Draws, shape: tuple[int, int], sway: Range) -> Tensor:
    """Return the distance of every pixel to a winding line through the picture, pixels, signed.

    Args:
        draws: whose samples.
        shape: height and width.
        sway: how far the line strays from a straight one, as a part of the side.
    """
    x, y = pixel_places(shape, draws.device)
    height, width = shape
    turn = draws.uniform((0.0, _FULL_TURN))
    middle_x, middle_y = (draws.uniform((0.1, 0.9)) * side for side in (width, height))
    straight = (x - middle_x) * turn.cos() + (y - middle_y) * turn.sin()
    bends = draw_field(draws, shape, 5, octaves=2)
    return straight + bends * draws.uniform(sway) * max(shape)


def _bent_axes(draws: Draws, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return coordinates turned by an angle that changes at the border of two quarters, and bent."""
    x, y = pixel_places(shape, draws.device)
    quarter = draw_field(draws, shape, 2) > draws.uniform((-0.5, 2.5))
    angle = torch.where(quarter, draws.uniform((0.0, _FULL_TURN)), draws.uniform((0.0, _FULL_TURN)))
    bend = draws.uniform((0.0, 0.05)) * max(shape)
    cosine, sine = angle.cos(), angle.sin()
    u = x * cosine + y * sine + bend * draw_field(draws, shape, 3)
    return u, y * cosine - x * sine
