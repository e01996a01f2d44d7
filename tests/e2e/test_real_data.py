"""Map real scenes (NAIP, Landsat, TerraMesh, BigEarthNet, Earth Search) and compare with the originals."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray  # noqa: F401 - registers the accessor
import xarray as xr
from PIL import Image
from pyproj import CRS

from tests.e2e.conftest import Run
from tests.support.processes import CommandLine
from tests.support.schemas import validate_item, validate_zarr_conventions
from tests.support.snapshots import pixel_checksums, read_items
from tests.support.worlds import World, change_item, serving_api

pytestmark = pytest.mark.real

_ALWAYS = "2000-01-01/2100-01-01"
_LANDSAT_UNUSABLE = 0b11111  # fill, dilated cloud, cirrus, cloud, shadow
_SETS: dict[str, tuple[str, tuple[float, float, float, float], tuple[str, ...]]] = {
    "naip": (
        "timeseries/naip_north_dakota",
        (-99.1856, 47.0041, -99.1241, 47.0367),
        ("--resolution-m", "5", "--crs", "EPSG:26914"),
    ),
    "landsat-c2-l2": ("rasters/landsat_c2l2", (-76.0, 0.5, -74.1, 2.4), ("--resolution-m", "450")),
    "terramesh": ("optical_sar/terramesh", (-48.117, -25.326, -48.095, -25.306), ()),
    "bigearthnet": ("optical_sar/bigearthnet", (13.7127, 48.2168, 13.7292, 48.2278), ()),
}
_CUBES = {"naip": 6, "landsat-c2-l2": 1, "terramesh": 7, "bigearthnet": 2}


@pytest.fixture(scope="module")
def catalogues(
    real_data: Path, bare_terraloom: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, World]:
    """Static catalogues over the files where they lie, made by ``terraloom stac``."""
    worlds = {}
    for name, (folder, bbox, extra) in _SETS.items():
        out = tmp_path_factory.mktemp(name)
        ended = bare_terraloom.run("stac", real_data / folder, "--collection", name, "--out", out)
        assert ended.code == 0, ended.err
        worlds[name] = World(
            source=str(out / "catalog.json"), collections=(name,), bbox=bbox, datetime=_ALWAYS, extra=extra
        )
    return worlds


@pytest.fixture(scope="module")
def runs(
    catalogues: dict[str, World], quick_terraloom: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Run]:
    """Each set, mapped from its static catalogue."""
    made = {}
    for name, request in catalogues.items():
        store = tmp_path_factory.mktemp(f"{name}-store")
        ended = quick_terraloom.run(*request.mapping(store), "--json")
        assert ended.code == 0, ended
        made[name] = Run(world=request, store=store, ended=ended, seconds=ended.told["seconds"])
    return made


@pytest.mark.parametrize("name", _SETS)
def test_cubes_hold_the_pixels_of_the_originals(runs, name):
    run = runs[name]
    assert run.summary["written"] == run.summary["catalogued"] == _CUBES[name]
    for item in read_items(run.store).values():
        assert _compare_with_originals(item) >= 1, f"{item['id']}: no band was compared"


@pytest.mark.parametrize("name", _SETS)
def test_items_and_stores_are_valid_and_agree(runs, name):
    for item in read_items(runs[name].store).values():
        _check_product(runs[name].store, item)


def test_landsat_numbers_become_reflectance(runs):
    (item,) = read_items(runs["landsat-c2-l2"].store).values()
    raw, physical = (_open(item, mask_and_scale=decode) for decode in (False, True))
    for name in ("SR_B2", "SR_B4", "SR_B5"):
        band = physical[name].values
        assert np.nanmin(band) >= -0.2 - 1e-6
        assert 0.005 < np.nanmedian(band) < 0.9
        known = raw[name].values != 0
        expected = raw[name].values[known] * 2.75e-05 - 0.2
        np.testing.assert_allclose(band[known], expected, atol=1e-5)
        assert np.isnan(band[~known]).all()


def test_landsat_clouds_are_masked_by_its_quality_band(runs, quick_terraloom, store):
    run = runs["landsat-c2-l2"]
    told = quick_terraloom.run(*run.world.mapping(store, "--mask", "clouds"), "--json").told
    assert told["catalogued"] == 1
    (plain,), (masked,) = (list(read_items(place).values()) for place in (run.store, store))
    before, after = (_open(item, mask_and_scale=False) for item in (plain, masked))
    unusable = (after["QA_PIXEL"].values & _LANDSAT_UNUSABLE) > 0
    assert 0.01 < unusable.mean() < 0.99
    for name in ("SR_B2", "SR_B5"):
        assert (after[name].values[unusable] == 0).all()
        np.testing.assert_array_equal(after[name].values[~unusable], before[name].values[~unusable])


@pytest.mark.parametrize("name", ["naip", "landsat-c2-l2"])
def test_an_api_with_range_reads_gives_the_same_pixels(
    runs, quick_terraloom, real_data, tmp_path, store, name
):
    with serving_api(runs[name].world, tmp_path, file_root=real_data) as request:
        told = quick_terraloom.run(*request.mapping(store), "--json").told
    assert told["catalogued"] == _CUBES[name]
    # Files without a stated checksum are known by their address, so ids differ; pixels must not.
    assert _nameless(pixel_checksums(store)) == _nameless(pixel_checksums(runs[name].store))


def test_the_earth_search_item(real_data, quick_terraloom, tmp_path, store):
    shutil.copytree(real_data / "stac/earth_search", tmp_path / "scene")
    (path,) = (tmp_path / "scene").glob("*.json")
    change_item(path, _repoint)
    links = [{"rel": "item", "href": f"scene/{path.name}", "type": "application/geo+json"}]
    catalog = {"type": "Catalog", "stac_version": "1.0.0", "id": "one", "description": "one", "links": links}
    (tmp_path / "catalog.json").write_text(json.dumps(catalog))
    item = json.loads(path.read_text())
    request = World(
        source=str(tmp_path / "catalog.json"),
        collections=(item["collection"],),
        bbox=(23.4, 31.7, 24.1, 32.3),
        datetime="2020-03-18/2020-03-18",
        extra=("--resolution-m", "600"),
    )
    told = quick_terraloom.run(*request.mapping(store, "--bands", "B01,B09"), "--json").told
    assert told["catalogued"] == 1
    (made,) = read_items(store).values()
    _check_product(store, made)
    assert _compare_with_originals(made, path) == 2
    physical = _open(made, mask_and_scale=True)["B01"].values
    assert 0 <= np.nanmin(physical) <= np.nanmax(physical) < 2, "reflectance"


def _repoint(item: dict[str, Any]) -> None:
    for asset in item["assets"].values():
        asset["href"] = "./" + asset["href"].rpartition("/")[2]


def _open(item: dict[str, Any], *, mask_and_scale: bool) -> xr.Dataset:
    cube = xr.open_zarr(item["assets"]["data"]["href"], mask_and_scale=mask_and_scale)
    return cube.squeeze().load()


def _compare_with_originals(item: dict[str, Any], source_path: Path | None = None) -> int:
    """Compare stored numbers with the source files' own; return how many bands were compared."""
    cube = _open(item, mask_and_scale=False)
    if source_path is None:
        (href,) = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
        source_path = Path(href)
    source = json.loads(source_path.read_text())
    compared = 0
    for key, asset in source["assets"].items():
        bands = asset.get("bands") or asset.get("eo:bands") or [{"name": key}]
        for index, band in enumerate(bands, start=1):
            if band["name"] in cube:
                path = source_path.parent / asset["href"]
                _compare_band(cube[band["name"]], path, index, f"{item['id']} {band['name']}")
                compared += 1
    return compared


