"""The device a training runs on, and how it is set up so that a step gives the same numbers twice."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch

from infra.errors import InputError
from models.training.config import TrainingConfig


def choose_device(name: str) -> torch.device:
    """Return a device by name: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.

    Raises:
        InputError: no such device on this machine.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is unknown; give auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not supported; give auto, cpu, cuda or cuda:N")
    found = torch.cuda.device_count() if device.type == "cuda" else 1
    if (device.index or 0) >= found:
        raise InputError(f"device {name!r} is not on this machine, which has {found} GPUs; give cpu or auto")
    return device


def describe_device(device: torch.device) -> str:
    """Name the hardware for a model card."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"


def choose_precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """Return the numbers of the forward pass: float32 or bfloat16."""
    if config.precision == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32


def seed_torch(seed: int, index: int) -> None:
    """Seed torch's global generators for one batch: no state of theirs has to outlive a checkpoint."""
    torch.manual_seed(
        int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )


@contextmanager
def repeatable(device: torch.device, threads: int | None) -> Iterator[None]:
    """Make torch give the same numbers twice within the block; put its switches back afterwards.

    Operators that have no repeatable form on a GPU warn, once each.
    """
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    benchmark, count = torch.backends.cudnn.benchmark, torch.get_num_threads()
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, at cuBLAS's first call
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.benchmark = False
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(_generators(device)):
            yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.benchmark = benchmark
        torch.set_num_threads(count)


def _generators(device: torch.device) -> list[int]:
    """Name the GPU whose random numbers are drawn; without names torch would warn of every other one."""
    if device.type == "cpu":
        return []
    index = cast("int | None", device.index)  # torch's stubs do not know of plain "cuda"
    return [torch.cuda.current_device() if index is None else index]
