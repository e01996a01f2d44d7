"""Real items and real images, from the folder that TERRALOOM_REAL_DATA names."""

import json
import os
from pathlib import Path

import jsonschema
import pytest
import rasterio
import referencing
from referencing.jsonschema import DRAFT7

from catalog.plain_files.build import build_static_catalogue
from catalog.search.find import find_scenes, make_query, search_scenes
from catalog.sources.presets import Source, resolve_source
from infra.errors import InputError

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def real() -> Path:
    folder = os.environ.get("TERRALOOM_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TERRALOOM_REAL_DATA names no folder with the real data")
    return Path(folder)


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def find(path, **wanted):
    query = {"collections": (), "bbox": None, "datetime_range": None, **wanted}
    return search_scenes(resolve_source(str(path)), **query)


def test_planetary_computer_items(real):
    scenes = find(real / "stac/planetary_computer/site1-20200606-tall-strip-africa.geojson")
    assert len(scenes) == 9
    for scene in scenes:
        assert (scene.collection, scene.quality_band, scene.mask_rule) == (
            "sentinel-2-l2a",
            "SCL",
            "sentinel-2-scl",
        )
        red = next(band for band in scene.bands if band.name == "B04")
        assert (red.dtype, red.nodata, red.scale, red.offset, red.gsd_m) == ("uint16", 0.0, 1e-4, 0.0, 10.0)
        assert scene.properties["proj:code"].startswith("EPSG:327")
    everywhere = find(
        real / "stac/planetary_computer/site1-20200606-tall-strip-africa.geojson", bands=["red", "B8A"]
    )
    assert [band.name for band in everywhere[0].bands] == ["red", "B8A", "SCL"]
    assert all("B04" in scene.bands[0].href for scene in everywhere)
    june = real / "stac/planetary_computer/site2-2020_jun_jul-35MNM.geojson"
    west, south, east, north = json.loads(june.read_text())["features"][0]["bbox"]
    middle = (west + 0.4, south + 0.4, east - 0.4, north - 0.4)
    found = find(june, bbox=middle, datetime_range="2020-07")
    assert found == [scene for scene in find(june, bbox=middle) if scene.datetime.month == 7] != []
    assert find(june, bbox=(100, 10, 101, 11)) == []


def test_beta_and_raster_extension_items(real):
    folder = real / "stac/planetary_computer"
    (beta,) = find(folder / "LC08_L2SR_081119_20200101_20200823_02_T2.json", bands=["red", "nir08"])
    assert [(band.name, band.asset, band.scale) for band in beta.bands] == [
        ("red", "SR_B4.TIF", 2.75e-5),
        ("nir08", "SR_B5.TIF", 2.75e-5),
        ("QA_PIXEL.TIF", "QA_PIXEL.TIF", 1.0),
    ]
    (raster,) = find(folder / "S2B_MSIL2A_20190629T212529_R043_T06VVN_20201006T080531_raster_ext.json")
    assert {band.dtype for band in raster.bands if not band.quality} == {"uint16"}


def test_earth_search_item_with_its_pixels(real, tmp_path):
    item = json.loads((real / "stac/earth_search/S2A_34SGA_20200318_0_L2A.json").read_text())
    for key, asset in item["assets"].items():
        asset["href"] = str(real / "stac/earth_search" / f"{key}.tif")
    path = tmp_path / "item.json"
    path.write_text(json.dumps(item))
    source = Source(name="local", location=str(path), extra_roots=(str(real),))
    (scene,) = search_scenes(
        source, collections=[], bbox=(23.5, 31.6, 24, 32), datetime_range="2020-03", bands=["coastal"]
    )
    assert [(band.name, band.asset, band.nodata, band.scale) for band in scene.bands] == [
        ("coastal", "B01", 0.0, 1e-4)
    ]
    with pytest.raises(InputError, match="outside the catalogue's folder"):
        find(path)


def test_radar_items(real):
    scenes = find(real / "stac/sentinel1/rtc", bands=["vv"])
    assert [(scene.bands[0].asset, scene.bands[0].dtype) for scene in scenes] == [
        ("gamma0_vv", "float32")
    ] * 2


@pytest.mark.parametrize(
    ("folder", "items", "skipped"),
    [
        ("timeseries/naip_north_dakota", 6, 0),
        ("rasters/landsat_c2l2", 3, 0),
        ("timeseries/landsat8_newyork_3km", 19, 0),
        ("optical_sar/terramesh", 21, 0),
        ("optical_sar/bigearthnet", 8, 0),
        ("rasters/cog_cases", 6, 1),
        ("timeseries/modis_sinop", 14, 0),
    ],
)
def test_catalogues_over_real_images(real, tmp_path, folder, items, skipped):
    report = build_static_catalogue(real / folder, collection="real", out=tmp_path / "out")
    assert (len(report.items), len(report.skipped)) == (items, skipped)
    found = find_scenes(resolve_source(str(tmp_path / "out")), make_query(["real"], None, None))
    assert len(found.scenes) == items
    assert found.rejected == ()
    for scene in found.scenes:
        for band in scene.bands:
            with rasterio.open(band.href) as file:
                assert file.dtypes[band.index - 1] == band.dtype


def test_real_numbers(real, tmp_path):
    build_static_catalogue(real / "rasters/landsat_c2l2", collection="landsat", out=tmp_path / "out")
    for scene in find(tmp_path / "out", bands=["red", "nir08"]):
        red, nir, quality = scene.bands
        assert (red.asset, red.scale, red.offset, red.nodata) == ("SR_B4", 2.75e-5, -0.2, 0.0)
        assert (nir.asset, quality.name, quality.quality) == ("SR_B5", "QA_PIXEL", True)
    build_static_catalogue(real / "rasters/cog_cases", collection="cases", out=tmp_path / "out")
    cases = {scene.id: scene for scene in find(tmp_path / "out", collections=["cases"])}
    assert [(band.scale, band.offset) for band in cases["cog_scale"].bands] == [
        (1e-4, 1000.0),
        (1e-3, 2000.0),
    ]
    assert {s.id for s in find(tmp_path / "out", collections=["cases"], bbox=(179.5, 51, -179, 52))} == {
        "cog_dateline"
    }
    assert find(tmp_path / "out", collections=["cases"], bbox=(0, 51, 1, 52)) == []


def test_items_validate_against_the_extensions_they_name(real, tmp_path):
    for folder in ("rasters", "timeseries/modis_sinop", "optical_sar/bigearthnet"):
        build_static_catalogue(real / folder, collection=Path(folder).name, out=tmp_path / "out")
    items = [json.loads(path.read_text()) for path in (tmp_path / "out").glob("*/*/*.json")]
    assert len(items) > 20
    for item in items:
        for name in item["stac_extensions"]:
            file = real / "schemas" / name.removeprefix("https://")
            schema = json.loads(file.read_text())
            jsonschema.Draft7Validator(schema, registry=_registry(real)).validate(item)


def _registry(real: Path) -> referencing.Registry:
    def retrieve(uri: str) -> referencing.Resource:
        file = real / "schemas" / uri.partition("#")[0].removeprefix("https://")
        content = json.loads(file.read_text()) if file.is_file() else {}
        return referencing.Resource.from_contents(content, default_specification=DRAFT7)

    return referencing.Registry(retrieve=retrieve)
