"""Aligned chips of real images: in files, as ``catalog.chips`` writes them, or read where they lie.

A safetensors file holds ``rgb`` (n, 3, height, width), or ``sar`` (n, 1, height, width), or both of them on
one grid, and perhaps ``valid`` (n, 1, height, width; 0 where there is no data). Its metadata hold
``chips``, a JSON object: ``name``, ``statistics`` (mean and deviation by channel), ``source`` and
``licence``. A source file (``*.chips.json``) holds no pixel, but says where they are; only the catalogue
can read those, so whoever may import it hands in what opens them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from infra.digests import sha256_of_file
from infra.errors import ConfigError, DataError, InputError, NotFoundError
from models.mars.statistics import Statistics, read_statistics

METADATA_KEY = "chips"
SUFFIX = ".safetensors"
SOURCE_SUFFIX = ".chips.json"
Sides = tuple[Literal["rgb", "sar"], ...]
BOTH: Sides = ("rgb", "sar")
_CHANNELS = {"rgb": 3, "sar": 1, "valid": 1}
_MAX_BYTES = 16 * 1024**3


@dataclass(frozen=True)
class ChipFile:
    """One file of chips; rows are read when they are asked for.

    Attributes:
        path: of the file.
        name: of its source.
        count: chips in it.
        shape_yx: pixels of each.
        modalities: ``rgb``, ``sar`` or both.
        statistics: to standardise with.
        facts: one line for a model's card: what it is, its licence.
        digest: of the file's bytes.
    """

    path: Path
    name: str
    count: int
    shape_yx: tuple[int, int]
    modalities: tuple[str, ...]
    statistics: Statistics
    facts: str
    digest: str

    def read(self, rows: Sequence[int], sides: Sides = BOTH) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Read some chips.

        Args:
            rows: 0 and up.
            sides: that are wanted; one that is not takes no pixel from the other by having no data there.

        Returns:
            Standardised ``rgb`` and ``sar``, float32 (rows, channels, height, width), 0 where there is no
            data, None for one that the file does not hold, or that is not wanted; and ``valid``, bool
            (rows, 1, height, width).

        Raises:
            InputError: the file holds none of the sides.
            DataError: the file was changed or cut since it was opened.
        """
        rgb, sar = (self._stack(name, rows) if name in sides else None for name in BOTH)
        return _standardise(self, rgb, sar, self._stack("valid", rows))

    def _stack(self, name: str, rows: Sequence[int]) -> Tensor | None:
        try:
            with safe_open(str(self.path), framework="pt") as file:
                if name not in file.keys():  # noqa: SIM118 - no mapping
                    return None
                part = file.get_slice(name)
                return torch.cat([part[int(row) : int(row) + 1] for row in rows]).float()
        except (SafetensorError, OSError, IndexError, RuntimeError) as exc:
            raise DataError(f"chips {self.path} cannot be read any more ({exc}); write it anew") from exc


class RawChip(Protocol):
    """What a catalogue's reader gives: arrays in the source's own numbers, NaN where there is no data."""

    @property
    def rgb(self) -> NDArray[np.float32] | None:
        """Colours (3, height, width)."""

    @property
    def sar(self) -> NDArray[np.float32] | None:
        """Radar (1, height, width)."""


class RawChips(Protocol):
    """A catalogue's reader of chips, by number; ``catalog.chips`` has some."""

    @property
    def name(self) -> str:
        """What it is called."""

    def __len__(self) -> int:
        """Return how many chips there are."""

    def read(self, index: int) -> RawChip:
        """Read one."""


@dataclass(frozen=True)
class ReaderChips:
    """Chips that are read where they lie, e.g. in the cubes of a store, with no files in between.

    Attributes:
        reader: gives them.
        statistics: to standardise with.
        facts: one line for a model's card: what it is, its licence.
        digest: of what is read, e.g. of the plan of the chips.
    """

    reader: RawChips
    statistics: Statistics
    facts: str
    digest: str

    @property
    def name(self) -> str:
        """The reader's."""
        return self.reader.name

    @property
    def count(self) -> int:
        """How many chips there are."""
        return len(self.reader)

    @property
    def modalities(self) -> tuple[str, ...]:
        """Those that there are statistics of."""
        return tuple(name for name in ("rgb", "sar") if getattr(self.statistics, name) is not None)

    def read(self, rows: Sequence[int], sides: Sides = BOTH) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """Read some chips, all of one size; answers as ``ChipFile.read`` does.

        Raises:
            InputError: there are none of the sides.
            DataError: the reader finds them damaged.
        """
        chips = [self.reader.read(row) for row in rows]
        rgb, sar = (
            torch.from_numpy(np.stack([getattr(chip, name) for chip in chips]))
            if name in sides and name in self.modalities
            else None
            for name in BOTH
        )
        return _standardise(self, rgb, sar, None)


OpenSource = Callable[[Path], ReaderChips]
"""Opens a source file."""


def refuse_source(path: Path) -> ReaderChips:
    """Say that source files cannot be opened here.

    Raises:
        ConfigError: always.
    """
    raise ConfigError(
        f"{path} says where chips lie, which only the catalogue reads; train by 'terraloom train', or write "
        "the chips into files"
    )


