"""Chips straight from cubes of a store, by number: no files in between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import zarr
from affine import Affine
from numpy.typing import NDArray

from catalog.chips.radar_units import blank_zeros, check_unit, read_unit, to_decibels
from catalog.chips.records import Chip
from catalog.chips.windows import (
    LEAST_VALID,
    PUBLISHED_SIZE_PX,
    ChipChoice,
    ChipWindow,
    choose_windows,
    plan_windows,
)
from catalog.pictures.previews import choose_rgb
from catalog.records import Band, Grid
from catalog.registrations.grids import is_same_crs, share_ground
from catalog.registrations.placing import Window, assemble, cut_grid
from catalog.registrations.plan import SceneFacts
from catalog.registrations.reading import open_pixels, read_stored, to_physical
from infra.errors import InputError
from infra.storage import open_storage

Ground: TypeAlias = tuple[tuple[tuple[int, int], tuple[int, int]], tuple[int, int]]
_SAR = 1
_WHOLE = 1e-4  # pixels
_MOST_PX = 4096


@dataclass(frozen=True, kw_only=True)
class AlignedCubes:
    """An optical and a radar cube of one place, and the chips that both give on the optical one's grid.

    Their pixels lie on one another; or a registration says where those of the radar cube truly lie, and
    they are put onto the optical grid when they are read.

    Attributes:
        store: of both, a path or URI.
        optical: with red, green and blue, or three bands drawn as such.
        sar: with at least one polarisation.
        size_px: side of a chip.
        windows: in pixels of the ground that both cover.
        corners_yx: row and column of that ground's first pixel in the optical and in the radar cube; 0
            and 0 where the latter is registered.
        registration: item of the registration that corrected the radar cube's grid; empty without one.
        sar_unit: of the chips that are read; decibels whatever is stored.
    """

    store: str
    optical: SceneFacts
    sar: SceneFacts
    size_px: int
    windows: tuple[ChipWindow, ...]
    corners_yx: tuple[tuple[int, int], tuple[int, int]]
    registration: str = ""
    sar_unit: str = field(default="dB", init=False)

    @property
    def name(self) -> str:
        """Both items' ids, or that of their registration."""
        return self.registration or f"{self.optical.id}+{self.sar.id}"

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the windows among all that cover the ground, row by row, from 0."""
        _, shape = _find_ground(self.optical, self.sar, self.registration)
        numbers = {window: number for number, window in enumerate(plan_windows(shape, self.size_px))}
        return tuple(numbers[window] for window in self.windows)

    def __len__(self) -> int:
        """Return how many chips there are."""
        return len(self.windows)

    def take(self, numbers: Sequence[int]) -> AlignedCubes:
        """Return some of the chips, by number."""
        return replace(self, windows=tuple(self.windows[number] for number in numbers))

    def read(self, index: int) -> Chip:
        """Read a chip: optical in physical values, radar in decibels.

        Raises:
            DataError: what is stored is damaged, or radar is not in the unit that it declares.
        """
        window = self.windows[index]
        rgb = self._planes(self.optical, choose_rgb(self.optical.bands).names, 0, window)
        (band,) = _radar_bands(self.sar)
        unit = read_unit(band.unit)
        sar = self._planes(self.sar, (band.name,), 1, window)
        check_unit(sar, unit, f"band {band.name!r} of {self.sar.id}")
        return Chip(rgb, to_decibels(sar, unit))

    @cached_property
    def _groups(self) -> tuple[zarr.Group, zarr.Group]:
        """Both cubes, opened once in every process."""
        storage = open_storage(self.store)
        return open_pixels(storage, self.optical), open_pixels(storage, self.sar)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is open: another process opens its own."""
        return {name: value for name, value in self.__dict__.items() if name != "_groups"}

    def _planes(
        self, scene: SceneFacts, names: tuple[str, ...], side: int, window: ChipWindow
    ) -> NDArray[np.float32]:
        group = self._groups[side]
        by_name = {band.name: band for band in scene.bands}

        def read(slices: Window) -> NDArray[np.float32]:
            return np.stack([to_physical(read_stored(group, name, slices), by_name[name]) for name in names])

        if self.registration and side == _SAR:
            placed = assemble(scene.grid, cut_grid(self.optical.grid, window.slices), len(names), read)
            return np.ascontiguousarray(placed.transpose(2, 0, 1))
        row, col = self.corners_yx[side]
        return read(ChipWindow(window.row + row, window.col + col, window.size_px).slices)


def plan_chips(
    store: str,
    optical: SceneFacts,
    sar: SceneFacts,
    *,
    size_px: int = PUBLISHED_SIZE_PX,
    least_valid: float = LEAST_VALID,
    registration: str = "",
) -> tuple[AlignedCubes, ChipChoice]:
    """Plan the chips that an optical and a radar cube give together, by the rule of the paper.

    Args:
        store: That holds both.
        optical: With at least three bands to show.
        sar: Radar.
        size_px: Side of the chips.
        least_valid: Part of a chip that must hold radar data.
        registration: Item of the registration that the radar cube's grid was corrected by.

    Returns:
        The source of those chips, and how many places were left out and why.

    Raises:
        InputError: not an optical and a radar cube, not on one grid, or chips larger than what both cover.
        DataError: what is stored is damaged.
    """
    planned = cover_cubes(store, optical, sar, size_px=size_px, registration=registration)
    choice = choose_windows(_shares(planned), least=least_valid)
    return replace(planned, windows=choice.windows), choice


