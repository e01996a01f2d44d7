"""One cube, many readers: xarray, rioxarray, rasterio and GDAL agree on place, time and pixels."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the .rio accessor
import xarray as xr
from affine import Affine
from packaging.version import Version
from pyproj import CRS

from catalog.cubes.export import export_cogs
from catalog.grid import level_shape, level_transform, plan_grid
from catalog.readers.registry import READERS
from infra.storage import LocalStorage
from tests.support.fakes import FakeReader
from tests.support.synthetic import (
    MODIS_SINUSOIDAL,
    NOON,
    build_cube,
    footprint,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
    truth,
    write_image,
)

_GDAL = rasterio.__gdal_version__
GRIDS = {
    "odd": make_grid(make_geobox((701, 333)), shard_px=256, chunk_px=128),
    "lonlat": plan_grid((13.0, 52.30, 13.02, 52.31), resolution_m=10, crs="EPSG:4326"),
    "sinusoidal": plan_grid((-55.8, -11.8, -55.6, -11.7), resolution_m=231.656, crs=MODIS_SINUSOIDAL),
    "antimeridian": plan_grid((179.98, -17.0, -179.98, -16.97), resolution_m=30),
    "pixel": plan_grid((13.0, 52.3, 13.0000001, 52.3000001), resolution_m=1000),
}


@pytest.fixture(scope="module", params=GRIDS)
def cube(request, tmp_path_factory):
    grid = GRIDS[request.param]
    bands = [
        make_band("red", "fake:", scale=0.0001, offset=-0.1, unit="1"),
        make_band("vv", "fake:", dtype="float32", nodata="nan", unit="dB"),
        make_band("dem", "fake:", dtype="int16", nodata=-32768.0),
        make_band("scl", "fake:", dtype="uint8", quality=True),
    ]
    scene = make_scene("a", grid.geobox, bands, geometry=footprint(grid.geobox))
    patch = pytest.MonkeyPatch()
    patch.setitem(READERS, "fake", FakeReader)
    plan = plan_one([scene], grid, loader="fake")
    storage = LocalStorage(tmp_path_factory.mktemp(request.param))
    receipt = build_cube(storage, plan)
    patch.undo()
    return storage, plan, receipt


def level_uri(cube, level=0):
    storage, plan, _ = cube
    return storage.href(f"{plan.path}/cube.zarr/{level}")


def open_level(cube, level=0, **options):
    return xr.open_zarr(level_uri(cube, level), **options)


class TestXarray:
    def test_opens_without_a_word_of_options(self, cube):
        with open_level(cube) as dataset:
            assert set(dataset.data_vars) == {"red", "vv", "dem", "scl"}
            assert set(dataset.coords) == {"x", "y", "time", "spatial_ref"}
            assert dataset.sizes == dict(zip(("y", "x"), cube[1].grid.shape_yx, strict=True))

    def test_native_numbers_are_kept(self, cube):
        with open_level(cube, mask_and_scale=False) as dataset:
            for name, dtype in (("red", "uint16"), ("vv", "float32"), ("dem", "int16"), ("scl", "uint8")):
                assert dataset[name].dtype == dtype
                np.testing.assert_array_equal(dataset[name].values, truth(cube[1].grid.geobox, dtype))

    def test_numbers_decode_to_physical_values(self, cube):
        box = cube[1].grid.geobox
        with open_level(cube) as dataset:
            np.testing.assert_allclose(dataset.red, truth(box) * 0.0001 - 0.1, rtol=1e-5)
            assert dataset.red.attrs["units"] == "1"
            np.testing.assert_array_equal(dataset.vv, truth(box, "float32"))
            assert dataset.scl.dtype == "uint8"

    def test_coordinates_are_pixel_centres(self, cube):
        box = cube[1].grid.geobox
        with open_level(cube) as dataset:
            x, _ = box.transform @ (np.arange(box.shape[1]) + 0.5, 0)
            _, y = box.transform @ (0, np.arange(box.shape[0]) + 0.5)
            np.testing.assert_allclose(dataset.x, x, rtol=0, atol=1e-6)
            np.testing.assert_allclose(dataset.y, y, rtol=0, atol=1e-6)

    def test_time_is_a_coordinate(self, cube):
        with open_level(cube) as dataset:
            moment = dataset.time.values.astype("datetime64[s]").item().replace(tzinfo=dt.UTC)
            assert moment == NOON
            assert dataset.red.time.values == dataset.time.values

    def test_every_level_halves(self, cube):
        _, plan, receipt = cube
        for level in range(receipt.levels):
            with open_level(cube, level) as dataset:
                assert dataset.red.shape == level_shape(plan.grid, level)
                assert dataset.rio.transform().almost_equals(level_transform(plan.grid, level), 1e-9)

    def test_as_a_tree(self, cube):
        storage, plan, receipt = cube
        with xr.open_datatree(storage.href(f"{plan.path}/cube.zarr"), engine="zarr") as tree:
            assert set(tree.children) == {str(level) for level in range(receipt.levels)}
            assert tree["0"].red.shape == plan.grid.shape_yx


class TestRioxarray:
    def test_place(self, cube):
        box = cube[1].grid.geobox
        with open_level(cube) as dataset:
            assert CRS.from_user_input(dataset.rio.crs.to_wkt()).equals(CRS.from_wkt(box.crs.to_wkt()), True)
            assert dataset.rio.transform() == Affine(*box.transform[:6])
            np.testing.assert_allclose(dataset.rio.bounds(), box.boundingbox.bbox, rtol=1e-12)
            assert dataset.red.rio.grid_mapping == "spatial_ref"

    def test_nodata(self, cube):
        with open_level(cube, mask_and_scale=False) as dataset:
            assert dataset.red.rio.nodata == 0
            assert dataset.dem.rio.nodata == -32768
            assert np.isnan(dataset.vv.rio.nodata)


class TestRasterio:
    def test_exports_agree(self, cube, tmp_path):
        storage, plan, _ = cube
        with open_level(cube, mask_and_scale=False) as dataset:
            for path in export_cogs(storage, plan.id, tmp_path):
                name = path.stem.removeprefix(f"{plan.id}_")
                with rasterio.open(path) as file:
                    assert file.crs == dataset.rio.crs
                    np.testing.assert_allclose(file.bounds, dataset.rio.bounds(), rtol=1e-12)
                    np.testing.assert_array_equal(file.read(1), dataset[name].values)

    def test_the_preview_lies_where_the_cube_lies(self, cube):
        storage, plan, receipt = cube
        with rasterio.open(storage.href(f"{plan.path}/preview.tif")) as file:
            level = next(n for n in range(receipt.levels) if level_shape(plan.grid, n) == file.shape)
            with open_level(cube, level) as dataset:
                assert file.crs == dataset.rio.crs
                np.testing.assert_allclose(file.bounds, dataset.rio.bounds(), rtol=1e-9)
            assert file.dtypes[0] == "uint8"
            assert file.dataset_mask().any()


@pytest.mark.skipif(
    Version(_GDAL.partition("-")[0]) < Version("3.13"),
    reason=f"rasterio has GDAL {_GDAL}: sharded Zarr v3 needs 3.13",
)
def test_gdals_zarr_driver(cube):
    with rasterio.open(f'ZARR:"{level_uri(cube)}":/red') as file:
        np.testing.assert_array_equal(file.read(1), truth(cube[1].grid.geobox))
        assert file.transform.almost_equals(cube[1].grid.geobox.transform)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint16", 0.0), ("int16", -9999.0), ("float32", "nan"), ("float32", -99.0)]
)
def test_fill_becomes_nan(tmp_path, dtype, nodata):
    box = make_geobox((100, 70))
    pixels = truth(box, dtype)
    pixels[10:20, 10:20] = float(nodata)
    path = write_image(tmp_path / "holes.tif", box, pixels, nodata=float(nodata))
    band = make_band("band", path, dtype=dtype, nodata=nodata)
    plan = plan_one([make_scene("a", box, [band])], make_grid(box))
    storage = LocalStorage(tmp_path / "store")
    receipt = build_cube(storage, plan)
    hole = np.zeros(box.shape, dtype=bool)
    hole[10:20, 10:20] = True
    with xr.open_zarr(storage.href(f"{plan.path}/cube.zarr/0")) as dataset:
        np.testing.assert_array_equal(np.isnan(dataset.band.values), hole)
    with xr.open_zarr(storage.href(f"{plan.path}/cube.zarr/0"), mask_and_scale=False) as dataset:
        np.testing.assert_array_equal(dataset.band.values, pixels)
    assert receipt.statistics["band"].valid_percent == pytest.approx(100 * (1 - hole.mean()))
