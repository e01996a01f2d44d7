"""A downstream task as the training loop knows it, and its figures beside the trivial answer's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from infra.digests import sha256_of_file, sha256_of_json
from models.downstream.config import DownstreamConfig, PyramidConfig, find_config, is_as_filed
from models.downstream.lessons import Batch, draw_batch, show_only
from models.downstream.network import DownstreamNetwork
from models.downstream.pyramids import build_pyramid
from models.downstream.signatures import describe_signature
from models.downstream.task import Answer, Figures, Task
from models.downstream.tasks import find_task
from models.mars.presets import PRESETS as MARS_PRESETS
from models.training.batches import move_batch
from models.training.config import TrainingConfig
from models.training.trainable import ModelFacts

HELD_OUT_SEED = 50_021
"""Of the places that every downstream result is measured on, once, after the training."""
_CHOOSING_SEED = 40_009
"""Of the places by which a training chooses its best weights; figures on them flatter."""
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
                "radar, with what lies there as the truth.",
                f"The {pyramid.name} pyramid began from {_name_origin(pyramid)}.",
            ),
            validation=f"{task.headline} on {lessons.held_out * lessons.chips} chips of "
            f"{lessons.size_px} px of places that no training draws, by which the best weights were chosen; "
            "terraloom evaluate downstream measures on others.",
            signature=describe_signature(task.name, pyramid.name),
            limits=("The task was learned on drawn places alone: fit it to one's own before use.",),
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
        """Measure the task on the places by which the best weights are chosen."""
        return self._measure_on(_CHOOSING_SEED, module, device)

    def measure_held_out(self, module: nn.Module, device: torch.device) -> Figures:
        """Measure the task on places that neither taught nor chose anything."""
        return self._measure_on(HELD_OUT_SEED, module, device)

    def _measure_on(self, seed: int, module: nn.Module, device: torch.device) -> Figures:
        batches = [move_batch(batch, device) for batch in _draw_places(self.config, seed)]
        return measure(self.task, module, batches)

    def measure_trivial(self, seed: int) -> Figures:
        """Measure on the held-out places what the task answers without features.

        Args:
            seed: of the training, whose first batches the few figures it needs are taken from.
        """
        place, lessons = self.task.place, self.config.lessons
        learned = [
            draw_batch(place, lessons, seed, index, held_out=False) for index in range(_TRIVIAL_BATCHES)
        ]
        return self.task.measure(self.task.learn_trivial(learned), _draw_places(self.config, HELD_OUT_SEED))


def _name_origin(pyramid: PyramidConfig) -> str:
    if pyramid.weights == "fresh" or pyramid.name not in MARS_PRESETS:
        return "random weights or none"
    if pyramid.weights:
        return f"weights with the SHA-256 {sha256_of_file(Path(pyramid.weights))}: its card holds here too"
    return f"the weights that come with {pyramid.name}: its card holds here too"


@lru_cache(maxsize=4)
def _draw_places(config: DownstreamConfig, seed: int) -> tuple[Batch, ...]:
    place = find_task(config.task).place
    return tuple(
        draw_batch(place, config.lessons, seed, index, held_out=True)
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
