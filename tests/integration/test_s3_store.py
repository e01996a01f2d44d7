"""A whole cube on an S3 server: the same bytes as on disk, and open to everybody's tools."""

import dataclasses
import gc
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import s3fs
import xarray as xr

from catalog.cubes.finish import begin_cube, finish_cube
from catalog.cubes.receipts import seal_cube
from catalog.cubes.tiles import write_tile
from catalog.grid import list_tiles
from infra.errors import InternalError
from infra.storage import LocalStorage, open_storage
from tests.support.synthetic import build_cube, known_scene, make_geobox, make_grid, plan_one, tree_of, truth

BOX = make_geobox((600, 200))


@pytest.fixture
def plan(tmp_path):
    scene = known_scene(tmp_path, geobox=BOX, dtypes={"red": "uint16", "vv": "float32"})
    return plan_one([scene], make_grid(BOX, shard_px=256, chunk_px=128))


@pytest.fixture
def remote(s3_environment):
    yield open_storage(f"{s3_environment}/some/prefix")
    # s3fs leaves its sessions to the garbage collector, and aiohttp complains of it there.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        s3fs.S3FileSystem.clear_instance_cache()
        gc.collect()


def objects_of(storage):
    return {entry.path: storage.read(entry.path) for entry in storage.list_objects("")}


def test_the_store_is_the_local_one_byte_for_byte(tmp_path, remote, plan):
    here = LocalStorage(tmp_path / "store")
    assert build_cube(remote, plan) == build_cube(here, plan)
    assert objects_of(remote) == tree_of(tmp_path / "store")


def test_xarray_opens_it_by_its_uri(remote, plan, s3_endpoint):
    build_cube(remote, plan)
    options = {"key": "testing", "secret": "testing", "client_kwargs": {"endpoint_url": s3_endpoint}}
    uri = remote.href(f"{plan.path}/cube.zarr/0")
    with xr.open_zarr(uri, storage_options=options, mask_and_scale=False) as dataset:
        np.testing.assert_array_equal(dataset.red.values, truth(BOX))
        np.testing.assert_array_equal(dataset.vv.values, truth(BOX, "float32"))


def test_tiles_written_at_once_by_several_writers(tmp_path, remote, plan):
    begin_cube(remote, plan)
    twice = [*list_tiles(plan.grid), *list_tiles(plan.grid)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda tile: write_tile(remote.uri, plan, tile), twice))
        sealed = list(pool.map(lambda _: finish_cube(remote.uri, plan), range(4)))
    assert sealed.count(sealed[0]) == 4
    build_cube(LocalStorage(tmp_path / "store"), plan)
    assert objects_of(remote) == tree_of(tmp_path / "store")


def test_of_two_different_receipts_the_first_stands(remote, plan):
    receipt = build_cube(remote, plan)
    with pytest.raises(InternalError, match="stands and differs"):
        seal_cube(remote, plan, dataclasses.replace(receipt, levels=receipt.levels + 1))


def test_a_product_can_be_removed_whole(remote, plan):
    build_cube(remote, plan)
    remote.delete_folder(plan.path)
    assert list(remote.list_objects("")) == []
