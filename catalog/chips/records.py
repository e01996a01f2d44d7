"""What every source of aligned chips gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from catalog.cubes.pyramid import Moments, merge_moments, summarise
from infra.errors import DataError


@dataclass(frozen=True, eq=False)
class Chip:
    """An optical and a radar image of one place on one grid.

    Attributes:
        rgb: float32 (3, height, width), red, green, blue; NaN where there is no data. None for radar only.
        sar: float32 (1, height, width), likewise. None for optical only.
    """

    rgb: NDArray[np.float32] | None
    sar: NDArray[np.float32] | None

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Where every channel holds data, bool (1, height, width)."""
        sides = [
            np.isfinite(side).all(axis=0, keepdims=True) for side in (self.rgb, self.sar) if side is not None
        ]
        valid: NDArray[np.bool_] = np.logical_and.reduce(sides, axis=0)
        return valid


class ChipReader(Protocol):
    """A source of aligned chips, read by number."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def sar_unit(self) -> str:
        """What the radar's numbers are: dB, linear, amplitude."""

    def __len__(self) -> int:
        """Return how many chips there are."""

    def read(self, index: int) -> Chip:
        """Read one.

        Raises:
            DataError: it is damaged, or not what its source says.
        """


@dataclass(frozen=True)
class ChipMoments:
    """Statistics of chips over valid pixels: one entry per channel; None for a channel without data.

    Attributes:
        rgb: of red, green, blue; empty for a source without them.
        sar: of the radar channel, likewise.
        chips: how many were looked at.
        blank: how many of them hold no data on one side or the other, and were left out.
    """

    rgb: tuple[Moments | None, ...]
    sar: tuple[Moments | None, ...]
    chips: int
    blank: int

    def mean_and_std(self) -> dict[str, dict[str, list[float]] | None]:
        """Spell mean and deviation by channel for ``rgb`` and ``sar``, as weights files hold them.

        Raises:
            DataError: a channel holds no data, or is the same everywhere.
        """
        return {name: _spell(name, getattr(self, name)) for name in ("rgb", "sar")}


def describe_chip(chip: Chip) -> ChipMoments:
    """Summarise one chip."""
    valid = chip.valid[0]
    if not valid.any():
        return ChipMoments((), (), chips=1, blank=1)
    rgb, sar = (
        () if side is None else tuple(summarise(np.ascontiguousarray(band), valid) for band in side)
        for side in (chip.rgb, chip.sar)
    )
    return ChipMoments(rgb, sar, chips=1, blank=0)


def merge_chips(parts: list[ChipMoments]) -> ChipMoments:
    """Merge the statistics of disjoint chips, in the order given."""
    rgb, sar = (
        tuple(
            merge_moments(channel)
            for channel in zip(*(getattr(part, name) for part in parts if getattr(part, name)), strict=True)
        )
        for name in ("rgb", "sar")
    )
    return ChipMoments(rgb, sar, sum(part.chips for part in parts), sum(part.blank for part in parts))


def _spell(name: str, channels: tuple[Moments | None, ...]) -> dict[str, list[float]] | None:
    if not channels:
        return None
    known = [channel for channel in channels if channel is not None and channel.stddev > 0]
    if len(known) < len(channels):
        raise DataError(
            f"{len(channels) - len(known)} of {len(channels)} channels of {name} hold no data or one value "
            "everywhere; leave such chips out."
        )
    return {"mean": [one.mean for one in known], "std": [one.stddev for one in known]}
