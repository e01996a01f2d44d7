"""A model that learns a line's slope and offset in a second: the smallest thing to train for real."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from models.training.config import TrainingConfig
from models.training.trainable import ArrayFacts, ModelFacts, ModelSignature


@dataclass(frozen=True)
class LineBatch:
    """Points of a line, float32 (n, 4) and (n, 1)."""

    x: torch.Tensor
    y: torch.Tensor


class LineModel:
    """Fits a noisy plane over four numbers by two layers with dropout."""

    name = "line"
    facts = ModelFacts(
        title="Line",
        summary="Four numbers in, one out.",
        data=("points drawn from a seed, nobody's property",),
        validation="mean squared error on 256 points of another seed",
        signature=ModelSignature(
            architecture="two layers",
            tasks=("regression",),
            inputs=(
                ArrayFacts(name="x", description="four numbers", axes=("batch", "value"), shape=(-1, 4)),
            ),
            outputs=(ArrayFacts(name="y", description="a plane", axes=("batch", "value"), shape=(-1, 1)),),
        ),
    )

    def __init__(self, break_at: int | None = None, defaults: TrainingConfig | None = None) -> None:
        self._break_at = break_at
        self.defaults = defaults or TrainingConfig(
            steps=40, learning_rate=0.02, warmup_steps=5, evaluate_every=10, threads=1
        )

    def build(self, seed: int) -> nn.Module:
        """Return the network, with its weights drawn from the seed."""
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.Dropout(0.1), nn.GELU(), nn.Linear(16, 1))

    def batch(self, seed: int, step: int, device: torch.device) -> LineBatch:
        """Draw 16 points."""
        batch = _draw_points(seed, step, 16)
        if step == self._break_at:
            batch.x[0, 0] = torch.nan
        return LineBatch(batch.x.to(device), batch.y.to(device))

    def loss(self, module: nn.Module, batch: LineBatch) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:
        """Return the mean squared error, and the mean absolute one beside it."""
        error = module(batch.x).float() - batch.y
        return error.square().mean(), {"absolute": error.abs().mean()}

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure on points that no batch holds."""
        points = _draw_points(1_000_003, 0, 256)
        error = float((module(points.x.to(device)).float().cpu() - points.y).square().mean())
        return {"error": error, "score": -error}


class DropFreeLineModel(LineModel):
    """The same without dropout: what its gradients are does not hang on the order of random numbers."""

    def build(self, seed: int) -> nn.Module:
        """Return the network, with its weights drawn from the seed."""
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.GELU(), nn.Linear(16, 1))


def _draw_points(seed: int, step: int, count: int) -> LineBatch:
    rng = np.random.default_rng([seed, step])
    x = rng.normal(size=(count, 4)).astype(np.float32)
    y = (
        x @ np.array([1.0, -2.0, 0.5, 3.0], np.float32)
        + 0.7
        + 0.01 * rng.normal(size=count).astype(np.float32)
    )
    return LineBatch(torch.from_numpy(x), torch.from_numpy(y[:, None].astype(np.float32)))


def line_model() -> LineModel:
    """Make the model, as the registry names it."""
    return LineModel()


def steady_line_model() -> LineModel:
    """Make the one without dropout."""
    return DropFreeLineModel()


def breaking_line_model() -> LineModel:
    """Make one whose 24th batch holds what is no number."""
    return LineModel(break_at=23)


def often_kept_line_model() -> LineModel:
    """Make one that trains for 400 steps and keeps every fifth."""
    often = TrainingConfig(
        steps=400, learning_rate=0.02, evaluate_every=100, checkpoint_minutes=0, log_every=5, threads=1
    )
    return LineModel(defaults=often)
