"""Describe the structure of an image so that it can be compared across modalities.

At each pixel the gradient's direction is kept with its angle doubled: an edge from dark to bright and one
from bright to dark look the same, as between optical and radar. Averaging these over a small neighbourhood
and dividing by the mean strength leaves how much the neighbourhood agrees on a direction, whatever the
contrast; speckle, which has no direction, falls to near zero.

Source: the averaged squared gradient of Kass & Witkin, "Analyzing oriented patterns" (CVGIP 1987).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.matching.images import GreyImage


@dataclass(frozen=True)
class OrientationConfig:
    """How structure is described.

    Attributes:
        gradient_sigma_px: of the Gaussian whose derivative is the gradient.
        average_sigma_px: of the Gaussian that directions are averaged with.
        floor: share of the image's mean strength below which structure counts for less.
    """

    gradient_sigma_px: float = 1.0
    average_sigma_px: float = 1.0
    floor: float = 0.5


def describe_structure(
    image: GreyImage, config: OrientationConfig = OrientationConfig()
) -> NDArray[np.complex64]:
    """Return the doubled-angle direction at each pixel, complex64 (height, width), absolute value ≤ 1.

    It is 0 where the image is not valid, near such places and at the image's edge: neither a border of
    nodata nor the end of the array is structure of the ground.
    """
    grey, valid = _fill(image), torch.from_numpy(image.valid.astype(np.float32))
    across, down = _gradient(grey, config.gradient_sigma_px)
    gradient = torch.complex(across, down)
    # Divided by its length once: a few very bright echoes would count for everything around them.
    squared = gradient**2 / (gradient.abs() + 1e-9)
    sigma = config.average_sigma_px
    mean = torch.complex(_blur(squared.real, sigma), _blur(squared.imag, sigma))
    strength = _blur(squared.abs(), sigma)
    margin = math.ceil(2 * config.gradient_sigma_px + 2 * sigma)
    inside = _erode(valid, margin) > 0
    typical = strength[inside].mean() if bool(inside.any()) else torch.tensor(1.0)
    described = mean / (strength + config.floor * typical + 1e-12)
    result: NDArray[np.complex64] = torch.where(inside, described, 0).numpy().astype(np.complex64)
    return result


def _fill(image: GreyImage) -> Tensor:
    """Put the mean of the valid pixels where there are none: the smallest step at their border."""
    mean = float(image.grey[image.valid].mean()) if image.valid.any() else 0.0
    return torch.from_numpy(np.where(image.valid, image.grey, np.float32(mean)))


def _gradient(grey: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    smooth = _blur(grey, sigma)
    padded = torch.nn.functional.pad(smooth[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2


def _blur(plane: Tensor, sigma: float) -> Tensor:
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-((torch.arange(-reach, reach + 1, dtype=torch.float32) / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    padded = torch.nn.functional.pad(plane[None, None], (reach,) * 4, mode="replicate")
    rows = torch.nn.functional.conv2d(padded, kernel[None, None, :, None])
    return torch.nn.functional.conv2d(rows, kernel[None, None, None, :])[0, 0]


def _erode(valid: Tensor, margin: int) -> Tensor:
    padded = torch.nn.functional.pad(valid[None, None], (margin,) * 4, value=0.0)
    return -torch.nn.functional.max_pool2d(-padded, 2 * margin + 1, stride=1)[0, 0]
