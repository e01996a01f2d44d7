"""Batches in their order, made in this process or ahead in others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from models.training.trainable import Trainable


def batch_rows(step: int, *, batches_per_step: int, rank: int, size: int) -> list[int]:
    """Return the numbers of the batches that one process takes for a step (0 and up).

    All processes together take each batch once, and the same ones however many processes there are.
    """
    first = step * batches_per_step
    return list(range(first + rank, first + batches_per_step, size))


class _Batches(Dataset[Any]):
    """Batches by number, as torch's loader asks for them; sent whole to its processes."""

    def __init__(self, trainable: Trainable, seed: int) -> None:
        self._trainable = trainable
        self._seed = seed

    def __getitem__(self, row: int) -> Any:  # noqa: ANN401 - the model's own kind
        return self._trainable.batch(self._seed, row, torch.device("cpu"))


def make_batches(
    trainable: Trainable, seed: int, rows: Sequence[int], device: torch.device, workers: int
) -> Iterator[Any]:
    """Give the batches of the given numbers, in their order, on a device.

    Args:
        trainable: Makes them; with workers it must be picklable.
        seed: The training's.
        rows: Numbers of the batches.
        device: Where they should lie.
        workers: Processes that make them ahead; 0 makes each when it is asked for.
    """
    if workers == 0:
        for row in rows:
            yield move_batch(trainable.batch(seed, row, device), device)
        return
    loader = DataLoader(
        _Batches(trainable, seed),
        batch_size=None,
        sampler=rows,
        num_workers=workers,
        # A fork of a process with threads of its own (torch's, Prefect's) may hang.
        multiprocessing_context="spawn",
        pin_memory=device.type == "cuda",
    )
    for batch in loader:
        yield move_batch(batch, device)


def move_batch(batch: Any, device: torch.device) -> Any:  # noqa: ANN401 - the model's own kind
    """Move every tensor of a batch to a device, through lists, tuples, dictionaries and dataclasses."""
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {name: move_batch(value, device) for name, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(move_batch(value, device) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(move_batch(value, device) for value in batch)
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        fields = {
            field.name: move_batch(getattr(batch, field.name), device)
            for field in dataclasses.fields(batch)
            if field.init
        }
        return dataclasses.replace(batch, **fields)
    return batch