def _compare_band(band: xr.DataArray, path: Path, index: int, place: str) -> None:
    with rasterio.open(path) as file:
        assert _code(file.crs) == _code(band.rio.crs), place
        pixels, inverse = file.read(index), ~file.transform
    cols, rows = inverse @ np.meshgrid(band.x.values, band.y.values)
    cols, rows = np.floor(cols).astype(int), np.floor(rows).astype(int)
    inside = (rows >= 0) & (rows < pixels.shape[0]) & (cols >= 0) & (cols < pixels.shape[1])
    assert inside.mean() > 0.5, place
    expected = pixels[rows[inside], cols[inside]]
    found = band.values[inside]
    assert found.dtype == expected.dtype, place
    same = (found == expected) | ~np.isfinite(expected.astype("float64"))
    # Where a centre falls on an edge of two source pixels, either is nearest.
    assert same.mean() > 0.999, f"{place}: {1 - same.mean():.2%} of the pixels differ"


def _check_product(store: Path, item: dict[str, Any]) -> None:
    validate_item(item)
    root = store / "scenes" / item["id"] / "cube.zarr"
    assert validate_zarr_conventions(json.loads((root / "zarr.json").read_text()))
    cube = _open(item, mask_and_scale=False)
    assert _code(cube.rio.crs) == _code(item["properties"]["proj:code"])
    assert list(cube.rio.bounds()) == pytest.approx(item["properties"]["proj:bbox"])
    with rasterio.open(item["assets"]["preview"]["href"]) as preview:
        assert _code(preview.crs) == _code(cube.rio.crs)
        step_x, step_y = cube.rio.resolution()
        levels = max(preview.res[0] / abs(step_x), 1)
        assert preview.bounds == pytest.approx(
            cube.rio.bounds(), abs=abs(step_x) * levels + abs(step_y) * levels
        )
    picture = np.asarray(Image.open(item["assets"]["thumbnail"]["href"]).convert("L"))
    assert picture.std() > 3, f"{item['id']} has a picture of nothing"


def _code(crs: object) -> int:
    code = CRS.from_user_input(crs).to_epsg()
    assert code is not None, crs
    return code


def _nameless(checksums: dict[str, str]) -> list[tuple[str, str]]:
    return sorted((re.sub(r"-[0-9a-f]{12}/", "/", path), value) for path, value in checksums.items())
