"""Mean and deviation of all chips of a source, by Dask: each chip is read once, wherever there is room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask.base import compute
from dask.delayed import delayed

from catalog.chips.records import ChipMoments, ChipReader, describe_chip, merge_chips
from infra.errors import InputError

_FAN_IN = 8
_MOST_A_TASK = 64
_TASKS = 64  # a task costs as much as a small chip, and too few tasks leave workers idle


def measure_chips(reader: ChipReader, indices: Sequence[int] | None = None) -> ChipMoments:
    """Summarise a source's chips over valid pixels, per channel, exactly.

    Runs on the Dask cluster of the calling process where there is one, else in threads. Partial results
    are merged as a tree in the order of the chips, so the same chips give the same numbers.

    Args:
        reader: The source; picklable where a cluster computes.
        indices: Which chips; None for all.

    Raises:
        InputError: there is no chip.
        DataError: one is damaged.
    """
    chosen = range(len(reader)) if indices is None else indices
    if not len(chosen):
        raise InputError(f"{reader.name} has no chip to measure; plan smaller chips, or accept sparser ones.")
    shared = delayed(reader, pure=False, traverse=False)
    share = max(1, min(_MOST_A_TASK, len(chosen) // _TASKS))
    parts: list[Any] = [
        delayed(_measure_some, pure=False)(shared, list(chosen[start : start + share]))
        for start in range(0, len(chosen), share)
    ]
    while len(parts) > 1:
        parts = [
            delayed(merge_chips, pure=False)(parts[start : start + _FAN_IN])
            for start in range(0, len(parts), _FAN_IN)
        ]
    measured: ChipMoments = compute(parts[0])[0]
    return measured


def _measure_some(reader: ChipReader, indices: list[int]) -> ChipMoments:
    return merge_chips([describe_chip(reader.read(index)) for index in indices])
