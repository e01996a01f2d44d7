"""The learning rate's course, and which weights decay."""

from __future__ import annotations

import math

import torch
from torch import nn

from models.training.config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int) -> float:
    """Return the rate of a step (0 and up): a straight rise, then half a cosine down to the final rate.

    Source: Loshchilov and Hutter, SGDR, ICLR 2017, equation 5, without restarts.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    course = max(config.steps - 1 - config.warmup_steps, 1)
    part = min((step - config.warmup_steps) / course, 1.0)
    share = config.final_rate + (1 - config.final_rate) * (1 + math.cos(math.pi * part)) / 2
    return config.learning_rate * share


def make_optimiser(module: nn.Module, config: TrainingConfig) -> torch.optim.AdamW:
    """Return AdamW over the weights that learn; biases, norms and other single axes do not decay."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in learning if weight.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [weight for weight in learning if weight.ndim < 2], "weight_decay": 0.0},
    ]
    fused = any(weight.is_cuda for weight in learning)
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=config.learning_rate, fused=fused
    )
