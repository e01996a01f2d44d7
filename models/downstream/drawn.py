"""What a learner asks of its lessons, and the lessons of drawn places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from models.downstream.lessons import Batch, LessonConfig, draw_batch
from models.downstream.tasks import find_task

HELD_OUT_SEED = 50_021
"""Of the places that every downstream result is measured on, once, after the training."""
_CHOOSING_SEED = 40_009
"""Of the places by which a training chooses its best weights; figures on them flatter."""


class Lessons(Protocol):
    """Where batches come from."""

    @property
    def source(self) -> str:
        """What the figures are of, a few words."""

    @property
    def identity(self) -> str:
        """Tells these lessons from others that the configuration does not tell apart; may be empty."""

    @property
    def chooses(self) -> bool:
        """Whether ``to_choose`` shows what no lesson does, so that the best weights can be chosen by it."""

    def lesson(self, seed: int, index: int) -> Batch:
        """Make a batch to learn from, the same whatever was made before."""

    def to_choose(self) -> Sequence[Batch]:
        """Return batches to follow a training by."""

    def to_measure(self) -> Sequence[Batch]:
        """Return batches that neither taught nor chose anything."""


@dataclass(frozen=True)
class DrawnLessons:
    """Places that models/modality draws.

    Attributes:
        task: name of what is learned.
        config: how batches are made.
    """

    task: str
    config: LessonConfig
    source: str = "drawn places"
    identity: str = ""
    chooses: bool = True

    def lesson(self, seed: int, index: int) -> Batch:
        """Draw a batch to learn from."""
        return draw_batch(find_task(self.task).place, self.config, seed, index, held_out=False)

    def to_choose(self) -> Sequence[Batch]:
        """Return places by which the best weights are chosen."""
        return _draw_places(self.task, self.config, _CHOOSING_SEED)

    def to_measure(self) -> Sequence[Batch]:
        """Return places that neither taught nor chose anything."""
        return _draw_places(self.task, self.config, HELD_OUT_SEED)


@lru_cache(maxsize=4)
def _draw_places(task: str, config: LessonConfig, seed: int) -> tuple[Batch, ...]:
    place = find_task(task).place
    return tuple(draw_batch(place, config, seed, index, held_out=True) for index in range(config.held_out))
