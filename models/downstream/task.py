"""What a downstream task is: chips in, a loss to learn by, an answer, and figures that say how good it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from models.downstream.lessons import Batch, LessonConfig, PlaceDraws

Answer: TypeAlias = Any
"""A task's own kind: class maps, heights, pictures, boxes, tie points."""
Predict: TypeAlias = Callable[[Batch], Answer]
"""Answers a batch, from its views alone."""
Figures: TypeAlias = dict[str, float]
"""Name → number; ``score`` among them, higher is better."""


class Task(Protocol):
    """One of the nine."""

    @property
    def name(self) -> str:
        """The word it is asked for by."""

    @property
    def title(self) -> str:
        """What goes in and what comes out, one line."""

    @property
    def headline(self) -> str:
        """The figure a table shows, and the name of one that ``measure`` returns."""

    @property
    def trivial_name(self) -> str:
        """What the trivial answer is, a few words."""

    def place(self, config: LessonConfig, draws: PlaceDraws) -> Batch:
        """Make four chips of one drawn place."""

    def make_head(self, width: int) -> nn.Module:
        """Return a head: from one map (batch, width, height / 4, width / 4) of each view to a tensor."""

    def loss(self, output: Tensor, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what a head's output is to be made better by, a scalar, and its named parts."""

    def answer(self, output: Tensor) -> Answer:
        """Return what a head's output says, on the CPU."""

    def learn_trivial(self, lessons: Sequence[Batch]) -> Predict:
        """Return what can be answered from a few figures about the lessons, without features."""

    def measure(self, predict: Predict, batches: Sequence[Batch]) -> Figures:
        """Compare answers with the truth, all batches together."""
