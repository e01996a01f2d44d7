"""Working copies of images: on the device, at most so large, and without edges where the data end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, pad

from models.matching.images import GreyImage
from models.matching.transforms import Transform

_WHOLLY = 0.99


@dataclass(frozen=True)
class WorkImage:
    """An image as the filters see it.

    Attributes:
        grey: float32 (height, width); filled smoothly where not valid.
        valid: float32 (height, width), 1 or 0.
        pixel_from_work: to the pixels of the image that it was made of.
    """

    grey: Tensor
    valid: Tensor
    pixel_from_work: Transform

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.grey.shape[0], self.grey.shape[1]


def prepare_work(image: GreyImage, longest_side_px: int, device: str) -> WorkImage:
    """Copy an image to the device, shrunk by averaging if it is longer than wanted."""
    valid = torch.from_numpy(image.valid.astype(np.float32)).to(device)
    grey = fill_smoothly(torch.from_numpy(image.grey).to(device), valid)
    return shrink(WorkImage(grey, valid, np.eye(3)), longest_side_px)


def shrink(image: WorkImage, longest_side_px: int) -> WorkImage:
    """Return the image itself, or one of the wanted longest side if it is longer."""
    height, width = image.shape
    scale = longest_side_px / max(height, width)
    if scale >= 1:
        return image
    size = max(1, round(height * scale)), max(1, round(width * scale))
    grey, valid = (
        interpolate(plane[None, None], size=size, mode="bilinear", antialias=True)[0, 0]
        for plane in (image.grey, image.valid)
    )
    coarser = image.pixel_from_work @ coarsen(height / size[0], width / size[1])
    return WorkImage(grey, (valid > _WHOLLY).float(), coarser)


def coarsen(step_y: float, step_x: float) -> Transform:
    """Return the way from squares of so many pixels, counted from the corner, to those pixels."""
    way: NDArray[np.float64] = np.array(
        [[step_x, 0.0, (step_x - 1) / 2], [0.0, step_y, (step_y - 1) / 2], [0.0, 0.0, 1.0]]
    )
    return way


def fill_smoothly(plane: Tensor, valid: Tensor) -> Tensor:
    """Fill what is not valid from its surroundings: near ones in detail, far ones in their mean.

    Args:
        plane: float32 (height, width).
        valid: float32 (height, width), 1 or 0.
    """
    known = plane * valid
    if min(plane.shape) <= 2 or bool(valid.all()):
        return torch.where(valid > 0, plane, known.sum() / valid.sum().clamp(min=1))
    odd = (0, plane.shape[1] % 2, 0, plane.shape[0] % 2)
    share = avg_pool2d(pad(valid[None, None], odd), 2)[0, 0]
    half = avg_pool2d(pad(known[None, None], odd), 2)[0, 0] / share.clamp(min=0.25)
    filled = fill_smoothly(half, (share > 0).float())
    rough = interpolate(filled[None, None], scale_factor=2.0, mode="bilinear")[0, 0]
    return torch.where(valid > 0, plane, rough[: plane.shape[0], : plane.shape[1]])


def shrink_mask(valid: Tensor, margin: int) -> Tensor:
    """Return the mask less what is nearer than a margin to its edge or the image's; float32 (h, w)."""
    edges = pad(1 - valid[None, None], (margin,) * 4, value=1.0)
    return 1 - max_pool2d(edges, 2 * margin + 1, 1)[0, 0]
