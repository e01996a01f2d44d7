"""Measure ingest beside the floor (plain rasterio read + Zarr write), odc-stac and stackstac.

Run by ``make bench``; prints one Markdown table. All rows read the same six scenes of four 4096² uint16
COGs and write Zarr v3 with the same codec, chunks and shards, two at a time; repeats are interleaved, so a
machine that slows down slows every row. The Dask cluster's start is not counted. Ours also verify what
they read, digest what they write and write a pyramid (a third more pixels); the whole product adds
statistics, thumbnail, COG preview, a check of every object and the seal.
"""

from __future__ import annotations

import argparse
import datetime as dt
import platform
import shutil
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import dask
import numpy as np
import odc.stac
import psutil
import pystac
import rasterio
import rasterio.shutil
import stackstac
import xarray as xr
import zarr
from affine import Affine
from pyproj import Transformer
from rasterio.io import MemoryFile

from catalog.cubes.finish import begin_cube, finish_cube
from catalog.cubes.layout import cube_codec
from catalog.cubes.tiles import write_tile
from catalog.grid import list_tiles
from catalog.plan import plan_cubes
from catalog.records import Band, CubePlan, Grid, ReadOptions, Scene
from infra.cluster import ClusterAddress, run_units, running_cluster
from infra.errors import AppError
from infra.settings import DaskSettings
from infra.storage import open_storage

EDGE_PX = 4096
BANDS = ("blue", "green", "red", "nir")
CRS = "EPSG:32633"
TRANSFORM = (10.0, 0.0, 399960.0, 0.0, -10.0, 5800020.0)
THREADS = 2
Row = Callable[[list[Scene], Path, ClusterAddress], None]


def make_scenes(folder: Path, count: int) -> list[Scene]:
    """Draw plausible 12-bit landscapes as COGs once; return them as scenes."""
    outline = _outline()
    scenes = []
    for number in range(count):
        bands = []
        for name in BANDS:
            path = folder / f"scene-{number}-{name}.tif"
            if not path.exists():
                _write_cog(path, _landscape(seed=number * 10 + BANDS.index(name)))
            bands.append(Band(name=name, asset=name, href=str(path), dtype="uint16", nodata=0))
        when = dt.datetime(2024, 6, 1 + 5 * number, 10, tzinfo=dt.UTC)
        scenes.append(
            Scene(collection="bench", id=f"s{number}", datetime=when, geometry=outline, bands=tuple(bands))
        )
    return scenes


def _landscape(*, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    total = np.full((EDGE_PX, EDGE_PX), 1800.0, np.float32)
    for size, strength in ((16, 600), (128, 400), (1024, 150)):
        coarse = rng.normal(size=(size, size)).astype(np.float32)
        total += strength * cv2.resize(coarse, (EDGE_PX, EDGE_PX), interpolation=cv2.INTER_LINEAR)
    total += rng.normal(scale=15, size=total.shape).astype(np.float32)
    return np.clip(total, 1, 10000).astype(np.uint16)


def _write_cog(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            width=EDGE_PX,
            height=EDGE_PX,
            count=1,
            dtype="uint16",
            crs=CRS,
            transform=Affine(*TRANSFORM),
            nodata=0,
        ) as file:
            file.write(pixels, 1)
        with memory.open() as file:
            rasterio.shutil.copy(
                file, path, driver="COG", COMPRESS="DEFLATE", PREDICTOR="YES", BLOCKSIZE=1024, NUM_THREADS=2
            )


def _outline() -> dict[str, Any]:
    a, _, west, _, e, north = TRANSFORM
    east, south = west + a * EDGE_PX, north + e * EDGE_PX
    to_lonlat = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    corners = ((west, south), (east, south), (east, north), (west, north), (west, south))
    return {"type": "Polygon", "coordinates": [[list(to_lonlat.transform(*c)) for c in corners]]}


def plan(scenes: list[Scene]) -> list[CubePlan]:
    """Plan one cube for each scene on the scenes' own grid."""
    grid = Grid(crs=CRS, transform=TRANSFORM, shape_yx=(EDGE_PX, EDGE_PX), shard_px=2048, chunk_px=1024)
    return plan_cubes(scenes, grid, bands=None, options=ReadOptions())


def run_floor(scenes: list[Scene], target: Path, _cluster: ClusterAddress) -> None:
    """Read each band whole with rasterio and write it whole with zarr, two at a time."""

    def copy(scene: Scene, band: Band) -> None:
        with rasterio.open(band.href) as file:
            pixels = file.read(1)
        _make_array(target / scene.id, band.name)[:] = pixels

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda job: copy(*job), [(s, b) for s in scenes for b in s.bands]))


