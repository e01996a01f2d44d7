"""What a training says about itself: while it runs, on a terminal, and at its end."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from pydantic import BaseModel, ConfigDict
from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from catalog.trained_models import TrainingPlan, TrainingReceipt
from flows.terminal import keep_logs_off_terminal
from infra.logging import follow_progress
from models.training.history import TrainingEvent, from_line
from tasks.train_model import TrainedModel

_CONSOLE = Console(stderr=True)
_BARS = "▁▂▃▄▅▆▇█"
_CURVE_WIDTH = 60


class TrainSummary(BaseModel):
    """Tell what a run trained; the one object that ``--json`` prints."""

    model_config = ConfigDict(frozen=True)

    run: str = ""
    """Name of the run; its records lie in ``runs/<name>/`` of the store."""
    store: str = ""
    catalogue: str | None = None
    """Where its item is; None while it is not published."""
    chips: str | None = None
    """Folder of chips that was named; ``--resume`` needs it again."""
    start: str | None = None
    """File of weights that was named, likewise."""
    item: str | None = None
    """Id of the model's item, and of the product; None while the training is not over."""
    training: str
    """Name of the training; what ``--resume`` takes."""
    model: str
    steps: int
    """Steps done, all sessions together."""
    planned_steps: int
    finished: bool
    reused: bool
    """Whether the model stood already, and nothing was trained."""
    best_step: int
    figures: dict[str, float]
    """What the model's own evaluation says of the weights that were kept."""
    device: str
    trained_seconds: float
    """Wall clock of the training, all sessions together."""
    seconds: float = 0.0
    """Wall clock of this run."""
    bytes_written: int = 0
    result: str
    """Folder with weights, card, history and curve: a path or ``s3://`` URI."""

    @classmethod
    def of_standing(cls, plan: TrainingPlan, receipt: TrainingReceipt, place: str) -> Self:
        """Sum up a model that stands already."""
        return cls(
            training=plan.id,
            model=plan.model,
            steps=receipt.steps,
            planned_steps=receipt.steps,
            finished=True,
            reused=True,
            best_step=receipt.best_step,
            figures=receipt.figures,
            device=receipt.device,
            trained_seconds=receipt.seconds,
            result=place,
        )

    @classmethod
    def of_trained(cls, plan: TrainingPlan, trained: TrainedModel) -> Self:
        """Sum up a session of training."""
        outcome = trained.outcome
        return cls(
            training=plan.id,
            model=plan.model,
            steps=outcome.steps,
            planned_steps=int(plan.config["steps"]),
            finished=outcome.finished,
            reused=False,
            best_step=outcome.best_step,
            figures={name: value for name, value in outcome.figures.items() if math.isfinite(value)},
            device=outcome.device,
            trained_seconds=outcome.seconds,
            bytes_written=trained.bytes_written,
            result=trained.place,
        )


def print_training(summary: TrainSummary) -> None:
    """Print what a run trained, for a person."""
    done = "stood already" if summary.reused else "trained" if summary.finished else "stopped, time is up"
    lines = [
        f"{summary.model}: {done}; {summary.steps:,} of {summary.planned_steps:,} steps in "
        f"{summary.trained_seconds / 60:.1f} minutes on {summary.device}",
        "figures    " + ", ".join(f"{name} {value:.4g}" for name, value in summary.figures.items()),
        f"result     {summary.result}",
    ]
    if summary.item is not None:
        lines += [f"item       {summary.item}", f"catalogue  {summary.catalogue}"]
    if not summary.finished:
        named = {"chips": summary.chips, "start": summary.start}
        again = "".join(f" --{name} {value}" for name, value in named.items() if value is not None)
        lines.append(
            f"go on      terraloom train {summary.model} --resume {summary.training} --store {summary.store}"
            f"{again}"
        )
    for line in lines:
        Console().print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def watching_training(*, quiet: bool) -> Iterator[None]:
    """Show a training on standard error while the block lasts; nothing when quiet or not on a terminal."""
    keep_logs_off_terminal()
    if quiet or not _CONSOLE.is_terminal:
        yield
        return
    display = TrainingDisplay()
    with Live(display, console=_CONSOLE, transient=True, refresh_per_second=4):
        follow_progress(display)
        yield


class TrainingDisplay(logging.Handler):
    """Draws a training: a bar, the latest numbers, the losses' course, the latest evaluation."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns)
        self._task = self._bar.add_task("training", total=None)
        self._losses: list[float] = []
        self._step: TrainingEvent | None = None
        self._evaluation: TrainingEvent | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Take one record in."""
        if getattr(record, "stage", "") != "train":
            return
        event = from_line(str(getattr(record, "unit", "")))
        if event.kind == "step":
            self._step = event
            self._losses.append(event.values["loss"])
            self._bar.update(self._task, total=event.steps, completed=event.step)
        elif event.kind == "evaluation":
            self._evaluation = event

    def __rich__(self) -> Group:
        """Draw what is known now."""
        parts: list[Progress | Table | Text] = [self._bar]
        if self._losses:
            parts.append(Text(f"loss     {spark(self._losses)} {self._losses[-1]:.4g}"))
        for name, event in (("step", self._step), ("figures", self._evaluation)):
            if event is not None:
                values = "  ".join(
                    f"{key} {value:.4g}" for key, value in event.values.items() if key != "loss"
                )
                parts.append(Text(f"{name:<8} {values}"))
        return Group(*parts)


def spark(values: list[float], width: int = _CURVE_WIDTH) -> str:
    """Draw numbers as a line of bars, each the mean of its part of them; what is not finite is left out."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    count = min(width, len(finite))
    edges = [len(finite) * i // count for i in range(count + 1)]
    means = [sum(finite[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(_BARS[min(int((mean - low) / span * len(_BARS)), len(_BARS) - 1)] for mean in means)
