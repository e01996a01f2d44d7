"""Keypoints that keep a distance: shorter where there is much to see, longer on flat ground."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def suppress(scores: Tensor, saliency: Tensor, radii_px: list[int]) -> Tensor:
    """Return scores with all but the best pixel of each neighbourhood set to 0.

    A pixel's radius is drawn from ``radii_px`` by the mean saliency around it. It stays if no pixel within
    that many rows and columns has a higher score; of equals the first in reading order stays. Hence of
    any two pixels that stay, neither lies in the other's neighbourhood.

    Args:
        scores: float32 (batch, height, width), at least 0.
        saliency: float32 (batch, height, width), 0 to 1.
        radii_px: from the most salient ground to the flattest.
    """
    ranks = _ranks(scores)
    levels = radius_levels(saliency, len(radii_px), radii_px[-1])
    kept = torch.zeros_like(scores, dtype=torch.bool)
    for level, radius in enumerate(radii_px):
        kept |= (levels == level) & (ranks == local_max(ranks, radius))
    return torch.where(kept, scores, torch.zeros_like(scores))


def radius_levels(saliency: Tensor, levels: int, window_px: int) -> Tensor:
    """Return which radius holds at each pixel, int64 (batch, height, width): 0 on the most salient ground."""
    size, pad = 2 * window_px + 1, window_px
    rows = F.avg_pool2d(saliency[:, None], [1, size], [1, 1], [0, pad], count_include_pad=False)
    around = F.avg_pool2d(rows, [size, 1], [1, 1], [pad, 0], count_include_pad=False)[:, 0]
    return ((1 - around) * levels).long().clamp(0, levels - 1)


def local_max(maps: Tensor, radius: int) -> Tensor:
    """Return the highest value within so many rows and columns of each pixel, (batch, height, width)."""
    size = 2 * radius + 1
    along_rows = F.max_pool2d(maps[:, None], [1, size], [1, 1], [0, radius])
    return F.max_pool2d(along_rows, [size, 1], [1, 1], [radius, 0])[:, 0]


def best_keypoints(scores: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the best pixels, best first.

    Args:
        scores: float32 (batch, height, width); 0 where there is no keypoint.
        count: at most so many.

    Returns:
        Positions float32 (batch, count, 2) as (x, y); their scores float32 (batch, count); a mask bool
        (batch, count), False where an image has fewer keypoints.
    """
    width = scores.shape[2]
    flat = scores.flatten(1)
    best, index = torch.topk(flat, min(count, flat.shape[1]), dim=1)
    xy = torch.stack([index % width, torch.div(index, width, rounding_mode="floor")], dim=2)
    return xy.to(scores.dtype), best, best > 0


def _ranks(scores: Tensor) -> Tensor:
    """Return each pixel's place in its image's order, so that no two are equal (exact below 2^24 pixels)."""
    flat = scores.flatten(1)
    order = torch.sort(flat, dim=1, descending=True, stable=True).indices
    places = torch.arange(flat.shape[1], 0, -1, device=flat.device, dtype=torch.float32)
    ranks = torch.zeros_like(flat, dtype=torch.float32).scatter_(1, order, places.expand_as(flat))
    return ranks.reshape(scores.shape)