def cover_cubes(
    store: str, optical: SceneFacts, sar: SceneFacts, *, size_px: int, registration: str = ""
) -> AlignedCubes:
    """Return all chips that two cubes may give, with and without data; no pixel is read.

    Args:
        store: That holds both.
        optical: With at least three bands to show.
        sar: Radar.
        size_px: Side of the chips.
        registration: See ``plan_chips``.

    Raises:
        InputError: see ``plan_chips``.
    """
    if not 1 <= size_px <= _MOST_PX:
        raise InputError(f"Chips of {size_px} px are asked for; expected 1 to {_MOST_PX}.")
    _check_sides(optical, sar)
    corners, shape = _find_ground(optical, sar, registration)
    return AlignedCubes(
        store=store,
        optical=optical,
        sar=sar,
        size_px=size_px,
        windows=plan_windows(shape, size_px),
        corners_yx=corners,
        registration=registration,
    )


def _shares(planned: AlignedCubes) -> list[tuple[ChipWindow, float, float]]:
    """Return which part of every window holds data; only the bands' first are read for it."""
    found = []
    optical = choose_rgb(planned.optical.bands).names[:1]
    (band,) = _radar_bands(planned.sar)
    unit = read_unit(band.unit)
    for window in planned.windows:
        rgb = planned._planes(planned.optical, optical, 0, window)
        radar = planned._planes(planned.sar, (band.name,), 1, window)
        found.append((window, _part(rgb), _part(blank_zeros(radar, unit))))
    return found


def _part(values: NDArray[np.float32]) -> float:
    return float(np.isfinite(values).mean())


def _check_sides(optical: SceneFacts, sar: SceneFacts) -> None:
    if optical.radar or not optical.bands or len(choose_rgb(optical.bands).names) != 3:
        shown = ", ".join(band.name for band in optical.bands) or "none"
        raise InputError(
            f"{optical.id} is no colour image (bands: {shown}); give a cube with red, green and blue first."
        )
    if not sar.radar or not sar.bands:
        raise InputError(f"{sar.id} is no radar cube; give one with a polarisation such as vv or hh second.")


def _radar_bands(sar: SceneFacts) -> tuple[Band]:
    """Return the one polarisation MaRS looks at: the co-polarised one where there is one."""
    name = choose_rgb(sar.bands).names[0]
    return (next(band for band in sar.bands if band.name == name),)


def _find_ground(optical: SceneFacts, sar: SceneFacts, registration: str) -> Ground:
    """Return where the ground that chips are cut from begins in each, and its height and width, pixels."""
    if not registration:
        return _common_ground(optical, sar)
    _check_grids(optical.grid, sar.grid, f"{optical.id} and {sar.id}")
    if not share_ground(optical.grid, sar.grid):
        raise InputError(f"{optical.id} and {sar.id} share no ground; give two cubes of one place.")
    # All of the optical scene: chips without radar are left out like any others without data.
    return ((0, 0), (0, 0)), optical.grid.shape_yx


def _common_ground(optical: SceneFacts, sar: SceneFacts) -> Ground:
    """Return where the ground that both cover begins in each, and its height and width, pixels."""
    col, row = _shift(optical.grid, sar.grid, f"{optical.id} and {sar.id}")
    tops = [(max(shift, 0), max(-shift, 0)) for shift in (row, col)]
    shape = [
        min(own - first, other - second)
        for own, other, (first, second) in zip(optical.grid.shape_yx, sar.grid.shape_yx, tops, strict=True)
    ]
    if min(shape) < 1:
        raise InputError(f"{optical.id} and {sar.id} share no ground; give two cubes of one place.")
    (top, sar_top), (left, sar_left) = tops
    return ((top, left), (sar_top, sar_left)), (shape[0], shape[1])


def _shift(optical: Grid, sar: Grid, which: str) -> tuple[int, int]:
    """Return column and row of the optical grid at which the radar one begins."""
    _check_grids(optical, sar, which)
    relative = ~Affine(*optical.transform) @ Affine(*sar.transform)
    reach = max(*sar.shape_yx, *optical.shape_yx)
    bent = max(abs(relative.a - 1), abs(relative.b), abs(relative.d), abs(relative.e - 1)) * reach
    col, row = round(relative.c), round(relative.f)
    apart = max(abs(relative.c - col), abs(relative.f - row))
    if not is_same_crs(optical, sar) or bent > _WHOLE or apart > _WHOLE:
        raise InputError(
            f"{which} do not lie on one grid; ingest both with one CRS, resolution and area, or register the "
            "radar cube to the other and give --registration."
        )
    return col, row


def _check_grids(optical: Grid, sar: Grid, which: str) -> None:
    known = all(map(math.isfinite, (*optical.transform, *sar.transform)))
    if not known or any(Affine(*grid.transform).is_degenerate for grid in (optical, sar)):
        raise InputError(f"{which} lie on grids that are no grids; look at their items' proj:transform.")
