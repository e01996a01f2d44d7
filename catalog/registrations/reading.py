"""Read the pixels of a cube or a drawn map on any grid, as a matcher and as a person wants to see them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import rasterio
import zarr
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import MemoryFile
from rasterio.warp import reproject

from catalog.cubes.layout import CUBE_FOLDER
from catalog.cubes.objects import open_zarr_objects
from catalog.osm.product import MAP_NAME
from catalog.pictures.previews import Rgba, choose_rgb, render_rgba
from catalog.pictures.stretch import to_radar_channels
from catalog.readers.protocol import Pixels, fill_value, valid_mask
from catalog.records import Band, Grid
from catalog.registrations.grids import is_same_crs, project_pixels
from catalog.registrations.plan import SceneFacts
from catalog.sources.masks import cloud_mask, rule_for_band
from infra.errors import DataError
from infra.storage import Storage

_MARGIN_PX = 4
_WHOLE = 1e-4  # pixels: grids that differ by less are one


@dataclass(frozen=True, eq=False)
class ReadScene:
    """One product on a grid.

    Attributes:
        values: float32 (height, width, bands): what a matcher compares; NaN where there is no data. Radar
            is in decibels.
        rgba: uint8 (4, height, width): the same as a picture.
    """

    values: NDArray[np.float32]
    rgba: Rgba


def read_scene(storage: Storage, scene: SceneFacts, grid: Grid) -> ReadScene:
    """Read a product on a grid, clouds left out where the product knows them.

    Pixels are taken as they are where the grids agree, else resampled: averaged onto larger pixels, bilinear
    onto others.

    Raises:
        DataError: what is stored is damaged.
        NotFoundError: it is not there.
    """
    if not scene.bands:
        return _read_map(storage, scene, grid)
    chosen = choose_rgb(scene.bands)
    group = open_pixels(storage, scene)
    window = find_source_window(grid, scene.grid)
    by_name = {band.name: band for band in scene.bands}
    spoilt = _find_clouds(group, scene, window)
    planes = []
    for name in chosen.names:
        band = by_name[name]
        plane = to_physical(read_stored(group, name, window), band)
        plane[spoilt] = np.nan
        if chosen.kind == "radar":
            plane = to_radar_channels(plane[None], decibel=(band.unit or "").lower() == "db")[0]
        planes.append(place_on_grid(plane, cut_grid(scene.grid, window), grid))
    values = np.stack(planes, axis=-1)
    return ReadScene(values, _draw(values, [by_name[name] for name in chosen.names]))


def open_pixels(storage: Storage, scene: SceneFacts) -> zarr.Group:
    """Open a cube's full resolution for reading.

    Raises:
        DataError: its metadata are damaged or missing, or say another size than its item.
    """
    path = f"{scene.path}/{CUBE_FOLDER}/0"
    with _damage_told(storage.href(path)):
        store = open_zarr_objects(storage, path)
        group = zarr.open_group(store, mode="r", zarr_format=3, use_consolidated=False)
        for band in scene.bands:
            if getattr(group[band.name], "shape", None) != scene.grid.shape_yx:
                raise ValueError(f"{band.name} is not of {scene.grid.shape_yx} pixels, as its item says")
        return group


def read_stored(group: zarr.Group, name: str, window: tuple[slice, slice]) -> Pixels:
    """Read a window of one variable, numbers as stored.

    Raises:
        DataError: the variable is damaged or missing.
    """
    with _damage_told(f"{group.store_path}/{name}"):
        array = group[name]
        assert isinstance(array, zarr.Array)
        return np.asarray(array[window])


@contextmanager
def _damage_told(place: str) -> Iterator[None]:
    """Tell what zarr and its codecs say of broken objects in our words."""
    try:
        yield
    except (ValueError, LookupError, RuntimeError, OSError) as exc:
        line = next(iter(str(exc).splitlines()), type(exc).__name__)[:120]
        raise DataError(f"{place} cannot be read ({line}); delete the product and make it again") from exc


def to_physical(pixels: Pixels, band: Band) -> NDArray[np.float32]:
    """Apply scale and offset; NaN where there is no data."""
    values = pixels.astype(np.float32) * np.float32(band.scale) + np.float32(band.offset)
    return np.where(valid_mask(pixels, fill_value(band)), values, np.float32(np.nan))


def find_source_window(grid: Grid, source: Grid) -> tuple[slice, slice]:
    """Return the rows and columns of a source that a grid needs; empty where they share no ground."""
    rows, cols = grid.shape_yx
    steps = np.linspace(0, 1, 17)
    across, down = (axis.ravel() for axis in np.meshgrid(steps * cols, steps * rows))
    seen = project_pixels(grid, source, np.column_stack([across, down]))
    seen = seen[np.isfinite(seen).all(axis=1)]
    if not len(seen):
        return slice(0, 0), slice(0, 0)
    low = np.floor(seen.min(axis=0) + _WHOLE).astype(np.int64) - _MARGIN_PX
    high = np.ceil(seen.max(axis=0) - _WHOLE).astype(np.int64) + _MARGIN_PX
    (left, top), (right, bottom) = np.maximum(low, 0).tolist(), high.tolist()
    height, width = source.shape_yx
    return slice(top, max(top, min(bottom, height))), slice(left, max(left, min(right, width)))


def cut_grid(grid: Grid, window: tuple[slice, slice]) -> Grid:
    """Return the grid of a window of another."""
    rows, cols = window
    transform = Affine(*grid.transform) @ Affine.translation(cols.start, rows.start)
    return Grid(
        crs=grid.crs,
        transform=tuple(transform[:6]),
        shape_yx=(rows.stop - rows.start, cols.stop - cols.start),
        shard_px=grid.shard_px,
        chunk_px=grid.chunk_px,
    )


def place_on_grid(plane: NDArray[np.float32], source: Grid, grid: Grid) -> NDArray[np.float32]:
    """Put one float plane, NaN where there is no data, onto another grid."""
    result = np.full(grid.shape_yx, np.nan, np.float32)
    if plane.size == 0:
        return result
    relative = ~Affine(*source.transform) @ Affine(*grid.transform)
    if is_same_crs(source, grid) and _is_whole_shift(relative):
        return _take_window(plane, round(relative.f), round(relative.c), result)
    coarser = math.sqrt(abs(relative.determinant)) > 1.5 if is_same_crs(source, grid) else False
    reproject(
        plane,
        result,
        src_transform=Affine(*source.transform),
        src_crs=source.crs,
        src_nodata=np.nan,
        dst_transform=Affine(*grid.transform),
        dst_crs=grid.crs,
        dst_nodata=np.nan,
        resampling=Resampling.average if coarser else Resampling.bilinear,
    )
    return result


def _is_whole_shift(relative: Affine) -> bool:
    plain = np.allclose(relative[:6], (1, 0, round(relative.c), 0, 1, round(relative.f)), atol=_WHOLE)
    return bool(plain)


def _take_window(
    plane: NDArray[np.float32], top: int, left: int, result: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Copy what a window of a plane holds; the window may reach beyond it."""
    (height, width), (rows, cols) = plane.shape, result.shape
    first_row, last_row = max(top, 0), min(top + rows, height)
    first_col, last_col = max(left, 0), min(left + cols, width)
    if first_row < last_row and first_col < last_col:
        result[first_row - top : last_row - top, first_col - left : last_col - left] = plane[
            first_row:last_row, first_col:last_col
        ]
    return result


