"""Chips cut from pairs of GeoTIFF files that lie on one grid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from catalog.chips.geotiffs import RasterGrid, is_same_grid, read_band, read_grid
from catalog.chips.radar_units import RadarUnit, blank_zeros, check_unit
from catalog.chips.records import Chip
from catalog.chips.windows import ChipWindow, plan_windows
from infra.errors import DataError, NotFoundError

_REFLECTANCE = 1e-4  # of Sentinel-2's stored numbers
_BIGEARTHNET_COLOURS = ("B04", "B03", "B02")


@dataclass(frozen=True)
class BandPlace:
    """Where one band is: a GeoTIFF, and the number of the band in it, from 1.

    Attributes:
        path: of the file.
        index: of the band.
    """

    path: Path
    index: int = 1


@dataclass(frozen=True)
class RasterPair:
    """Where an optical and a radar image of one place are.

    Attributes:
        rgb: red, green and blue; empty for radar only.
        sar: None for optical only.
        scale: physical values per stored number of the optical bands.
    """

    rgb: tuple[BandPlace, ...]
    sar: BandPlace | None
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class RasterChips:
    """Squares of pairs of files.

    Attributes:
        name: of the set.
        pairs: the files.
        places: which pair, and where in it.
        sar_unit: what the radar files hold.
    """

    name: str
    pairs: tuple[RasterPair, ...]
    places: tuple[tuple[int, ChipWindow], ...]
    sar_unit: RadarUnit = "dB"

    def __len__(self) -> int:
        """Return how many chips there are."""
        return len(self.places)

    def read(self, index: int) -> Chip:
        """Read a chip; NaN where a file says there is no data.

        Raises:
            DataError: a file is damaged, its bands are not of one size, or radar is not in its unit.
        """
        row, window = self.places[index]
        pair = self.pairs[row]
        rgb = np.stack([_cut(place, window) for place in pair.rgb]) if pair.rgb else None
        sar = None
        if pair.sar is not None:
            sar = blank_zeros(_cut(pair.sar, window)[None], self.sar_unit)
            check_unit(sar, self.sar_unit, str(pair.sar.path))
        return Chip(None if rgb is None else rgb * np.float32(pair.scale), sar)


def cut_rasters(
    name: str, pairs: Sequence[RasterPair], *, size_px: int, sar_unit: RadarUnit = "dB"
) -> RasterChips:
    """Plan squares over pairs of files.

    Args:
        name: of the set.
        pairs: the files; at least one.
        size_px: side of the squares.
        sar_unit: what the radar files hold.

    Raises:
        NotFoundError: there is no pair.
        InputError: squares are larger than a file.
        DataError: a file cannot be read, or the files of a pair do not lie on one grid.
    """
    if not pairs:
        raise NotFoundError(f"{name} has no pair of files; look at the folder that was named")
    places = [
        (row, window) for row, pair in enumerate(pairs) for window in plan_windows(_shape(pair), size_px)
    ]
    return RasterChips(name=name, pairs=tuple(pairs), places=tuple(places), sar_unit=sar_unit)


def find_bigearthnet(folder: Path) -> tuple[RasterPair, ...]:
    """Find the pairs of a BigEarthNet folder with ``S1`` and ``S2`` below it: colours, and VV in decibels.

    Raises:
        DataError: a Sentinel-1 patch does not say which Sentinel-2 patch it belongs to, or that is missing.
    """
    found = []
    for radar in sorted(path for path in folder.glob("S1/*") if path.is_dir()):
        optical = folder / "S2" / _partner(radar)
        bands = tuple(optical / f"{optical.name}_{band}.tif" for band in _BIGEARTHNET_COLOURS)
        files = (*bands, radar / f"{radar.name}_VV.tif")
        missing = [str(path) for path in files if not path.is_file()]
        if missing:
            raise DataError(f"{missing[0]} is missing; expected it beside the other bands of {radar.name}.")
        found.append(RasterPair(tuple(map(BandPlace, bands)), BandPlace(files[-1]), _REFLECTANCE))
    return tuple(found)


def find_sen1floods11(folder: Path) -> tuple[RasterPair, ...]:
    """Find the pairs of a Sen1Floods11 folder: colours of 13 Sentinel-2 bands, and VV in decibels.

    Raises:
        DataError: a Sentinel-1 chip has no Sentinel-2 chip beside it.
    """
    found = []
    for radar in sorted(folder.rglob("*_S1Hand.tif")):
        optical = radar.with_name(radar.name.replace("_S1Hand", "_S2Hand"))
        if not optical.is_file():
            raise DataError(f"{optical} is missing; expected it beside {radar.name}.")
        colours = tuple(BandPlace(optical, index) for index in (4, 3, 2))
        found.append(RasterPair(colours, BandPlace(radar), _REFLECTANCE))
    return tuple(found)


def find_pictures(folder: Path) -> tuple[RasterPair, ...]:
    """Find GeoTIFF files whose first three bands are red, green and blue; optical only."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in {".tif", ".tiff"})
    return tuple(RasterPair(tuple(BandPlace(path, index) for index in (1, 2, 3)), None) for path in paths)


def _partner(radar: Path) -> str:
    path = radar / f"{radar.name}_labels_metadata.json"
    try:
        name = json.loads(path.read_bytes())["corresponding_s2_patch"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as exc:
        raise DataError(f"{path} does not name the Sentinel-2 patch of {radar.name} ({exc}).") from exc
    if not isinstance(name, str) or Path(name).name != name or name in {"", ".", ".."}:
        raise DataError(f"{path} names {name!r} as its Sentinel-2 patch; expected the name of a folder.")
    return name


def _shape(pair: RasterPair) -> tuple[int, int]:
    """Return height and width of the grid that all files of a pair lie on."""
    places = (*pair.rgb, *(() if pair.sar is None else (pair.sar,)))
    grids: dict[Path, RasterGrid] = {}
    for place in places:
        grid = grids.setdefault(place.path, read_grid(place.path))
        if not 1 <= place.index <= grid.bands:
            raise DataError(f"{place.path} has {grid.bands} bands; expected at least {place.index}.")
    first, *others = grids.items()
    for path, grid in others:
        if not is_same_grid(first[1], grid):
            raise DataError(
                f"{path} does not lie on the grid of {first[0]} ({grid} and {first[1]}); expected one CRS, "
                "one transform and one size."
            )
    return first[1].shape_yx


def _cut(place: BandPlace, window: ChipWindow) -> NDArray[np.float32]:
    return read_band(place.path, place.index, window.slices)
