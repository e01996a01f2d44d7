"""A downstream task as the training loop knows it, and its figures beside the trivial answer's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from infra.digests import sha256_of_json
from models.downstream.config import DownstreamConfig, find_config, is_as_filed
from models.downstream.lessons import Batch, draw_batch, show_only
from models.downstream.network import DownstreamNetwork
from models.downstream.pyramids import build_pyramid
from models.downstream.signatures import describe_signature
from models.downstream.task import Answer, Figures, Task
from models.downstream.tasks import find_task
from models.training.batches import move_batch
from models.training.config import TrainingConfig
from models.training.trainable import ModelFacts

HELD_OUT_SEED = 40_009
"""Of the places that every downstream training is measured on."""
_TRIVIAL_BATCHES = 6
_HIDING = 7


@dataclass(frozen=True)
class DownstreamLearner:
    """A task with its lessons and the network it trains.

    Attributes:
        config: what ``config/downstream`` says.
    """

    config: DownstreamConfig

    @property
    def task(self) -> Task:
        """What is learned.

        Raises:
            InputError: there is no such task.
        """
        return find_task(self.config.task)

    @property
    def name(self) -> str:
        """The registry's, with a digest where more than the training's numbers differs from the task's file.

        A training of another pyramid or of other lessons is another, and takes up no folder of this one.
        """
        plain = f"downstream-{self.config.task}"
        if is_as_filed(self.config):
            return plain
        rest = {name: value for name, value in dataclasses.asdict(self.config).items() if name != "training"}
        return f"{plain}-{sha256_of_json(rest)[:8]}"

    @property
    def defaults(self) -> TrainingConfig:
        """The training that the configuration asks for."""
        return self.config.training

    @property
    def facts(self) -> ModelFacts:
        """What the card says."""
        task, lessons, pyramid = self.task, self.config.lessons, self.config.pyramid
        return ModelFacts(
            title=f"{task.name} over {pyramid.name} features",
            summary=f"{task.title}. A {self.config.decoder.name} decoder and a small head over the "
            f"{pyramid.name} pyramid, which is {'tuned' if pyramid.tuned else 'frozen'}.",
            data=(
                "Procedural places drawn by models/modality from the training's seed, shown by day and to a "
                "radar, with what lies there as the truth. No real image, so no licence but this project's.",
            ),
            validation=f"{task.headline} on {lessons.held_out * lessons.chips} chips of "
            f"{lessons.size_px} px of places that no training draws.",
            signature=describe_signature(task.name, pyramid.name),
            limits=("Never saw a real image while learning: fit it to one's own before use.",),
        )

    def build(self, seed: int) -> nn.Module:
        """Return the network, with fresh weights where none are given."""
        torch.manual_seed(seed)
        config = self.config
        head = self.task.make_head(config.decoder.width)
        pyramid = build_pyramid(config.pyramid)
        return DownstreamNetwork(
            pyramid, config.decoder.name, config.decoder.width, head, tuned=config.pyramid.tuned
        )

    def batch(self, seed: int, step: int, device: torch.device) -> Batch:
        """Make a batch; on the CPU, so that every device learns from the same."""
        del device  # the loop moves it
        lessons = self.config.lessons
        batch = draw_batch(self.task.place, lessons, seed, step, held_out=False)
        generator = np.random.default_rng([seed, step, _HIDING])
        both = all(image is not None for view in batch.views for image in view)
        if both and generator.uniform() < lessons.missing:
            return show_only(batch, ("rgb", "sar")[int(generator.integers(2))])
        return batch

    def loss(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what the task's output is to be made better by."""
        return self.task.loss(module(batch.views), batch)

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure the task on held-out places."""
        batches = [move_batch(batch, device) for batch in _held_out(self.config)]
        return measure(self.task, module, batches)

    def measure_trivial(self, seed: int) -> Figures:
        """Measure on the same places what the task answers without features.

        Args:
            seed: of the training, whose first batches the few figures it needs are taken from.
        """
        place, lessons = self.task.place, self.config.lessons
        learned = [
            draw_batch(place, lessons, seed, index, held_out=False) for index in range(_TRIVIAL_BATCHES)
        ]
        return self.task.measure(self.task.learn_trivial(learned), _held_out(self.config))


@lru_cache(maxsize=2)
def _held_out(config: DownstreamConfig) -> tuple[Batch, ...]:
    place = find_task(config.task).place
    return tuple(
        draw_batch(place, config.lessons, HELD_OUT_SEED, index, held_out=True)
        for index in range(config.lessons.held_out)
    )


def measure(task: Task, module: nn.Module, batches: Sequence[Batch]) -> Figures:
    """Return a task's figures of a network, whose mode is left as it was."""

    def predict(batch: Batch) -> Answer:
        return task.answer(module(batch.views))

    with _evaluating(module), torch.no_grad():
        return task.measure(predict, batches)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    before = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(before)


def learner_of(task: str) -> DownstreamLearner:
    """Return a task's learner by its file in ``config/downstream``.

    Raises:
        InputError: there is no such task, or its file does not fit.
        NotFoundError: it has no file.
    """
    find_task(task)
    return DownstreamLearner(find_config(task))