def _find_clouds(group: zarr.Group, scene: SceneFacts, window: tuple[slice, slice]) -> NDArray[np.bool_]:
    rows, cols = window
    spoilt = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.bool_)
    for band in scene.bands:
        rule = rule_for_band(band.name)
        if rule is not None and np.dtype(band.dtype).kind in "iu":
            spoilt |= cloud_mask(read_stored(group, band.name, window), rule)
    return spoilt


def _draw(values: NDArray[np.float32], bands: list[Band]) -> Rgba:
    """Draw values that are physical already."""
    plain = [
        Band(
            name=band.name,
            asset=band.asset,
            href="",
            dtype="float32",
            nodata="nan",
            common_name=band.common_name,
            unit="dB" if choose_rgb(bands).kind == "radar" else band.unit,
            quality=band.quality,
        )
        for band in bands
    ]
    return render_rgba({band.name: values[..., index] for index, band in enumerate(bands)}, plain)


def _read_map(storage: Storage, scene: SceneFacts, grid: Grid) -> ReadScene:
    data = storage.read(f"{scene.path}/{MAP_NAME}")
    window = find_source_window(grid, scene.grid)
    rows, cols = window
    try:
        with MemoryFile(data) as memory, memory.open() as file:
            place = rasterio.windows.Window.from_slices(rows, cols)
            empty = rows.stop == rows.start or cols.stop == cols.start
            shape = (0, 0) if empty else (rows.stop - rows.start, cols.stop - cols.start)
            colours = np.zeros((3, *shape), np.uint8) if empty else file.read((1, 2, 3), window=place)
            mask = np.zeros(shape, np.uint8) if empty else file.dataset_mask(window=place)
    except rasterio.errors.RasterioError as exc:
        raise DataError(f"{storage.href(scene.path)}/{MAP_NAME} cannot be read; make the map again") from exc
    source = cut_grid(scene.grid, window)
    planes = [
        place_on_grid(np.where(mask > 0, colour, np.nan).astype(np.float32), source, grid)
        for colour in colours
    ]
    values = np.stack(planes, axis=-1)
    alpha = np.where(np.isfinite(values).all(axis=-1), 255, 0).astype(np.uint8)
    shown = np.where(alpha > 0, np.nan_to_num(np.moveaxis(values, -1, 0)), 0)
    return ReadScene(values, np.concatenate([np.rint(shown).astype(np.uint8), alpha[None]]))
