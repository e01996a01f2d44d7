"""What the air, the lens and the file format do to an image after the sensor.

Each is a frozen dataclass as the looks are; it turns grey images (samples, 1, height, width), 0 to 1, into
the like.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from models.modality.draws import Draws, Range
from models.modality.fields import blur_slightly, draw_field, smooth

_BLOCK = 8


def _shape(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


@dataclass(frozen=True)
class Noise:
    """Additive grain."""

    deviation: Range = (0.01, 0.12)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        return (image + draws.uniform(self.deviation) * draws.normal(1, *_shape(image))).clamp(0, 1)


@dataclass(frozen=True)
class Blur:
    """Defocus, from a trace to about 3 pixels."""

    amount: Range = (0.3, 1.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        near, far = blur_slightly(image), smooth(image, 2)
        return torch.lerp(image, torch.lerp(near, far, draws.uniform((0.0, 1.0))), draws.uniform(self.amount))


@dataclass(frozen=True)
class Gamma:
    """Another exposure: a power of the grey value, sometimes inverted."""

    logarithm: Range = (-0.7, 0.7)
    inverted: float = 0.15

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        bent = image.clamp(min=1e-4) ** draws.uniform(self.logarithm).exp()
        return torch.lerp(bent, 1 - bent, draws.chance(self.inverted))


@dataclass(frozen=True)
class Blocks:
    """Lossy compression: cosine coefficients of 8×8 blocks rounded, the higher the coarser."""

    coarseness: Range = (0.02, 0.15)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        height, width = _shape(image)
        wide = pad(image, (0, -width % _BLOCK, 0, -height % _BLOCK), mode="replicate")
        tall = wide.view(len(image), wide.shape[2] // _BLOCK, _BLOCK, -1, _BLOCK).transpose(2, 3)
        cosines = _cosines(image.device)
        order = torch.arange(_BLOCK, device=image.device)
        step = draws.uniform(self.coarseness)[..., None] * (1 + order[:, None] + order) / 2
        rounded = ((cosines @ tall @ cosines.T) / step).round() * step
        back = (cosines.T @ rounded @ cosines).transpose(2, 3).reshape(wide.shape)
        return back[..., :height, :width].clamp(0, 1)


def _cosines(device: torch.device) -> Tensor:
    """Return the orthonormal cosine transform of 8 values, rows by frequency."""
    order = torch.arange(_BLOCK, device=device)
    rows = torch.cos(math.pi / _BLOCK * (order + 0.5) * order[:, None]) * math.sqrt(2 / _BLOCK)
    rows[0] *= math.sqrt(0.5)
    return rows


@dataclass(frozen=True)
class UnevenContrast:
    """Light and contrast that differ from place to place: haze, vignetting, sun glint, antenna pattern."""

    light: Range = (0.05, 0.3)
    contrast: Range = (0.1, 0.6)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        bright = draws.uniform(self.light) * draw_field(draws, _shape(image), 2)
        gain = torch.exp(draws.uniform(self.contrast) * draw_field(draws, _shape(image), 3))
        middle = image.mean(dim=(1, 2, 3), keepdim=True)
        return ((image - middle) * gain + middle + bright).clamp(0, 1)


@dataclass(frozen=True)
class Occlusion:
    """Patches that show something else: a flat tone of their own."""

    threshold: Range = (1.4, 2.2)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        hidden = (draw_field(draws, _shape(image), 6, octaves=2) > draws.uniform(self.threshold)).float()
        return torch.lerp(image, draws.uniform((0.0, 1.0)).expand_as(image), hidden)


@dataclass(frozen=True)
class Clouds:
    """Bright, soft, partly transparent clouds and their shadows beside them."""

    cover: Range = (0.6, 1.6)
    opacity: Range = (0.4, 1.0)

    def __call__(self, image: Tensor, draws: Draws) -> Tensor:
        """Return the images so disturbed."""
        lumps = draw_field(draws, _shape(image), 3, octaves=4)
        thick = ((lumps - draws.uniform(self.cover)) * 1.5).clamp(0, 1) * draws.uniform(self.opacity)
        away = max(image.shape[-1] // 16, 1)
        shadow = 0.5 * thick.roll((away, away), (-2, -1))
        return torch.lerp(image * (1 - shadow), torch.full_like(image, 0.97), thick)
