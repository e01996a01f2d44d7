"""How many parameters the parts of a preset have, counted without making them."""

from __future__ import annotations

import torch
from torch import nn

from models.mars.config import MarsConfig
from models.mars.network import Mars


def count_parameters(config: MarsConfig) -> dict[str, int]:
    """Return the parameters of each part of the network, by its name, and of its ``teacher``.

    The teacher, an optical encoder of the same make, is there in pretraining only.
    """
    with torch.device("meta"):
        network = Mars(config)
    parts = {name: _count(part) for name, part in network.named_children()}
    alone = sum(parameter.numel() for parameter in network.parameters(recurse=False))
    return {**parts, "temperature": alone, "teacher": parts["encoder_rgb"]}


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
