"""Lessons from places that people have labelled: which set, what of it teaches, what of it measures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from infra.digests import sha256_of_json
from infra.errors import DataError, InputError
from models.downstream.excerpts import (
    Window,
    cut_window,
    knows_something,
    pad_truth,
    spread_windows,
    turn_chip,
)
from models.downstream.lessons import Batch, LessonConfig, View, join_batches
from models.mars.statistics import ChannelStatistics, Statistics

KINDS = ("vectors", "masks", "coco", "ndsm", "pairs", "damage")
PARTS = ("whole", "left", "right", "top", "bottom")
_MOST_MEASURED = 32
"""Places that mean and deviation are measured on, evenly spread."""
_MOST_VALUES = 200_000
_TRIES = 20
_LOOKING, _PICKING = 0, 1


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which labelled set a task is trained and measured on. Paths are relative to the current folder.

    Attributes:
        kind: how it lies: ``vectors`` (GeoJSON over GeoTIFF), ``masks`` (class maps), ``coco`` (boxes),
            ``ndsm`` (heights), ``pairs`` (before, after and a mask) or ``damage`` (BRIGHT, xView2); empty
            for the one that is usual for the task.
        train: folder of the images to learn from; its last part may be a pattern of names, ``a/*_0.tif``.
        test: likewise, of those to measure on.
        train_part: half of every image to learn from: whole, left, right, top or bottom.
        test_part: likewise, to measure on.
        labels: folder of labels, or file of shapes or boxes, relative to the images' folder; empty for
            files of the images' names beside them.
        test_labels: likewise for those to measure on; empty for the same words as ``labels``.
        radar: folder of radar images of the same names, relative to the images' folder; empty for none.
        endings: of image, label and radar names before the suffix.
        rgb_bands: of optical images, red, green and blue, from 1.
        sar_band: of radar images, from 1.
        values: what class maps store → class by name, empty for nothing known; none: 0, 1, 2… in order.
        classes: names to learn instead of the task's own.
        road_width_m: of roads that are lines.
    """

    train: str
    test: str
    kind: str = ""
    train_part: str = "whole"
    test_part: str = "whole"
    labels: str = ""
    test_labels: str = ""
    radar: str = ""
    endings: tuple[str, ...] = ("", "", "")
    rgb_bands: tuple[int, ...] = (1, 2, 3)
    sar_band: int = 1
    values: tuple[tuple[str, str], ...] = ()
    classes: tuple[str, ...] = ()
    road_width_m: float = 8.0

    def __post_init__(self) -> None:
        """Check what can be checked without looking at files.

        Raises:
            InputError: a word or number does not fit.
        """
        if self.kind and self.kind not in KINDS:
            raise InputError(f"A set of the kind {self.kind!r} is named; choose one of {', '.join(KINDS)}.")
        if not {self.train_part, self.test_part} <= set(PARTS):
            raise InputError(
                f"Parts {self.train_part!r} and {self.test_part!r} of images are named; choose from "
                f"{', '.join(PARTS)}."
            )
        if not self.train or not self.test:
            raise InputError("A labelled set needs a folder to learn from and one to measure on; name both.")
        if len(self.endings) != 3 or len(self.rgb_bands) != 3 or min(*self.rgb_bands, self.sar_band) < 1:
            raise InputError(
                f"Endings {self.endings}, bands {self.rgb_bands} and {self.sar_band} are named; expected "
                "three endings, three bands from 1, and a band from 1."
            )


@dataclass(frozen=True)
class LabelledPlaces:
    """Places with their truth, read when they are asked for.

    Attributes:
        name: where they lie, for results.
        ids: one per place; who joins two such lists makes sure that they share no pixel.
        read: number → the whole place, a batch of one in the numbers that are stored: NaN where an image
            says nothing, −1 or NaN where the truth does; boxes as many as there are.
    """

    name: str
    ids: tuple[str, ...]
    read: Callable[[int], Batch]

    def __len__(self) -> int:
        """Return the number of places."""
        return len(self.ids)


