"""What the training loop asks of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from models.training.config import TrainingConfig

SCORE = "score"
"""The entry of an evaluation by which the best weights are chosen; higher is better."""


@dataclass(frozen=True, kw_only=True)
class ArrayFacts:
    """Describe one array that a model takes or gives, in the words of STAC's MLM extension."""

    name: str
    description: str
    axes: tuple[str, ...]
    """Names of its axes in order, e.g. ``("bands", "height", "width")``; lower-case letters."""
    shape: tuple[int, ...]
    """One length per axis; -1 for any."""
    dtype: str = "float32"
    bands: tuple[str, ...] = ()
    """Along the axis ``bands``, in order; none, and no such axis, where any will do."""
    scaling: tuple[Mapping[str, float | str], ...] = ()
    """What is done to its values beforehand: MLM's value scaling objects, one for all bands or one each, e.g.
    ``{"type": "z-score", "mean": 0.1, "stddev": 0.05}``."""
    prepared_by: str | None = None
    """``module:function`` of this project that makes it of raw pixels."""


@dataclass(frozen=True, kw_only=True)
class ModelSignature:
    """Say what kind of network a model is, what goes in and what comes out."""

    architecture: str
    tasks: tuple[str, ...]
    """Of MLM's list, e.g. ``regression``, ``semantic-segmentation``, ``similarity-search``."""
    inputs: tuple[ArrayFacts, ...]
    outputs: tuple[ArrayFacts, ...]


@dataclass(frozen=True, kw_only=True)
class ModelStart:
    """Name the trained model whose weights another one goes on from."""

    name: str
    sha256: str
    """Of its file of weights; 64 hexadecimal digits."""


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """Say what a model is and what it learns from, for its card."""

    title: str
    summary: str
    """One or two sentences: what goes in, what comes out, how it works."""
    data: tuple[str, ...]
    """What it is trained on, one source a line, with licences."""
    validation: str
    """What ``evaluate`` measures, and on what."""
    signature: ModelSignature
    start: ModelStart | None = None
    """Whose weights it goes on from; None for fresh ones, drawn from the seed."""
    licence: str = "Apache-2.0"
    limits: tuple[str, ...] = ()
    """Where it is not to be trusted."""


class Trainable(Protocol):
    """A model with the data and the loss it learns by.

    The same (seed, index) must give the same batch in any process and in any order: resuming to the same
    curve, and sharing batches among processes, rest on it. Random numbers drawn in ``loss`` may come from
    torch's global generator, which the loop seeds anew before every batch.
    """

    @property
    def name(self) -> str:
        """The name the model is trained by."""

    @property
    def defaults(self) -> TrainingConfig:
        """The training that suits the model."""

    @property
    def facts(self) -> ModelFacts:
        """What its card says of it."""

    def build(self, seed: int) -> nn.Module:
        """Return the module with fresh weights, on the CPU; the same seed gives the same weights."""

    def batch(self, seed: int, step: int, device: torch.device) -> Any:  # noqa: ANN401 - the model's own kind
        """Make a batch.

        Args:
            seed: The training's.
            step: Which batch of the training; 0 and up, each is used once.
            device: Where its tensors should lie; those on the CPU are moved there by the loop. Tensors may
                be nested in lists, tuples, dictionaries and dataclasses.
        """

    def loss(self, module: nn.Module, batch: Any) -> tuple[torch.Tensor, Mapping[str, torch.Tensor]]:  # noqa: ANN401
        """Return the loss, a scalar, and its named parts, scalars; the same names for every batch."""

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure the module on held-out data, in evaluation mode and without gradients.

        ``score``, if there is one, says which weights are the best; else the last ones are.
        """