def _make_array(folder: Path, name: str) -> zarr.Array[Any]:
    return zarr.create_array(
        folder / name,
        shape=(EDGE_PX, EDGE_PX),
        dtype="uint16",
        chunks=(1024, 1024),
        shards=(2048, 2048),
        compressors=cube_codec(),
        fill_value=0,
    )


def run_ingest(scenes: list[Scene], target: Path, cluster: ClusterAddress) -> None:
    """Ingest the pixels: read, verify, write every level of the pyramid, tile receipts."""
    _make_cubes(scenes, target, cluster, seal=False)


def run_product(scenes: list[Scene], target: Path, cluster: ClusterAddress) -> None:
    """Make whole products: ingest, then statistics, thumbnail, COG preview, check of all objects, seal."""
    _make_cubes(scenes, target, cluster, seal=True)


def _make_cubes(scenes: list[Scene], target: Path, cluster: ClusterAddress, *, seal: bool) -> None:
    storage = open_storage(str(target))

    def make(cube: CubePlan) -> None:
        begin_cube(storage, cube)
        steps: list[tuple[Callable[[Any], Any], list[Any]]] = [
            (partial(write_tile, storage.uri, cube), list_tiles(cube.grid))
        ]
        if seal:
            steps.append((partial(finish_cube, storage.uri), [cube]))
        for function, units in steps:
            for _, outcome in run_units(cluster, function, units):
                if isinstance(outcome, AppError):
                    raise outcome

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(make, plan(scenes)))


def run_odc(scenes: list[Scene], target: Path, _cluster: ClusterAddress) -> None:
    """Load lazily with odc-stac, one Dask chunk for each band and scene, and write with xarray."""
    cube = odc.stac.load(
        _items(scenes),
        bands=BANDS,
        geobox=plan(scenes)[0].grid.geobox,
        chunks={"x": EDGE_PX, "y": EDGE_PX},
        groupby="id",
        dtype="uint16",
        nodata=0,
    )
    _to_zarr(cube.drop_attrs().drop_encoding(), target)


def run_stackstac(scenes: list[Scene], target: Path, _cluster: ClusterAddress) -> None:
    """Stack lazily with stackstac, one Dask chunk for each band and scene, and write with xarray."""
    a, _, west, _, e, north = TRANSFORM
    stack = stackstac.stack(
        [item.to_dict() for item in _items(scenes)],
        assets=list(BANDS),
        epsg=32633,
        resolution=a,
        bounds=(west, north + e * EDGE_PX, west + a * EDGE_PX, north),
        chunksize=EDGE_PX,
        dtype=np.dtype("uint16"),
        fill_value=np.uint16(0),
        rescale=False,
        properties=False,
        band_coords=False,
        xy_coords=False,
    )
    arrays = {name: (("time", "y", "x"), stack.data[:, number]) for number, name in enumerate(BANDS)}
    _to_zarr(xr.Dataset(arrays), target)


