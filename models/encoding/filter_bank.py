"""An encoder that nobody trained: brightness, contrast and edges of every band at a few scales.

It needs no weights and is what a trained encoder has to beat.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from infra.errors import InputError
from models.encoding.encoder import MODALITIES

_FEATURES = 5
_CONTEXT = 7  # cells


class FilterBank:
    """Gives each cell of 4 × 4 pixels five numbers for each band; 0 for a modality that is missing.

    They are the mean of its pixels, their deviation around it, the mean step to the next pixel across and
    down, and the mean over 7 × 7 cells.
    """

    name = "filters"
    width = _FEATURES * sum(MODALITIES.values())
    stride_px = 4
    window_px = 128

    def encode(self, images: Mapping[str, Tensor]) -> Tensor:
        """Encode a batch of windows; see ``models.encoding.encoder.DenseEncoder``."""
        given = next(iter(images.values()), None)
        if given is None:
            raise InputError(f"nothing is given to encode; give {' or '.join(MODALITIES)}")
        batch, _, height, width = given.shape
        parts = [
            self._describe(images[name])
            if name in images
            else given.new_zeros(
                (batch, bands * _FEATURES, height // self.stride_px, width // self.stride_px)
            )
            for name, bands in MODALITIES.items()
        ]
        return torch.cat(parts, dim=1)

    def _describe(self, image: Tensor) -> Tensor:
        mean = functional.avg_pool2d(image, self.stride_px)
        square = functional.avg_pool2d(image * image, self.stride_px)
        deviation = (square - mean * mean).clamp_min(0).sqrt()
        steps = [self._step(image, dim) for dim in (2, 3)]
        wide = functional.avg_pool2d(mean, _CONTEXT, stride=1, padding=_CONTEXT // 2, count_include_pad=False)
        return torch.cat([mean, deviation, *steps, wide], dim=1)

    def _step(self, image: Tensor, dim: int) -> Tensor:
        # The last pixel has no next one; its step counts as none.
        last = image.narrow(dim, image.shape[dim] - 1, 1)
        return functional.avg_pool2d(torch.diff(image, dim=dim, append=last).abs(), self.stride_px)
