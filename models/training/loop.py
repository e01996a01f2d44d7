"""Train a model: steps, evaluations and checkpoints, from wherever an earlier session stopped."""

from __future__ import annotations

import dataclasses
import fcntl
import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed

from infra.digests import sha256_of_json
from infra.errors import ConfigError, InputError, NotFoundError
from models.training.batches import batch_rows, make_batches
from models.training.checkpoints import (
    BEST_NAME,
    Marks,
    Tensors,
    half_weights,
    keep_best,
    keep_checkpoint,
    read_checkpoint,
    read_newest,
    restore_module,
    restore_optimiser,
)
from models.training.config import TrainingConfig
from models.training.devices import describe_device, repeatable, seed_torch
from models.training.history import (
    Kind,
    Progress,
    TrainingEvent,
    append_history,
    cut_history,
    ignore_progress,
)
from models.training.schedule import learning_rate
from models.training.steps import Learner, StepValues, Team, read_values
from models.training.tensorboard import Board, open_board
from models.training.trainable import SCORE, Trainable

logger = logging.getLogger(__name__)

_LOCK_NAME = ".lock"


@dataclass(frozen=True, kw_only=True)
class TrainingOutcome:
    """Tell how a session of a training ended.

    Attributes:
        name: Of the model.
        steps: Steps done, all sessions together.
        finished: Whether those are all; if not, time was up, and the training can be resumed.
        seconds: Wall clock of all sessions.
        device: The hardware's name.
        precision: Numbers of the forward pass.
        processes: How many trained together.
        best_step: Whose weights are the result.
        figures: What ``evaluate`` says of the result, in the half precision it is kept in.
    """

    name: str
    steps: int
    finished: bool
    seconds: float
    device: str
    precision: str
    processes: int
    best_step: int
    figures: dict[str, float]


def identity_of(trainable: Trainable, config: TrainingConfig) -> str:
    """Digest what is trained, from what and how; 64 hexadecimal digits."""
    return sha256_of_json(
        {"name": trainable.name, "config": config.identity(), "learns_from": learns_from(trainable)}
    )


def learns_from(trainable: Trainable) -> dict[str, Any]:
    """Return what data and weights a training starts with, as its card says; a JSON object."""
    facts = trainable.facts
    start = None if facts.start is None else facts.start.sha256
    return {"data": list(facts.data), "start": start}


def train(
    trainable: Trainable,
    config: TrainingConfig,
    folder: Path,
    team: Team,
    *,
    minutes: float | None = None,
    progress: Progress = ignore_progress,
) -> TrainingOutcome:
    """Train a model to the end, or until time is up, resuming what the folder holds.

    With the same device, threads and processes, a training that was stopped anywhere, killed included, and
    resumed goes through the same losses, to the bit, as one that was not.

    Args:
        trainable: What is trained.
        config: How.
        folder: Where checkpoints, history and TensorBoard's files go.
        team: This process's part.
        minutes: Wall clock after which this session stops at a checkpoint; None for no limit.
        progress: Follows the events, in the leading process.

    Raises:
        InputError: the folder holds another training, or the model was changed since.
        DataError: loss or gradient are not finite any more; the last checkpoint still stands.
        ConfigError: the disk is full, or another process trains in the folder.
    """
    check_shares(config, team.size)
    with _held(folder, team), repeatable(team.device, config.threads):
        learner = Learner(trainable, config, team)
        marks = _resume(learner, folder, identity_of(trainable, config))
        with open_board(folder, enabled=team.leads, begin=marks.step + 1) as board:
            session = _Session(
                trainable, learner, folder, marks, Records(folder, config.steps, board, progress)
            )
            session.run(math.inf if minutes is None else time.monotonic() + 60 * minutes)
            return session.conclude()


def check_shares(config: TrainingConfig, processes: int) -> None:
    """Refuse a number of processes that cannot share a step's batches evenly.

    Raises:
        InputError: they cannot.
    """
    if processes < 1:
        raise InputError(f"{processes} processes cannot train; give --processes 1 or more")
    if config.batches_per_step % processes:
        raise InputError(
            f"{config.batches_per_step} batches a step cannot be shared by {processes} processes; "
            f"give a multiple of {processes} as --batches-per-step"
        )


