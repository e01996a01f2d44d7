"""Run a training in this process, or on a team of processes of this machine."""

from __future__ import annotations

import contextvars
import dataclasses
import datetime as dt
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.distributed

from infra import errors
from infra.errors import AppError, InternalError
from models.training.checkpoints import newest_step
from models.training.config import TrainingConfig
from models.training.devices import choose_device
from models.training.history import HISTORY_NAME, Progress, from_line, ignore_progress, whole_lines
from models.training.loop import TrainingOutcome, check_shares, train
from models.training.registry import load_entry
from models.training.steps import Team

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

_CPP_LOG_LEVEL = "TORCH_CPP_LOG_LEVEL"
_FOLLOW_S = 0.5
_PATIENCE = dt.timedelta(hours=2)  # how long processes wait for the one that evaluates


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """Hold all that a process must be told to take part in a training.

    Attributes:
        entry: Where the ``Trainable`` is made, as ``registry.entry_of`` says.
        config: How it is trained.
        folder: Where checkpoints and history go.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; with several processes the number is theirs.
        minutes: Wall clock after which the session stops at a checkpoint.
        processes: How many share each step's batches.
    """

    entry: str
    config: TrainingConfig
    folder: Path
    device: str = "auto"
    minutes: float | None = None
    processes: int = 1


def run_job(job: TrainingJob, progress: Progress = ignore_progress) -> TrainingOutcome:
    """Train to the end or until time is up; resumes what the folder holds.

    Raises:
        InputError: device, processes or folder do not suit.
        DataError: the loss is not finite any more.
        ConfigError: the disk is full, or another process trains in the folder.
        InternalError: a process of the team broke down.
    """
    check_shares(job.config, job.processes)
    device = choose_device(job.device)
    if job.processes == 1:
        return train(
            load_entry(job.entry),
            job.config,
            job.folder,
            Team(device),
            minutes=job.minutes,
            progress=progress,
        )
    if device.type == "cuda":
        choose_device(f"cuda:{job.processes - 1}")
    following = _Following(job.folder, progress)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(context.run, following.follow)
        try:
            outcome = _launch(job)
        finally:
            following.over.set()
        followed.result()
    return outcome


def share_of(processes: int | None, device: str, config: TrainingConfig) -> int:
    """Return how many processes to start: the number asked for, else as many GPUs as can share a step.

    Raises:
        InputError: no such device.
    """
    if processes is not None:
        return processes
    if choose_device(device) != torch.device("cuda"):
        return 1
    found = range(torch.cuda.device_count(), 0, -1)
    return next((count for count in found if config.batches_per_step % count == 0), 1)


class _Following:
    """Hands on what the leading process of a team writes into the history."""

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.over = threading.Event()
        self._path = folder / HISTORY_NAME
        self._begun = newest_step(folder)
        self._progress = progress
        self._seen = 0

    def follow(self) -> None:
        """Read until the team is done, and once more."""
        while not self.over.wait(_FOLLOW_S):
            self._read()
        self._read()

    def _read(self) -> None:
        lines = list(whole_lines(self._path.read_text())) if self._path.exists() else []
        # What is at or before the checkpoint was told in an earlier session, or will be cut off.
        fresh = [event for event in map(from_line, lines) if event.step > self._begun]
        for event in fresh[self._seen :]:
            self._progress(event)
        self._seen = max(self._seen, len(fresh))


def _launch(job: TrainingJob) -> TrainingOutcome:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=job.processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        local_addr="127.0.0.1",
        start_method="spawn",
        max_restarts=0,
        monitor_interval=0.2,
    )
    try:
        with _quiet_processes():
            outcomes: dict[int, TrainingOutcome] = elastic_launch(config, _work)(job, os.getpid())
    except ChildFailedError as exc:
        raise translate_failure(exc) from exc
    return outcomes[0]


@contextmanager
def _quiet_processes() -> Iterator[None]:
    """Keep torch's C++ warnings out of the terminal of processes started in the block.

    Each would say of every model without unused weights that looking for them takes time.
    """
    before = os.environ.get(_CPP_LOG_LEVEL)
    os.environ.setdefault(_CPP_LOG_LEVEL, "ERROR")  # read when torch is imported, before any code of ours
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CPP_LOG_LEVEL]


def _work(job: TrainingJob, parent: int) -> TrainingOutcome:
    """Take part in a team; runs in a process of its own."""
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    on_gpu = choose_device(job.device).type == "cuda"
    device = torch.device("cuda", rank) if on_gpu else torch.device("cpu")
    config = job.config
    if on_gpu:
        torch.cuda.set_device(device)
    elif config.threads is None:
        config = dataclasses.replace(config, threads=max((os.cpu_count() or 1) // size, 1))
    torch.distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        return train(load_entry(job.entry), config, job.folder, Team(device, rank, size), minutes=job.minutes)
    finally:
        torch.distributed.destroy_process_group()


def _leave_with(parent: int) -> None:
    """End this process once its parent is gone: nobody else would, were that one killed."""
    while os.getppid() == parent:
        time.sleep(_FOLLOW_S)
    os._exit(1)


def translate_failure(exc: ChildFailedError) -> AppError:
    """Return the first failed process's error as the kind it was there; anything else is a bug."""
    rank, failure = exc.get_first_failure()
    said: object = failure.message  # a record of the error where the process could still write one
    text = str(said["message"] if isinstance(said, dict) else said)
    kind, _, message = text.partition(": ")
    made = getattr(errors, kind, None)
    if message and isinstance(made, type) and issubclass(made, AppError):
        return made(message)
    return InternalError(f"training process {rank} ended with code {failure.exitcode}: {text}")
