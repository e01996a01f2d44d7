"""Chips to learn from, made up: files, patch folders, cubes, and a MaRS and lessons small enough for them."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import rasterio
import zarr
from affine import Affine
from odc.geo.geobox import GeoBox

from catalog.chips.records import Chip
from catalog.cubes.layout import CUBE_FOLDER
from catalog.records import Band, Grid
from catalog.registrations.plan import SceneFacts
from models.mars.config import MarsConfig
from models.mars.lessons import LessonConfig

CRS = "EPSG:32633"
SMALL = MarsConfig(
    name="small",
    embed_dim=16,
    depths=(1, 1, 1, 1),
    heads=(1, 1, 2, 4),
    window=4,
    image_px=32,
    mask_block_px=8,
    mma_rounds=1,
    mma_heads=4,
    mlp_ratio=2.0,
    dense_width=32,
    fill_width=16,
    drop_path=0.2,
)
LESSONS = LessonConfig(chips=4, size_px=32, scene_px=48, masked=2, alone=2, real=2)


@dataclasses.dataclass(frozen=True)
class ArrayChips:
    """Chips in memory, as a catalogue's reader gives them."""

    chips: tuple[Chip, ...]
    name: str = "made-up"
    sar_unit: str = "dB"

    def __len__(self):
        return len(self.chips)

    def read(self, index):
        return self.chips[index]


def write_tif(path, pixels, *, corner=(400_000, 5_000_000), crs=CRS, **more):
    """Write a GeoTIFF of 10 m pixels; pixels are (bands, height, width) or (height, width)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bands = pixels if pixels.ndim == 3 else pixels[None]
    with rasterio.open(
        path, "w", driver="GTiff", width=bands.shape[2], height=bands.shape[1], count=len(bands),
        dtype=bands.dtype, crs=crs, transform=Affine(10, 0, corner[0], 0, -10, corner[1]), **more,
    ) as file:  # fmt: skip
        file.write(bands)


def make_cube(store, name, arrays, bands, *, corner=(400_000, 5_000_000), pixel=10.0, radar=False):
    """Write the pixels of a cube's full resolution, and return what its item says."""
    shape = next(iter(arrays.values())).shape
    group = zarr.create_group(store / "scenes" / name / CUBE_FOLDER / "0", zarr_format=3)
    for band, pixels in arrays.items():
        group.create_array(band, data=pixels, chunks=(32, 32))
    grid = Grid(
        crs=CRS,
        transform=(pixel, 0.0, corner[0], 0.0, -pixel, corner[1]),
        shape_yx=shape,
        shard_px=64,
        chunk_px=32,
    )
    return SceneFacts(
        id=name, collection="scenes", digest="0" * 64, path=f"scenes/{name}", title=name, grid=grid,
        bands=tuple(bands), datetime=dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        geometry=GeoBox(shape, Affine(*grid.transform), CRS).extent.to_crs("EPSG:4326").json, radar=radar,
    )  # fmt: skip


def colour(name):
    return Band(name=name, asset="a", href="", dtype="uint16", nodata=0, scale=1e-4, common_name=name)


def backscatter(unit):
    return Band(name="vv", asset="a", href="", dtype="float32", nodata="nan", unit=unit)


def write_patches(folder, sensors=("Umbra", "Capella"), names=("a.tif", "b.tif")):
    """Write folders of pairs as the published set has them; the first rows of radar hold no data."""
    rng = np.random.default_rng(2)
    for sensor in sensors:
        for name in names:
            patches = folder / f"{sensor}_patches"
            write_tif(patches / "rgb" / name, rng.integers(1, 255, (3, 48, 40), dtype=np.uint8))
            radar = rng.integers(1, 5000, (48, 40), dtype=np.uint16)
            radar[:4] = 0
            write_tif(patches / "sar" / name, radar)
    return folder


def write_cubes(store):
    """Write an optical cube of 150 × 100 px, and a radar one that begins 10 px right and 20 px above of it.

    Returns:
        What their items say, and their pixels.
    """
    rng = np.random.default_rng(1)
    optical = {
        name: rng.integers(500, 3000, (150, 100), dtype=np.uint16) for name in ("red", "green", "blue")
    }
    optical["red"][:40, :40] = 0
    power = rng.gamma(3, 0.03, (140, 120)).astype(np.float32)
    power[20:36, :32] = np.nan
    return (
        make_cube(store, "optical", optical, map(colour, optical)),
        make_cube(
            store, "radar", {"vv": power}, [backscatter(None)], corner=(400_100, 5_000_200), radar=True
        ),
        optical,
        power,
    )