@contextmanager
def _held(folder: Path, team: Team) -> Iterator[None]:
    """Keep other trainings out of a folder while the block lasts; the system lets go when we are killed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / _LOCK_NAME).open("a")
    except OSError as exc:
        raise ConfigError(f"{folder} cannot hold a training: {exc.strerror}; name another folder") from exc
    with file:
        if team.leads:
            _lock(file, folder)
        yield


def _lock(file: IO[str], folder: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise ConfigError(f"another process trains in {folder}; wait for it, or name another folder") from exc


def _resume(learner: Learner, folder: Path, identity: str) -> Marks:
    """Take up the newest checkpoint, if there is one; returns where the training stands."""
    setting = f"{describe_device(learner.team.device)}, {learner.team.size} processes, {learner.precision}"
    marks = Marks(identity=identity, setting=setting)
    found = read_newest(folder)
    if found is not None:
        tensors, standing = found
        if standing.identity != identity:
            raise InputError(
                f"{folder} holds a training of another model or configuration; choose another folder, or "
                "resume it as it was"
            )
        if standing.setting != setting:
            logger.warning(
                "begun on %s, resumed on %s: losses may differ a little", standing.setting, setting
            )
        restore_module(learner.module, tensors)
        restore_optimiser(learner.optimiser, tensors)
        marks = dataclasses.replace(standing, setting=setting)
    if learner.team.leads:
        marks = _forget_later_best(folder, marks)
        cut_history(folder, marks.step)
    learner.join_team()
    return marks


def _forget_later_best(folder: Path, marks: Marks) -> Marks:
    """Remove the best weights unless they are those the checkpoint knows of; returns what is true then.

    A process that was killed may have kept some at a later step: that step is done and measured again.
    """
    path = folder / BEST_NAME
    known = marks.best_step is not None and path.exists()
    if known and read_checkpoint(path)[1].best_step == marks.best_step:
        return marks
    path.unlink(missing_ok=True)
    return dataclasses.replace(marks, best_step=None, best_score=None)


@dataclass(frozen=True)
class Records:
    """Where events go: the history, TensorBoard, whoever follows."""

    folder: Path
    steps: int
    board: Board
    progress: Progress

    def keep(self, *events: TrainingEvent) -> None:
        """Put down events."""
        append_history(self.folder, events)
        for event in events:
            self.board.add(event)
            self.progress(event)

    def event(self, kind: Kind, step: int, values: Mapping[str, float]) -> TrainingEvent:
        """Make an event of this training."""
        return TrainingEvent(kind=kind, step=step, steps=self.steps, values=values)


class _Session:
    """One process's run through a training, from where it stands."""

    def __init__(
        self, trainable: Trainable, learner: Learner, folder: Path, marks: Marks, records: Records
    ) -> None:
        self._trainable, self._learner, self._folder, self._records = trainable, learner, folder, records
        self._config, self._team = learner.config, learner.team
        self._marks = marks
        self._pending: list[StepValues] = []
        self._clock = self._kept_at = time.monotonic()
        self._kept_step = marks.step

    def run(self, deadline: float) -> None:
        """Do the steps that are left, or those until the deadline (of the monotonic clock)."""
        config = self._config
        for step, batches, rows in self._batches():
            self._pending.append(self._learner.take_step(step, batches, rows))
            done = step + 1
            last = done == config.steps
            evaluates = last or bool(config.evaluate_every and done % config.evaluate_every == 0)
            if not (last or evaluates or done % config.log_every == 0):
                continue
            self._read_pending()
            if evaluates:
                self._evaluate()
            if self._time_is_up(deadline):
                break
            if time.monotonic() - self._kept_at >= 60 * config.checkpoint_minutes:
                self._keep()
        self._keep()

    def conclude(self) -> TrainingOutcome:
        """Tell how the session ended, measuring the weights as they will be kept."""
        marks, team = self._marks, self._team
        figures = self._measure_result() if team.leads else {}
        return TrainingOutcome(
            name=self._trainable.name,
            steps=marks.step,
            finished=marks.step >= self._config.steps,
            seconds=marks.seconds,
            device=describe_device(team.device),
            precision=str(self._learner.precision).removeprefix("torch."),
            processes=team.size,
            best_step=marks.step if marks.best_step is None else marks.best_step,
            figures=figures,
        )

    def _batches(self) -> Iterator[tuple[int, list[Any], list[int]]]:
        """Give each step that is left with this process's batches and their numbers."""
        config, team = self._config, self._team
        shares = [
            batch_rows(step, batches_per_step=config.batches_per_step, rank=team.rank, size=team.size)
            for step in range(self._marks.step, config.steps)
        ]
        rows = [row for share in shares for row in share]
        made = make_batches(self._trainable, config.seed, rows, team.device, config.workers)
        for step, share in enumerate(shares, start=self._marks.step):
            yield step, [next(made) for _ in share], share

    def _read_pending(self) -> None:
        """Bring the losses since the last reading to the host, and put them down."""
        read = [(values.step, read_values(values, self._team)) for values in self._pending]
        self._pending.clear()
        now = time.monotonic()
        seconds, self._clock = self._marks.seconds + now - self._clock, now
        self._marks = dataclasses.replace(self._marks, step=read[-1][0], seconds=seconds)
        if self._team.leads:
            self._records.keep(
                *(
                    self._records.event(
                        "step",
                        step,
                        values
                        | {
                            "learning_rate": learning_rate(self._config, step - 1),
                            "seconds": round(seconds, 3),
                        },
                    )
                    for step, values in read
                )
            )

    def _evaluate(self) -> None:
        """Measure the model, and keep its weights if they are the best so far; the others wait."""
        if self._team.leads:
            marks, values = self._marks, measure(self._trainable, self._learner)
            self._records.keep(self._records.event("evaluation", marks.step, values))
            score = values.get(SCORE)
            if _is_better(score, marks.best_score):
                self._marks = dataclasses.replace(marks, best_step=marks.step, best_score=score)
                keep_best(self._folder, self._learner.module, self._marks)
        if self._team.size > 1:
            torch.distributed.barrier()

    def _keep(self) -> None:
        """Write a checkpoint, unless this step's stands."""
        self._kept_at = time.monotonic()
        if self._team.leads and self._marks.step > self._kept_step:
            keep_checkpoint(self._folder, self._learner.module, self._learner.optimiser, self._marks)
            self._records.keep(self._records.event("checkpoint", self._marks.step, {}))
        self._kept_step = self._marks.step

    def _time_is_up(self, deadline: float) -> bool:
        """Say whether to stop; the leading process's clock decides for all."""
        late = time.monotonic() >= deadline
        if self._team.size == 1:
            return late
        word = torch.tensor([float(late)], device=self._team.device)
        torch.distributed.broadcast(word, src=0)
        return bool(word.item())

    def _measure_result(self) -> dict[str, float]:
        self._learner.module.load_state_dict(half_weights(result_tensors(self._folder)))
        return measure(self._trainable, self._learner)


def _is_better(score: float | None, best: float | None) -> bool:
    return score is not None and math.isfinite(score) and (best is None or score > best)


def measure(trainable: Trainable, learner: Learner) -> dict[str, float]:
    """Evaluate a learner's module as it is; the same weights give the same numbers."""
    seed_torch(learner.config.seed, 0)
    learner.module.eval()
    with torch.no_grad():
        return {
            name: float(value)
            for name, value in trainable.evaluate(learner.module, learner.team.device).items()
        }


def result_tensors(folder: Path) -> Tensors:
    """Return a training's result: the weights of its best evaluation, else the newest ones.

    Raises:
        NotFoundError: the folder holds no training.
        DataError: its files cannot be read.
    """
    if (folder / BEST_NAME).exists():
        return read_checkpoint(folder / BEST_NAME)[0]
    found = read_newest(folder)
    if found is None:
        raise NotFoundError(f"{folder} holds no checkpoint; train a model into it first")
    return found[0]
