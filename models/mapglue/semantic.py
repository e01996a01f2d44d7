"""Semantic context of keypoints: what kind of ground they lie on, from a coarse map."""

# No postponed annotations: TorchScript reads types, not their names.

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SemanticMap(Protocol):
    """Anything that says coarsely what images show, such as a frozen foundation model.

    The extractors have one of their own; another one is given to the network as an ``nn.Module``.
    """

    width: int

    def __call__(self, grey: Tensor) -> Tensor:
        """Return float32 (batch, width, h, w) for images float32 (batch, 1, height, width)."""


def sample_map(maps: Tensor, xy: Tensor, shape: list[int]) -> Tensor:
    """Return a map's values at pixels of the image it stretches over, bilinearly.

    Args:
        maps: float32 (batch, channels, h, w).
        xy: float32 (batch, n, 2), pixels (x, y) of the image.
        shape: the image's height and width.

    Returns:
        float32 (batch, n, channels).
    """
    size = torch.tensor([shape[1], shape[0]], device=xy.device, dtype=xy.dtype)
    grid = (2 * xy + 1) / size - 1  # centres of pixels at whole numbers, edges of the image at ±1
    sampled = F.grid_sample(maps, grid[:, :, None], padding_mode="border", align_corners=False)
    return sampled[..., 0].transpose(1, 2)


class SemanticContext(nn.Module):
    """Adds the semantic map's answer to descriptors through a gate; starts by adding nothing."""

    def __init__(self, semantic_width: int, width: int) -> None:
        super().__init__()
        self.project = nn.Linear(semantic_width, width)
        self.gate = nn.Linear(2 * width, width)
        nn.init.zeros_(self.project.weight)
        nn.init.zeros_(self.project.bias)

    def forward(self, descriptors: Tensor, semantic: Tensor) -> Tensor:
        """Return descriptors (batch, n, width) that know their surroundings (batch, n, semantic width)."""
        context = self.project(semantic)
        gate = torch.sigmoid(self.gate(torch.cat([descriptors, context], dim=-1)))
        known: Tensor = descriptors + gate * context
        return known