def join_reader(reader: RawChips, stated: Mapping[str, Any], *, facts: str, digest: str) -> ReaderChips:
    """Join a catalogue's reader with the statistics that were measured of its chips.

    Args:
        reader: of at least one chip.
        stated: mean and deviation by channel for ``rgb`` and ``sar``, and ``sar_unit``; from a foreign file.
        facts: one line for a model's card.
        digest: of what is read.

    Raises:
        DataError: there is no chip, or the statistics are none of three colours or of radar.
    """
    statistics = read_statistics(json.dumps({"own": stated}))["own"]
    known = {name: getattr(statistics, name) for name in BOTH if getattr(statistics, name) is not None}
    wrong = [name for name, one in known.items() if len(one.mean) != _CHANNELS[name]]
    if not known or wrong or not len(reader):
        raise DataError(
            f"{reader.name} offers {len(reader)} chips with statistics of {', '.join(known) or 'nothing'}, "
            f"of a wrong number of channels for {', '.join(wrong) or 'none'}; plan them anew"
        )
    return ReaderChips(reader, statistics, facts, digest)


def open_chips(path: Path) -> ChipFile:
    """Open a file of chips and check what it says of itself.

    Raises:
        NotFoundError: there is no such file.
        DataError: it is cut, of another kind, or its arrays do not fit one another.
    """
    if not path.is_file():
        raise NotFoundError(f"chips {path} do not exist; write them first")
    try:
        with safe_open(str(path), framework="pt") as file:
            stated = json.loads((file.metadata() or {})[METADATA_KEY])
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        return _describe(path, stated, shapes)
    except (SafetensorError, OSError, ValueError, TypeError, LookupError, RecursionError) as exc:
        if isinstance(exc, DataError):
            raise
        raise DataError(f"{path} is no file of chips ({exc!s:.200}); write it with catalog.chips") from exc


def find_chips(folder: Path, open_source: OpenSource = refuse_source) -> tuple[ChipFile | ReaderChips, ...]:
    """Open all files of chips and all source files in a folder, by name.

    Args:
        folder: of both.
        open_source: opens a source file.

    Raises:
        NotFoundError: there are none.
        DataError: one of them cannot be used, or two of them go by one name.
        ConfigError: there are source files, and nothing opens them.
    """
    files = sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else []
    plans = sorted(folder.glob(f"*{SOURCE_SUFFIX}")) if folder.is_dir() else []
    if not files and not plans:
        raise NotFoundError(
            f"{folder} holds no chips (*{SUFFIX}, *{SOURCE_SUFFIX}); write some first (terraloom chips)"
        )
    found: tuple[ChipFile | ReaderChips, ...] = (*map(open_chips, files), *map(open_source, plans))
    names = [one.name for one in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:  # statistics are kept by name
        raise DataError(f"{folder} holds two sources called {twice!r}; take one of them away")
    return found


def _describe(path: Path, stated: dict[str, Any], shapes: dict[str, list[int]]) -> ChipFile:
    modalities = tuple(name for name in ("rgb", "sar") if name in shapes)
    if not modalities or path.stat().st_size > _MAX_BYTES:
        raise ValueError(f"neither rgb nor sar, or more than {_MAX_BYTES} bytes")
    count, _, height, width = shapes[modalities[0]]
    if min(count, height, width) < 1:
        raise ValueError(f"{count} chips of {height}×{width} px")
    for name, shape in shapes.items():
        if shape != [count, _CHANNELS[name], height, width]:
            raise ValueError(f"{name} is of shape {shape}, the others of {count} chips of {height}×{width}")
    statistics = read_statistics(json.dumps({"own": stated["statistics"]}))["own"]
    for name in modalities:
        known = getattr(statistics, name)
        if known is None or len(known.mean) != _CHANNELS[name]:
            raise ValueError(f"no statistics of {name}")
    return ChipFile(
        path=path,
        name=str(stated["name"]),
        count=count,
        shape_yx=(height, width),
        modalities=modalities,
        statistics=statistics,
        facts=f"{stated['name']}: {count} chips of {height}×{width} px, {stated['source']} "
        f"({stated['licence']})",
        digest=sha256_of_file(path),
    )


def _standardise(
    source: ChipFile | ReaderChips, rgb: Tensor | None, sar: Tensor | None, stated: Tensor | None
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    """Standardise what was read; 0 where any channel, or what is stated, says there is no data."""
    present = [one for one in (rgb, sar) if one is not None]
    if not present:
        shown = " and ".join(source.modalities)
        raise InputError(f"Chips of {source.name} show {shown} only; leave that source out.")
    valid = torch.stack([one.isfinite().all(1, keepdim=True) for one in present]).all(0)
    if stated is not None:
        valid = valid & (stated > 0)
    rgb, sar = source.statistics.standardise(rgb, sar)
    return _blank(rgb, valid), _blank(sar, valid), valid


def _blank(images: Tensor | None, valid: Tensor) -> Tensor | None:
    return None if images is None else torch.where(valid, images, 0.0)
