"""A downstream task as the training loop knows it, and its figures beside the trivial answer's."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from infra.digests import sha256_of_file, sha256_of_json
from infra.errors import InputError
from models.downstream.config import DownstreamConfig, PyramidConfig, find_config
from models.downstream.drawn import DrawnLessons, Lessons
from models.downstream.lessons import Batch, show_only
from models.downstream.network import DownstreamNetwork
from models.downstream.pyramids import FRESH, build_pyramid
from models.downstream.signatures import describe_signature
from models.downstream.task import Answer, Figures, Task
from models.downstream.tasks import find_task, fit_task
from models.mars.presets import PRESETS as MARS_PRESETS
from models.training.batches import move_batch
from models.training.config import TrainingConfig
from models.training.trainable import SCORE, ModelFacts

_TRIVIAL_BATCHES = 6
_HIDING = 7


@dataclass(frozen=True)
class DownstreamLearner:
    """A task with its lessons and the network it trains.

    Attributes:
        config: what ``config/downstream`` says.
        labelled: lessons from the set that the configuration names; None for drawn places.
    """

    config: DownstreamConfig
    labelled: Lessons | None = None

    @property
    def task(self) -> Task:
        """What is learned.

        Raises:
            InputError: there is no such task, or it does not fit the labelled set.
        """
        return fit_task(find_task(self.config.task), self.config.data)

    @property
    def lessons(self) -> Lessons:
        """Where batches come from.

        Raises:
            InputError: the configuration names a labelled set that nobody has opened.
        """
        if self.labelled is not None:
            return self.labelled
        if self.config.data is not None:
            raise InputError(
                f"The configuration of {self.config.task} names labelled images in {self.config.data.train}; "
                "train it with terraloom evaluate downstream --config FILE, which opens them."
            )
        return DrawnLessons(self.config.task, self.config.lessons)

    @property
    def name(self) -> str:
        """The registry's, with a digest of all but the training's numbers.

        A training of another pyramid or of other lessons is another, and takes up no folder of this one;
        so is one after the task's file was edited.
        """
        rest = {name: value for name, value in dataclasses.asdict(self.config).items() if name != "training"}
        if self.labelled is not None:
            rest["labelled"] = self.labelled.identity
        return f"downstream-{self.config.task}-{sha256_of_json(rest)[:8]}"

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
                f"Lessons from {self.lessons.source}. Drawn places are procedural ones of models/modality by "
                "the training's seed, shown by day and to a radar, with what lies there as the truth.",
                f"The {pyramid.name} pyramid began from {_name_origin(pyramid)}.",
            ),
            validation=f"{task.headline} on {lessons.held_out * lessons.chips} chips of "
            f"{lessons.size_px} px of places that no training draws, by which the best weights were chosen; "
            "terraloom evaluate downstream measures on others.",
            signature=describe_signature(task.name, pyramid.name),
            limits=(f"The task was learned on {self.lessons.source} alone: fit it to one's own before use.",),
        )

    def build(self, seed: int) -> nn.Module:
        """Return the network, with fresh weights where none are given."""
        return self._build(seed, self.config.pyramid)

    def build_bare(self) -> nn.Module:
        """Return the network for weights that are set at once: none of the pyramid's are looked for."""
        pyramid = self.config.pyramid
        weights = FRESH if pyramid.name in MARS_PRESETS else pyramid.weights
        return self._build(0, dataclasses.replace(pyramid, weights=weights))

    def _build(self, seed: int, pyramid: PyramidConfig) -> nn.Module:
        torch.manual_seed(seed)
        decoder = self.config.decoder
        head = self.task.make_head(decoder.width)
        below = build_pyramid(pyramid)
        return DownstreamNetwork(below, decoder.name, decoder.width, head, tuned=pyramid.tuned)

    def batch(self, seed: int, step: int, device: torch.device) -> Batch:
        """Make a batch; on the CPU, so that every device learns from the same."""
        del device  # the loop moves it
        batch = self.lessons.lesson(seed, step)
        generator = np.random.default_rng([seed, step, _HIDING])
        both = all(image is not None for view in batch.views for image in view)
        if both and generator.uniform() < self.config.lessons.missing:
            return show_only(batch, ("rgb", "sar")[int(generator.integers(2))])
        return batch

    def loss(self, module: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Return what the task's output is to be made better by."""
        return self.task.loss(module(batch.views), batch)

    def evaluate(self, module: nn.Module, device: torch.device) -> dict[str, float]:
        """Measure the task on what follows a training; no score where lessons show the same places."""
        lessons = self.lessons
        figures = self._measure_on(lessons.to_choose(), module, device)
        return {name: value for name, value in figures.items() if lessons.chooses or name != SCORE}

    def measure_held_out(self, module: nn.Module, device: torch.device) -> Figures:
        """Measure the task on places that neither taught nor chose anything."""
        return self._measure_on(self.lessons.to_measure(), module, device)

    def _measure_on(self, batches: Sequence[Batch], module: nn.Module, device: torch.device) -> Figures:
        return measure(self.task, module, [move_batch(batch, device) for batch in batches])

    def measure_trivial(self, seed: int) -> Figures:
        """Measure on the held-out places what the task answers without features.

        Args:
            seed: of the training, whose first batches the few figures it needs are taken from.
        """
        task, lessons = self.task, self.lessons
        learned = [lessons.lesson(seed, index) for index in range(_TRIVIAL_BATCHES)]
        return task.measure(task.learn_trivial(learned), lessons.to_measure())


def _name_origin(pyramid: PyramidConfig) -> str:
    if pyramid.weights == "fresh" or pyramid.name not in MARS_PRESETS:
        return "random weights or none"
    if pyramid.weights:
        return f"weights with the SHA-256 {sha256_of_file(Path(pyramid.weights))}: its card holds here too"
    return f"the weights that come with {pyramid.name}: its card holds here too"


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
