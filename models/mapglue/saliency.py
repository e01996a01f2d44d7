"""How much there is to see at each pixel, from the image's gradient."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def blur(images: Tensor, sigma_px: float) -> Tensor:
    """Return images (batch, channels, height, width) under a Gaussian; edges repeat."""
    radius = max(int(3.0 * sigma_px + 0.5), 1)
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, [radius, radius, radius, radius], mode="replicate")
    along_x = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(along_x, kernel.transpose(2, 3), groups=images.shape[1])


def saliency_map(grey: Tensor, power: float, sigma_px: float = 1.5, high_share: float = 0.95) -> Tensor:
    """Return the gradient's length, put onto 0..1 by the image's own strong edges and a contrast curve.

    Args:
        grey: float32 (batch, 1, height, width), 0 to 1.
        power: of the contrast curve; below 1 lifts faint texture.
        sigma_px: of the Gaussian before the gradient.
        high_share: this part of the pixels has a gradient below the one that counts as 1.

    Returns:
        float32 (batch, height, width); all 0 for an image of one value.
    """
    smooth = F.pad(blur(grey, sigma_px), [1, 1, 1, 1], mode="replicate")[:, 0]
    rows = smooth[:, :-2] + 2 * smooth[:, 1:-1] + smooth[:, 2:]
    columns = smooth[:, :, :-2] + 2 * smooth[:, :, 1:-1] + smooth[:, :, 2:]
    along_x, along_y = rows[:, :, 2:] - rows[:, :, :-2], columns[:, 2:] - columns[:, :-2]
    length = torch.sqrt(along_x**2 + along_y**2)
    flat = length.flatten(1)
    rank = max(int(high_share * flat.shape[1] + 0.5), 1)
    high = torch.kthvalue(flat, rank, dim=1).values.clamp_min(1e-6)
    return (length / high[:, None, None]).clamp(0, 1) ** power


def enhance_scores(scores: Tensor, saliency: Tensor, floor: float) -> Tensor:
    """Return a detector's scores weighed by saliency; flat ground keeps the part ``floor`` of its own."""
    return scores * (floor + (1 - floor) * saliency)
