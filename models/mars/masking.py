"""Which squares of an image are hidden in pretraining."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from infra.errors import InputError
from models.mars.config import PATCH_PX, MarsConfig


def draw_masks(
    config: MarsConfig, count: int, shape_yx: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Draw which squares are hidden: of every image the same number, at places of its own.

    Args:
        config: says how large squares are and which part of them is hidden.
        count: of images.
        shape_yx: height and width of the images, multiples of the squares' side.
        generator: on the CPU; the same state gives the same masks on every machine.

    Returns:
        bool (count, height / 4, width / 4), True = hidden; on the CPU.

    Raises:
        InputError: squares do not fill the images.
    """
    block = config.mask_block_px
    rows, columns = (side // block for side in shape_yx)
    if min(rows, columns, count) < 1 or (rows * block, columns * block) != tuple(shape_yx):
        raise InputError(
            f"{count} masks of {block}-px squares cannot fill images of {shape_yx[0]} × {shape_yx[1]} px; "
            f"expected sides that are multiples of {block}."
        )
    squares = rows * columns
    # Rounded first: 0.6 × 5 is a hair above 3 in floating point, and is no reason to hide a fourth.
    hidden = math.ceil(round(config.mask_ratio * squares, 6))
    order = torch.rand(count, squares, generator=generator).argsort(dim=1)
    mask = (order < hidden).reshape(count, rows, columns)
    cells = block // PATCH_PX
    return mask.repeat_interleave(cells, dim=1).repeat_interleave(cells, dim=2)
