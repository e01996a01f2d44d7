"""Make small scenes whose every pixel is known from its place, and plans and cubes of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from catalog.cubes.finish import begin_cube, finish_cube
from catalog.cubes.tiles import write_tile
from catalog.grid import list_tiles
from catalog.plan import plan_cubes
from catalog.records import Band, CubePlan, CubeReceipt, Grid, ReadOptions, Scene
from infra.storage import Storage

CELL_M = 10.0
ORIGIN_XY = (500_000.0, 5_400_000.0)
UTM_33 = "EPSG:32633"
NOON = dt.datetime(2024, 6, 1, 10, 30, tzinfo=dt.UTC)
MODIS_SINUSOIDAL = (
    'PROJCS["MODIS Sinusoidal",GEOGCS["Unknown datum",DATUM["Not specified (custom spheroid)",'
    'SPHEROID["Custom spheroid",6371007.181,0]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433]],PROJECTION["Sinusoidal"],PARAMETER["longitude_of_center",0],'
    'PARAMETER["false_easting",0],PARAMETER["false_northing",0],UNIT["metre",1],'
    'AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
)


def truth(geobox: GeoBox, dtype: str = "uint16", *, cell: float = CELL_M) -> NDArray[Any]:
    """Return what nature holds at the pixel centres of a grid: a number for each cell of the world.

    Integers are 1 to 250 (so 0 is free for nodata), in wide types to 4093; floats are dB-like, −25 to −5.
    """
    rows, cols = geobox.shape
    x, y = geobox.transform @ (np.arange(cols)[None, :] + 0.5, np.arange(rows)[:, None] + 0.5)
    east, south = np.floor(np.asarray(x) / cell), np.floor(-np.asarray(y) / cell)
    kind = np.dtype(dtype)
    cycle = 250 if kind.itemsize == 1 else 4093
    number = np.mod(east * 7 + south * 13, cycle)
    if kind.kind == "f":
        return (-25 + 20 * number / cycle).astype(kind)
    return (number + 1).astype(kind)


def make_geobox(
    shape_yx: tuple[int, int] = (64, 80),
    *,
    origin_xy: tuple[float, float] = ORIGIN_XY,
    step: float = CELL_M,
    crs: str = UTM_33,
) -> GeoBox:
    """Return a north-up grid by its upper-left corner."""
    left, top = origin_xy
    return GeoBox(shape_yx, Affine(step, 0, left, 0, -step, top), crs)


def make_grid(geobox: GeoBox, *, shard_px: int = 64, chunk_px: int = 32) -> Grid:
    """Turn a GeoBox into a plan's grid, small shards by default."""
    return Grid(
        crs=_crs_text(geobox),
        transform=tuple(geobox.transform[:6]),
        shape_yx=tuple(geobox.shape),
        shard_px=shard_px,
        chunk_px=chunk_px,
    )


def write_image(
    path: Path,
    geobox: GeoBox,
    pixels: NDArray[Any],
    *,
    nodata: float | None = 0.0,
    driver: str = "COG",
) -> Path:
    """Write ``(y, x)`` or ``(band, y, x)`` pixels as a GeoTIFF."""
    stack = pixels if pixels.ndim == 3 else pixels[None]
    options: dict[str, Any] = {"BLOCKSIZE": 128, "COMPRESS": "DEFLATE"} if driver == "COG" else {}
    with rasterio.open(
        path,
        "w",
        driver=driver,
        count=stack.shape[0],
        height=stack.shape[1],
        width=stack.shape[2],
        dtype=stack.dtype.name,
        crs=_crs_text(geobox),
        transform=geobox.transform,
        nodata=nodata,
        **options,
    ) as file:
        file.write(stack)
    return path


def footprint(geobox: GeoBox) -> dict[str, Any]:
    """Return a grid's outline as GeoJSON, lon/lat degrees; a grid across 180° goes on counting east of it."""
    box = geobox.boundingbox
    outline = shapely.segmentize(shapely.box(*box.bbox), max(box.span_x, box.span_y) / 8)
    to_lonlat = Transformer.from_crs(_crs_text(geobox), "EPSG:4326", always_xy=True)
    ring = [list(to_lonlat.transform(x, y)) for x, y in outline.exterior.coords]
    if max(lon for lon, _ in ring) - min(lon for lon, _ in ring) > 180:
        ring = [[lon % 360, lat] for lon, lat in ring]
    return {"type": "Polygon", "coordinates": [ring]}


def make_band(name: str, href: Path | str, **facts: Any) -> Band:
    """Describe one band; uint16 with nodata 0 unless told."""
    return Band(
        **({"name": name, "asset": name, "href": str(href), "dtype": "uint16", "nodata": 0.0} | facts)
    )


def make_scene(scene_id: str, geobox: GeoBox, bands: Sequence[Band], **facts: Any) -> Scene:
    """Describe one scene that fills a grid."""
    fields: dict[str, Any] = {
        "collection": "synthetic",
        "id": scene_id,
        "datetime": NOON,
        "geometry": footprint(geobox),
        "bands": tuple(bands),
    }
    return Scene(**(fields | facts))


def known_scene(
    folder: Path,
    scene_id: str = "known",
    *,
    geobox: GeoBox | None = None,
    dtypes: dict[str, str] | None = None,
    **facts: Any,
) -> Scene:
    """Write one COG for each band, pixels from ``truth``, and describe them."""
    geobox = geobox or make_geobox()
    bands = []
    for name, dtype in (dtypes or {"red": "uint16"}).items():
        nodata = float("nan") if np.dtype(dtype).kind == "f" else 0.0
        step = abs(geobox.resolution.x)
        path = write_image(
            folder / f"{scene_id}_{name}.tif", geobox, truth(geobox, dtype, cell=step), nodata=nodata
        )
        bands.append(
            make_band(name, path, dtype=dtype, nodata="nan" if np.dtype(dtype).kind == "f" else nodata)
        )
    return make_scene(scene_id, geobox, bands, **facts)


def plan_one(
    scenes: Sequence[Scene],
    grid: Grid,
    *,
    bands: Sequence[str] | None = None,
    **options: str,
) -> CubePlan:
    """Plan the one cube of some scenes."""
    (plan,) = plan_cubes(scenes, grid, bands=bands, options=ReadOptions(**options))
    return plan


def build_cube(storage: Storage, plan: CubePlan) -> CubeReceipt:
    """Make a cube in this process: every tile, then the seal."""
    begin_cube(storage, plan)
    for tile in list_tiles(plan.grid):
        write_tile(storage.uri, plan, tile)
    return finish_cube(storage.uri, plan)


def tree_of(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder: relative path → bytes."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def _crs_text(geobox: GeoBox) -> str:
    epsg = geobox.crs.epsg
    return f"EPSG:{epsg}" if epsg else geobox.crs.to_wkt()
