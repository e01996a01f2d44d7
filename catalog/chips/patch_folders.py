"""Chips as the published set has them: ``{Umbra,Capella}_patches/{rgb,sar}/same_name.tif``."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.chips.radar_units import RadarUnit, blank_zeros, check_unit
from catalog.chips.records import Chip
from catalog.pairs.pictures import read_picture
from infra.errors import DataError, NotFoundError

SENSORS = ("Umbra", "Capella")
_SUFFIXES = {".tif", ".tiff"}


@dataclass(frozen=True, kw_only=True)
class PatchFolder:
    """One sensor's pairs of files.

    Attributes:
        folder: holds ``rgb`` and ``sar``.
        name: of the sensor.
        files: names that both have, sorted.
        sar_unit: what the radar files hold; as published, amplitude.
        checksums: CRC-32 of each pair's bytes, rgb then sar; empty where nobody has summed them up.
    """

    folder: Path
    name: str
    files: tuple[str, ...]
    sar_unit: RadarUnit = "amplitude"
    checksums: tuple[int, ...] = ()

    def __len__(self) -> int:
        """Return how many pairs there are."""
        return len(self.files)

    def read(self, index: int) -> Chip:
        """Read a pair; nodata of either file is no data, and so is 0 in a radar file that is not in decibels.

        Raises:
            DataError: a file is damaged, of other bands than expected, not of its partner's size, or not what
                it was when it was summed up.
        """
        name = self.files[index]
        if self.checksums and self.checksums[index] != self._sum_up(name):
            raise DataError(
                f"{self.folder}/rgb/{name} or its radar partner was changed since its chips were planned; "
                "plan them anew."
            )
        rgb, sar = (_read(self.folder / side / name, bands) for side, bands in (("rgb", 3), ("sar", 1)))
        if rgb.shape[1:] != sar.shape[1:]:
            raise DataError(
                f"{self.folder}/rgb/{name} has {rgb.shape[1]} × {rgb.shape[2]} px, its radar partner "
                f"{sar.shape[1]} × {sar.shape[2]}; expected one size."
            )
        sar = blank_zeros(sar, self.sar_unit)
        check_unit(sar, self.sar_unit, f"{self.folder}/sar/{name}")
        return Chip(rgb, sar)

    def sealed(self) -> PatchFolder:
        """Return the same pairs with the sums of their bytes, all of which are read for it."""
        return replace(self, checksums=tuple(map(self._sum_up, self.files)))

    def _sum_up(self, name: str) -> int:
        total = 0
        for side in ("rgb", "sar"):
            try:
                total = zlib.crc32((self.folder / side / name).read_bytes(), total)
            except OSError as exc:
                raise DataError(f"{self.folder}/{side}/{name} cannot be read ({exc}).") from exc
        return total


def find_patches(folder: Path, *, sar_unit: RadarUnit = "amplitude") -> tuple[PatchFolder, ...]:
    """Find the sensors' pairs below a folder; files are not opened yet.

    Raises:
        NotFoundError: there is no pair at all.
        DataError: a file has no partner of its name on the other side.
    """
    found = []
    for sensor in SENSORS:
        sides = [_names(folder / f"{sensor}_patches" / side) for side in ("rgb", "sar")]
        alone = sorted(sides[0] ^ sides[1])
        if alone:
            raise DataError(
                f"{folder}/{sensor}_patches has {alone[0]!r} on one side only ({len(alone)} such in all); "
                "expected the same names in rgb and sar."
            )
        if sides[0]:
            found.append(
                PatchFolder(
                    folder=folder / f"{sensor}_patches",
                    name=sensor.lower(),
                    files=tuple(sorted(sides[0])),
                    sar_unit=sar_unit,
                )
            )
    if not found:
        raise NotFoundError(
            f"{folder} holds no pairs; expected {' or '.join(SENSORS)}_patches/{{rgb,sar}}/name.tif below it."
        )
    return tuple(found)


def _names(side: Path) -> set[str]:
    return (
        {path.name for path in side.iterdir() if path.suffix.lower() in _SUFFIXES} if side.is_dir() else set()
    )


def _read(path: Path, bands: int) -> NDArray[np.float32]:
    picture = read_picture(path)
    pixels = picture.pixels[..., None] if picture.pixels.ndim == 2 else picture.pixels
    if pixels.shape[2] != bands:
        raise DataError(f"{path} has {pixels.shape[2]} bands; expected {bands}.")
    values = np.moveaxis(pixels, 2, 0).astype(np.float32)
    return values if picture.valid is None else np.where(picture.valid, values, np.float32(np.nan))
