"""Export cubes as cloud-optimised GeoTIFFs, for QGIS and for GDAL that does not read sharded Zarr."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import zarr
from affine import Affine
from rasterio.windows import Window

from catalog.cubes.layout import CUBE_FOLDER
from catalog.cubes.objects import open_zarr_objects
from catalog.cubes.receipts import PRODUCTS_FOLDER
from catalog.receipts import RECEIPT_NAME
from infra.errors import InputError
from infra.storage import Storage, translate_os_error
from infra.urls import check_id

_COG_OPTIONS = {
    "driver": "COG",
    "BLOCKSIZE": 512,
    "COMPRESS": "ZSTD",
    "PREDICTOR": "YES",
    "BIGTIFF": "IF_SAFER",
    "NUM_THREADS": "ALL_CPUS",
}


def export_cogs(storage: Storage, item_id: str, folder: Path) -> Iterator[Path]:
    """Write each band of a cube as one COG, ``<folder>/<item>_<band>.tif``.

    Pixels, CRS, nodata, scale and offset are the cube's own. Memory holds one shard at a time.

    Raises:
        InputError: there is no such cube in the store.
    """
    check_id(item_id, what="item id")
    product = f"{PRODUCTS_FOLDER}/{item_id}"
    if not storage.exists(f"{product}/{RECEIPT_NAME}"):
        raise InputError(f"{storage.uri} holds no cube {item_id!r}; 'terraloom items' lists what there is")
    store = open_zarr_objects(storage, f"{product}/{CUBE_FOLDER}/0")
    group = zarr.open_group(store, mode="r", zarr_format=3)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, array in sorted(group.arrays()):
            if array.ndim == 2:
                target = folder / f"{item_id}_{name}.tif"
                _write_cog(group, array, target)
                yield target
    except OSError as exc:
        raise translate_os_error(exc, str(folder)) from exc


def _write_cog(group: zarr.Group, array: zarr.Array[Any], target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".terraloom-", dir=target.parent) as scratch:
        plain = Path(scratch) / "plain.tif"
        _write_plain(group, array, plain)
        finished = Path(scratch) / target.name
        rasterio.shutil.copy(plain, finished, **_COG_OPTIONS)
        finished.replace(target)


def _write_plain(group: zarr.Group, array: zarr.Array[Any], path: Path) -> None:
    rows, cols = array.shape
    attributes = array.attrs.asdict()
    mapping = group["spatial_ref"].attrs.asdict()
    transform = group.attrs["spatial:transform"]
    assert isinstance(transform, list)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=cols,
        height=rows,
        count=1,
        dtype=array.dtype.name,
        crs=str(mapping["spatial_ref"]),
        transform=Affine(*transform),
        nodata=float(np.asarray(array.fill_value)) if "_FillValue" in attributes else None,
        tiled=True,
        blockxsize=512,
        blockysize=512,
        BIGTIFF="IF_SAFER",
    ) as file:
        file.scales = (float(str(attributes.get("scale_factor", 1.0))),)
        file.offsets = (float(str(attributes.get("add_offset", 0.0))),)
        file.set_band_description(1, array.basename)
        edge = (array.shards or array.chunks)[0]
        for row in range(0, rows, edge):
            for col in range(0, cols, edge):
                block = np.asarray(array[row : row + edge, col : col + edge])
                file.write(block, 1, window=Window(col, row, block.shape[1], block.shape[0]))
