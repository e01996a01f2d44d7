"""Choose which of a machine's GPUs a process computes on, so that two workers do not share one."""

from __future__ import annotations

import fcntl
import os
import tempfile
from functools import lru_cache
from pathlib import Path

from infra.errors import ConfigError


def choose_gpu(visible: int, worker: int | None, locks: Path | None = None) -> int:
    """Return which of the GPUs that a process sees is its own.

    A worker that was started with ``CUDA_VISIBLE_DEVICES`` sees one. Those of a run's own cluster see all,
    and are numbered. Any other takes the first that no process of the same user on this machine has taken,
    and keeps it until it ends.

    Args:
        visible: How many GPUs the process sees.
        worker: Number of the worker in its cluster; None where it has none.
        locks: Folder where GPUs are marked as taken; None for the machine's own.

    Raises:
        ConfigError: there is none, or the marks cannot be made.
    """
    if visible < 1:
        raise ConfigError(
            "this Dask worker was given work for a GPU and sees none; start only workers that have one with "
            "--resources GPU=1"
        )
    if visible == 1:
        return 0
    if worker is not None:
        return worker % visible
    return _take_free(visible, locks or Path(tempfile.gettempdir()))


@lru_cache(maxsize=1)
def _take_free(visible: int, locks: Path) -> int:
    """Lock the first free GPU; the kernel lets go of it when the process ends, however it ends."""
    for number in range(visible):
        if _lock(locks / f"terraloom-{os.getuid()}-gpu-{number}.lock"):
            return number
    return os.getpid() % visible  # more workers than GPUs: some have to share


def _lock(path: Path) -> bool:
    """Take a lock for as long as this process lives; False where another process has it."""
    try:
        held = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigError(
            f"{path}, by which workers of this machine share its GPUs, cannot be opened: {exc.strerror}; "
            "remove it, or start each worker with a CUDA_VISIBLE_DEVICES of its own"
        ) from exc
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return False
    return True