def _to_zarr(cube: xr.Dataset, target: Path) -> None:
    encoding = {
        name: {"chunks": (1, 1024, 1024), "shards": (1, EDGE_PX, EDGE_PX), "compressors": cube_codec()}
        for name in BANDS
    }
    with dask.config.set(scheduler="threads", num_workers=THREADS):
        cube.to_zarr(target, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def _items(scenes: list[Scene]) -> list[pystac.Item]:
    items = []
    for scene in scenes:
        item = pystac.Item(
            id=scene.id, geometry=scene.geometry, bbox=None, datetime=scene.datetime, properties={}
        )
        item.bbox = [float(v) for v in np.ravel([np.min(_ring(scene), 0), np.max(_ring(scene), 0)])]
        for band in scene.bands:
            projection = {"proj:transform": list(TRANSFORM), "proj:shape": [EDGE_PX, EDGE_PX]}
            item.add_asset(
                band.name, pystac.Asset(band.href, media_type="image/tiff", extra_fields=projection)
            )
        item.properties |= {"proj:epsg": 32633, "proj:code": CRS}
        item.stac_extensions.append("https://stac-extensions.github.io/projection/v2.0.0/schema.json")
        items.append(item)
    return items


def _ring(scene: Scene) -> np.ndarray:
    return np.asarray(scene.geometry["coordinates"][0])


ROWS: dict[str, Row] = {
    "floor: rasterio read + zarr write, 2 threads": run_floor,
    "terraloom ingest, 2 workers": run_ingest,
    "terraloom whole product, 2 workers": run_product,
    "odc-stac + to_zarr, 2 threads": run_odc,
    "stackstac + to_zarr, 2 threads": run_stackstac,
}


@contextmanager
def peak_memory() -> Iterator[list[float]]:
    """Sample the resident memory of this process and its children; the list ends with the peak, MB."""
    stop, peak = threading.Event(), [0.0]

    def watch() -> None:
        while not stop.wait(0.05):
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            peak[0] = max(peak[0], sum(_rss(process) for process in processes) / 1e6)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def check_equal(scenes: list[Scene], folder: Path) -> None:
    """Compare the pixels of our cubes with the floor's."""
    for cube in plan(scenes):
        for name in BANDS:
            ours = zarr.open_array(
                folder / "terraloom-whole-product" / cube.path / "cube.zarr" / "0" / name, mode="r"
            )
            floor = zarr.open_array(folder / "floor" / cube.group.scenes[0].id / name, mode="r")
            if not np.array_equal(ours[:], floor[:]):
                raise SystemExit(f"pixels of {cube.id} {name} differ from the floor's")


def main() -> None:
    """Run every row, interleaved, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("var/bench"))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=6)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    scenes = make_scenes(options.folder / "scenes", options.scenes)
    seconds: dict[str, list[float]] = {name: [] for name in ROWS}
    with running_cluster(DaskSettings(workers=THREADS, dashboard_port=0)) as cluster:
        run_product(scenes[:2], _fresh(options.folder / "warm-up"), cluster)
        for _ in range(options.repeats):
            for name, row in ROWS.items():
                target = _fresh(options.folder / name.partition(",")[0].partition(":")[0].replace(" ", "-"))
                started = time.perf_counter()
                row(scenes, target, cluster)
                seconds[name].append(time.perf_counter() - started)
        check_equal(scenes, options.folder)
        memory = {count: _peak_of(scenes[:count], options.folder, cluster) for count in (2, len(scenes))}
    _print_table(seconds, memory)


def _peak_of(scenes: list[Scene], folder: Path, cluster: ClusterAddress) -> float:
    with peak_memory() as peak:
        run_product(scenes, _fresh(folder / "memory"), cluster)
    return peak[0]


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _print_table(seconds: dict[str, list[float]], memory: dict[int, float]) -> None:
    floor = next(iter(seconds.values()))
    print("| row | median s | ratio to floor (median of pairs) |\n|---|---|---|")
    for name, times in seconds.items():
        ratio = statistics.median(mine / base for mine, base in zip(times, floor, strict=True))
        print(f"| {name} | {statistics.median(times):.2f} | {ratio:.2f} |")
    print(f"\npeak memory, all processes: {', '.join(f'{n} scenes {mb:.0f} MB' for n, mb in memory.items())}")
    print(f"machine: {platform.processor() or platform.machine()}, {psutil.cpu_count()} cores")


if __name__ == "__main__":
    main()
