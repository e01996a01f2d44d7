"""How good a downstream task gets on held-out places, beside the trivial answer."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from infra.errors import ConfigError, DataError
from models.downstream.config import parse_config
from models.downstream.labelled import DataConfig
from models.downstream.learner import DownstreamLearner
from models.downstream.task import Figures
from models.mars.checkpoint import read_state
from models.training.checkpoints import Tensors, encode_weights, half_weights, read_facts
from models.training.history import Progress, ignore_progress
from models.training.loop import result_tensors, train
from models.training.steps import Team
from models.training.trainable import SCORE

WEIGHTS_NAME = "weights.safetensors"
"""Of a training's result, in its folder."""
_CONFIG = "downstream"


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """What came out of a task.

    Attributes:
        task: its name.
        title: what goes in and what comes out.
        data: what the figures are of.
        pyramid: features it was trained over; tuned or frozen.
        headline: the figure to look at.
        figures: of the network, on held-out places.
        trivial: of the trivial answer, on the same places.
        trivial_name: what that is.
        seed: of weights and lessons.
        steps: of training; 0 where the weights were given.
        chips: measured on.
        device: where.
        seconds: training and measuring.
    """

    task: str
    title: str
    data: str
    pyramid: str
    headline: str
    figures: Figures
    trivial: Figures
    trivial_name: str
    seed: int
    steps: int
    chips: int
    device: str
    seconds: float

    @property
    def better(self) -> bool:
        """Whether the network beats the trivial answer."""
        return self.figures[SCORE] > self.trivial[SCORE]


def train_task(
    learner: DownstreamLearner, folder: Path, device: torch.device, progress: Progress = ignore_progress
) -> TaskResult:
    """Train a task as its configuration says, measure the result and keep it as ``weights.safetensors``.

    Args:
        learner: the task.
        folder: where checkpoints go; what it holds is gone on with.
        device: where to train and measure.
        progress: follows the training.

    Raises:
        InputError: the folder holds another training.
        DataError: the loss is not finite any more.
        ConfigError: the disk is full.
    """
    started = time.perf_counter()
    outcome = train(learner, learner.defaults, folder, Team(device), progress=progress)
    weights = half_weights(result_tensors(folder))
    module = learner.build_bare()
    module.load_state_dict(weights)  # as they are kept
    _keep(learner, weights, folder / WEIGHTS_NAME)
    figures = learner.measure_held_out(module.to(device), device)
    return _tell(learner, figures, outcome.steps, outcome.device, started)


def measure_task(learner: DownstreamLearner, weights: Path, device: torch.device) -> TaskResult:
    """Measure a task with weights that a training left.

    Raises:
        NotFoundError: there is no such file.
        DataError: the weights are not those of this task and configuration.
    """
    started = time.perf_counter()
    module = load_network(learner, weights).to(device)
    return _tell(learner, learner.measure_held_out(module, device), 0, str(device), started)


def load_network(learner: DownstreamLearner, weights: Path) -> nn.Module:
    """Return a task's network with weights from a file, on the CPU.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is unreadable, or its tensors are not those of this task and configuration.
    """
    module = learner.build_bare()
    state = read_state(weights)
    _check_fit(learner, state, module.state_dict(), weights)
    module.load_state_dict(state)
    return module.eval()


def override_config(
    learner: DownstreamLearner,
    *,
    pyramid: str | None,
    tuned: bool,
    training: Mapping[str, int | None],
    data: str | None = None,
    test: str | None = None,
) -> DownstreamLearner:
    """Return a learner with another pyramid, other training numbers or another set; None changes nothing.

    Raises:
        InputError: a number is out of range, or a set lacks what is to be learned from or measured on.
    """
    config = learner.config
    chosen = config.pyramid
    if pyramid is not None:
        chosen = dataclasses.replace(chosen, name=pyramid, weights="")
    if not tuned:
        chosen = dataclasses.replace(chosen, tuned=False)
    labelled = config.data
    if data is not None or test is not None:
        named = labelled or DataConfig(train=data or "", test=test or "")
        labelled = dataclasses.replace(named, train=data or named.train, test=test or named.test)
    changed = dataclasses.replace(
        config, pyramid=chosen, training=config.training.override(training), data=labelled
    )
    return dataclasses.replace(learner, config=changed)


def read_learner(weights: Path) -> DownstreamLearner | None:
    """Return the learner, on drawn places, whose configuration stands in a file of weights; None for none.

    Raises:
        NotFoundError: there is no such file.
        InputError: the configuration does not fit this version.
    """
    stated = read_facts(weights).get(_CONFIG)
    if not isinstance(stated, dict):
        return None
    return DownstreamLearner(parse_config(stated, str(weights)))


def _keep(learner: DownstreamLearner, weights: Tensors, path: Path) -> None:
    """Write weights with the pyramid and the decoder they are of."""
    config = learner.config
    told = {
        "task": config.task,
        "pyramid": dataclasses.asdict(dataclasses.replace(config.pyramid, weights="")),
        "decoder": dataclasses.asdict(config.decoder),
    }
    content = encode_weights(weights, {"name": learner.name, _CONFIG: told})
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as exc:
        raise ConfigError(f"{path} cannot be written ({exc}); free some room and ask again.") from exc


def _check_fit(
    learner: DownstreamLearner, state: Mapping[str, Tensor], own: Mapping[str, Tensor], weights: Path
) -> None:
    wrong = sorted(state.keys() ^ own.keys())
    wrong += [name for name in own if name in state and state[name].shape != own[name].shape]
    if wrong:
        raise DataError(
            f"{weights} does not fit {learner.name} over {learner.config.pyramid.name}: {len(wrong)} "
            f"tensors are absent, unknown or of another shape, {wrong[0]!r} first; give the configuration it "
            "was trained by."
        )
    broken = [name for name, value in state.items() if not bool(value.isfinite().all())]
    if broken:
        raise DataError(f"{weights} holds numbers that are not finite in {broken[0]!r}; train it anew.")


def _tell(
    learner: DownstreamLearner, figures: Figures, steps: int, device: str, started: float
) -> TaskResult:
    config, task, lessons = learner.config, learner.task, learner.lessons
    return TaskResult(
        task=task.name,
        title=task.title,
        data=lessons.source,
        pyramid=f"{config.pyramid.name}, {'tuned' if config.pyramid.tuned else 'frozen'}",
        headline=task.headline,
        figures=figures,
        trivial=learner.measure_trivial(config.training.seed),
        trivial_name=task.trivial_name,
        seed=config.training.seed,
        steps=steps,
        chips=sum(map(len, lessons.to_measure())),
        device=device,
        seconds=time.perf_counter() - started,
    )
