"""Small operations on batches of images (samples, channels, height, width) that every look is made of.

They are written with slices and coarse grids: on a CPU these cost a fraction of the convolutions they
stand for.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, pad

from models.modality.draws import Draws

_LUMA = (0.299, 0.587, 0.114)
_TINY = 1e-6


def blend_grey(image: Tensor, weights: Tensor | None = None) -> Tensor:
    """Blend channels to one, (samples, 1, height, width).

    Args:
        image: (samples, channels, height, width).
        weights: (samples, channels, 1, 1), any scale; None for luma of three channels, else the mean.
    """
    if image.shape[1] == 1:
        return image
    if weights is None:
        luma = torch.tensor(_LUMA, device=image.device).view(1, 3, 1, 1)
        weights = luma if image.shape[1] == 3 else torch.ones_like(image[:, :, :1, :1])
    return (image * (weights / weights.sum(1, keepdim=True))).sum(1, keepdim=True)


def blur_slightly(image: Tensor) -> Tensor:
    """Blur by the weights 1-2-1 along both axes; the border repeats."""
    wide = pad(image, (1, 1, 1, 1), mode="replicate")
    rows = wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16


def smooth(image: Tensor, radius: int) -> Tensor:
    """Blur by about ``radius`` pixels, through a grid that much coarser."""
    height, width = image.shape[-2:]
    coarse = adaptive_avg_pool2d(image, (max(height // radius, 1), max(width // radius, 1)))
    return enlarge(blur_slightly(coarse), (height, width))


def enlarge(image: Tensor, shape: tuple[int, int]) -> Tensor:
    """Resample to another size, bilinearly."""
    return interpolate(image, shape, mode="bilinear", align_corners=False)


def slopes(image: Tensor) -> tuple[Tensor, Tensor]:
    """Return central differences along x and y, per pixel."""
    wide = pad(image, (1, 1, 1, 1), mode="replicate")
    along_x = (wide[..., 1:-1, 2:] - wide[..., 1:-1, :-2]) / 2
    along_y = (wide[..., 2:, 1:-1] - wide[..., :-2, 1:-1]) / 2
    return along_x, along_y


def steepness(image: Tensor) -> Tensor:
    """Return the length of the slope, per pixel."""
    along_x, along_y = slopes(image)
    return torch.sqrt(along_x.square() + along_y.square() + _TINY * _TINY)


def standardise(image: Tensor) -> Tensor:
    """Give every sample a mean of 0 and a deviation of 1; a constant becomes 0."""
    flat = image.flatten(1)
    level = flat - flat.mean(1, keepdim=True)
    deviation = level.square().mean(1, keepdim=True).sqrt()
    return (level / (deviation + _TINY)).view_as(image)


def to_unit(image: Tensor, deviations: float = 2.5) -> Tensor:
    """Put the mean ± some deviations onto 0..1 and cut what lies beyond."""
    return (standardise(image) / (2 * deviations) + 0.5).clamp(0, 1)


def draw_field(draws: Draws, shape: tuple[int, int], cells: int, octaves: int = 1) -> Tensor:
    """Return smooth random fields of deviation about 1, (samples, 1, height, width).

    Args:
        draws: whose samples.
        shape: height and width.
        cells: bumps along the longer side in the first octave; each further one has twice as many at half
            the height.
        octaves: at least 1.
    """
    rows, columns = [], []
    for octave in range(octaves):
        counts = [max(1, round(cells * 2**octave * side / max(shape))) for side in shape]
        knots = draws.normal(1, *(count + 3 for count in counts)) * 2 * 0.5**octave
        down, across = (_spline(*ends).to(draws.device) for ends in zip(shape, counts, strict=True))
        rows.append(down @ knots)
        columns.append(across)
    return torch.cat(rows, -1) @ torch.cat(columns, -1).T


@lru_cache(maxsize=256)
def _spline(pixels: int, cells: int) -> Tensor:
    """Return the cubic spline that lays ``cells + 3`` knots over pixels, (pixels, cells + 3)."""
    place = torch.linspace(0, cells, pixels, dtype=torch.float64)
    first = place.floor().clamp(max=cells - 1)
    t = place - first
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    spline = torch.zeros(pixels, cells + 3, dtype=torch.float64)
    for offset, part in enumerate(parts):
        spline.scatter_(1, (first.long() + offset)[:, None], part[:, None] / 6)
    return spline.float()


def draw_curve(draws: Draws, knots: int) -> Tensor:
    """Return tone curves through even random heights, (samples, knots), reaching from 0 to 1."""
    heights = draws.uniform((0.0, 1.0), knots)[..., 0, 0]
    low, high = heights.amin(1, keepdim=True), heights.amax(1, keepdim=True)
    return (heights - low) / (high - low + _TINY)


def bend(image: Tensor, curve: Tensor) -> Tensor:
    """Send grey values through tone curves.

    Args:
        image: (samples, 1, height, width), 0 to 1.
        curve: (samples, knots), heights at evenly spaced grey values; between them straight lines.
    """
    last = curve.shape[1] - 1
    place = image.flatten(1).clamp(0, 1) * last
    below = place.floor().clamp(max=last - 1)
    index = below.long()
    low = curve.gather(1, index)
    rise = curve.diff(dim=1).gather(1, index)
    return (low + rise * (place - below)).view_as(image)


def look_up(code: Tensor, values: Tensor) -> Tensor:
    """Replace whole codes (samples, 1, height, width) by a table's entries (samples, entries)."""
    return values.gather(1, code.flatten(1).long()).view(code.shape)


def neighbours_max(image: Tensor) -> Tensor:
    """Return the largest of each pixel and its four neighbours."""
    wide = pad(image, (1, 1, 1, 1), mode="replicate")
    across = torch.maximum(wide[..., 1:-1, 2:], wide[..., 1:-1, :-2])
    along = torch.maximum(wide[..., 2:, 1:-1], wide[..., :-2, 1:-1])
    return torch.maximum(image, torch.maximum(across, along))


def normal_threshold(part: Tensor) -> Tensor:
    """Return what a part (0 to 1) of normal pixels lie above: infinite for none."""
    threshold: Tensor = -torch.special.ndtri(part)
    return threshold