@dataclass(frozen=True)
class LabelledLessons:
    """Batches from a labelled set: windows of its places at random, and held-out ones side by side.

    Attributes:
        train: places to learn from.
        test: places to measure on, none of them among the former.
        config: how batches are made.
    """

    train: LabelledPlaces
    test: LabelledPlaces
    config: LessonConfig

    @property
    def source(self) -> str:
        """Where the figures are from."""
        return f"{self.test.name}, trained on {self.train.name}"

    @property
    def chooses(self) -> bool:
        """No: a set has too few places to spare some for choosing weights, so the last ones are kept."""
        return False

    @property
    def identity(self) -> str:
        """Digest of what there is to learn from."""
        return sha256_of_json({"train": self.train.ids, "test": self.test.ids})[:8]

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and deviation of the places to learn from.

        Raises:
            InputError: a band is the same everywhere.
        """
        numbers = np.unique(np.linspace(0, len(self.train) - 1, _MOST_MEASURED).round().astype(int))
        views = [view for number in numbers for view in self.train.read(int(number)).views]
        rgb, sar = (_measure([view[side] for view in views]) for side in (0, 1))
        return Statistics(rgb, sar, sar_unit="none")

    def lesson(self, seed: int, index: int) -> Batch:
        """Return windows of places at random, turned and mirrored; the same for the same numbers."""
        chips = [self._draw_chip(seed, index, number) for number in range(self.config.chips)]
        return self._show(chips)

    def to_choose(self) -> Sequence[Batch]:
        """Return windows of places to learn from, evenly spread: figures on them say how well it learned."""
        most = self.config.held_out * self.config.chips
        windows = self._windows(self.train)
        kept = np.unique(np.linspace(0, len(windows) - 1, most).round().astype(int))
        return list(self._batches(self.train, [windows[number] for number in kept]))

    def to_measure(self) -> Sequence[Batch]:
        """Return every window of the places to measure on."""
        return self._measured

    @cached_property
    def _measured(self) -> Sequence[Batch]:
        return list(self._batches(self.test, self._windows(self.test)))

    def _draw_chip(self, seed: int, index: int, number: int) -> Batch:
        # Reading a place costs more than cutting it: batches of a group look at the same ones.
        group = index // self.config.reuse
        which = int(np.random.default_rng([seed, group, number, _PICKING]).integers(len(self.train)))
        place = self.train.read(which)
        generator = np.random.default_rng([seed, index, number, _LOOKING])
        size = self.config.size_px
        height, width = _size_of(place)
        for _ in range(_TRIES):
            top, left = (int(generator.integers(max(side - size, 0) + 1)) for side in (height, width))
            chip = cut_window(place, Window(top, left, size, size))
            if knows_something(chip):
                return turn_chip(chip, int(generator.integers(4)), mirrored=bool(generator.integers(2)))
        raise DataError(
            f"{self.train.name}: of {_TRIES} windows of {size} px of {self.train.ids[which]!r} none says "
            "anything; leave out images without labels."
        )

    def _windows(self, places: LabelledPlaces) -> list[tuple[int, Window]]:
        return [
            (number, window)
            for number in range(len(places))
            for window in spread_windows(_size_of(places.read(number)), self.config.size_px)
        ]

    def _batches(self, places: LabelledPlaces, windows: Sequence[tuple[int, Window]]) -> Iterator[Batch]:
        cut = (cut_window(places.read(number), window) for number, window in windows)
        chips = [chip for chip in cut if knows_something(chip)]
        if not chips:
            raise DataError(f"{places.name} holds no labels at all; nothing can be measured on it.")
        for start in range(0, len(chips), self.config.chips):
            yield self._show(chips[start : start + self.config.chips])

    def _show(self, chips: Sequence[Batch]) -> Batch:
        batch = join_batches([pad_truth(chip) for chip in chips])
        views = tuple(View(*self.statistics.standardise(*view)) for view in batch.views)
        return Batch(tuple(View(*map(_fill, view)) for view in views), batch.truth)


def _fill(image: Tensor | None) -> Tensor | None:
    """Return an image with the mean, 0, where it says nothing."""
    return None if image is None else image.nan_to_num(0.0)


def _size_of(place: Batch) -> tuple[int, int]:
    seen = next(image for image in place.views[0] if image is not None)
    return seen.shape[2], seen.shape[3]


def _measure(images: Sequence[Tensor | None]) -> ChannelStatistics | None:
    """Return the statistics of images of any sizes, each by an even part of its pixels."""
    known = [image[0].flatten(1) for image in images if image is not None]
    if not known:
        return None
    values = torch.cat([one[:, :: -(-one.shape[1] // _MOST_VALUES)] for one in known], dim=1).double()
    channels = [channel[channel.isfinite()] for channel in values]
    if not all(map(len, channels)):
        raise InputError("A band of the images to learn from holds no number at all; leave it out.")
    return ChannelStatistics(
        tuple(float(one.mean()) for one in channels),
        tuple(float(one.std(correction=0)) for one in channels),
    )
