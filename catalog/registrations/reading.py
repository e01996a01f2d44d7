"""Read the pixels of a cube or a drawn map on any grid, as a matcher and as a person wants to see them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import rasterio
import zarr
from numpy.typing import NDArray
from rasterio.io import MemoryFile

from catalog.cubes.layout import CUBE_FOLDER
from catalog.cubes.objects import open_zarr_objects
from catalog.osm.product import MAP_NAME
from catalog.pictures.previews import Rgba, choose_rgb, render_rgba
from catalog.pictures.stretch import to_radar_channels
from catalog.readers.protocol import Pixels, fill_value, valid_mask
from catalog.records import Band, Grid
from catalog.registrations.placing import Window, assemble
from catalog.registrations.plan import SceneFacts
from catalog.sources.masks import cloud_mask, rule_for_band
from infra.errors import DataError
from infra.storage import Storage


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

    Large products are read block by block; see ``placing.assemble``.

    Raises:
        DataError: what is stored is damaged.
        NotFoundError: it is not there.
    """
    if not scene.bands:
        return _read_map(storage, scene, grid)
    chosen = choose_rgb(scene.bands)
    group = open_pixels(storage, scene)
    by_name = {band.name: band for band in scene.bands}
    bands = [by_name[name] for name in chosen.names]

    def read(window: Window) -> NDArray[np.float32]:
        planes = np.stack([to_physical(read_stored(group, band.name, window), band) for band in bands])
        planes[:, _find_clouds(group, scene, window)] = np.nan
        return planes

    values = assemble(scene.grid, grid, len(bands), read)
    if chosen.kind == "radar":
        # After it is on the grid: of several pixels the power is averaged, and whether numbers are decibels
        # is judged once.
        for index, band in enumerate(bands):
            decibel = (band.unit or "").lower() == "db"
            values[..., index] = to_radar_channels(values[None, ..., index], decibel=decibel)[0]
    return ReadScene(values, _draw(values, bands))


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


def read_stored(group: zarr.Group, name: str, window: Window) -> Pixels:
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


def _find_clouds(group: zarr.Group, scene: SceneFacts, window: Window) -> NDArray[np.bool_]:
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
    try:
        with MemoryFile(data) as memory, memory.open() as file:

            def read(window: Window) -> NDArray[np.float32]:
                place = rasterio.windows.Window.from_slices(*window)
                colours = file.read((1, 2, 3), window=place).astype(np.float32)
                colours[:, file.dataset_mask(window=place) == 0] = np.nan
                return np.asarray(colours, np.float32)

            values = assemble(scene.grid, grid, 3, read)
    except rasterio.errors.RasterioError as exc:
        raise DataError(f"{storage.href(scene.path)}/{MAP_NAME} cannot be read; make the map again") from exc
    alpha = np.where(np.isfinite(values).all(axis=-1), 255, 0).astype(np.uint8)
    shown = np.where(alpha > 0, np.nan_to_num(np.moveaxis(values, -1, 0)), 0)
    return ReadScene(values, np.concatenate([np.rint(shown).astype(np.uint8), alpha[None]]))
