"""A static catalogue over plain image files: grouping, numbers, refusals, the same bytes twice."""

import json
import os

import numpy as np
import pystac
import pytest
import rasterio
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS

from catalog.plain_files.build import build_static_catalogue
from catalog.search.find import find_scenes, make_query, search_scenes
from catalog.sources.presets import resolve_source
from infra.errors import InputError

SINUSOIDAL = CRS.from_proj4("+proj=sinu +R=6371007.181 +units=m")
STAMP = 1_600_000_000
TAGGED = {"tags": {"TIFFTAG_DATETIME": "2018:07:16 06:06:23"}}


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    return folder


def draw(path, *, count=1, dtype="uint16", crs="EPSG:32633", origin=(5e5, 6e6), metres=10.0, **options):
    """Write a small GeoTIFF; ``tags``, ``gcps`` and ``transform`` are passed on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tags, gcps = options.pop("tags", {}), options.pop("gcps", None)
    transform = options.pop("transform", Affine(metres, 0, origin[0], 0, -metres, origin[1]))
    profile = {"driver": "GTiff", "width": 6, "height": 5, "count": count, "dtype": dtype, **options}
    if gcps:
        profile |= {"gcps": gcps, "crs": crs}
    else:
        profile |= {"crs": crs, "transform": transform}
    with rasterio.open(path, "w", **profile) as file:
        file.write(np.ones((count, 5, 6), dtype=dtype))
        file.update_tags(**tags)
    os.utime(path, (STAMP, STAMP))
    return path


def build(images, out, collection="mine"):
    return build_static_catalogue(images, collection=collection, out=out)


def scenes_of(out, **wanted):
    query = {"collections": (), "bbox": None, "datetime_range": None, **wanted}
    return search_scenes(resolve_source(str(out)), **query)


def test_files_of_one_scene_become_one_item(images, tmp_path):
    for band in ("SR_B4", "SR_B5", "QA_PIXEL"):
        draw(images / f"LC08_L2SP_008059_20191201_20200825_02_T1_{band}.TIF", nodata=None)
    for band, metres in (("B04", 10), ("B05", 20)):
        draw(images / "s2" / f"S2A_MSIL2A_20170613T101031_87_48_{band}.tif", metres=metres)
    draw(images / "m_4709963_se_14_1_20090818.tif", count=4, dtype="uint8", nodata=0)
    report = build(images, tmp_path / "out")
    assert report.items == (
        "LC08_L2SP_008059_20191201_20200825_02_T1",
        "S2A_MSIL2A_20170613T101031_87_48",
        "m_4709963_se_14_1_20090818",
    )
    assert report.skipped == ()
    naip, sentinel, landsat = scenes_of(tmp_path / "out")
    assert [band.name for band in naip.bands] == ["red", "green", "blue", "nir"]
    assert [(b.name, b.common_name, b.scale, b.gsd_m) for b in sentinel.bands] == [
        ("B04", "red", 1e-4, 10.0),
        ("B05", "rededge071", 1e-4, 20.0),
    ]
    red, nir, quality = landsat.bands
    assert (red.common_name, red.scale, red.offset, red.nodata) == ("red", 2.75e-5, -0.2, 0.0)
    assert (nir.common_name, quality.quality, quality.nodata) == ("nir08", True, 1.0)
    assert (landsat.quality_band, landsat.mask_rule) == ("QA_PIXEL", "landsat-c2-qa-pixel")
    assert landsat.datetime.isoformat() == "2019-12-01T12:00:00+00:00"
    assert landsat.properties["platform"] == "landsat-8"
    assert [b.name for b in scenes_of(tmp_path / "out", bands=["red"])[-1].bands] == ["red", "QA_PIXEL"]


def test_sentinel_2_offset_by_the_baseline_in_the_name(images, tmp_path):
    draw(images / "S2B_MSIL2A_20230601T103629_N0509_R008_T32UQD_20230601T140000_B04.tif")
    (scene,) = scenes_of(build(images, tmp_path / "out").path)
    assert (scene.bands[0].scale, scene.bands[0].offset, scene.version) == (1e-4, -0.1, "05.09")


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("a_20200831.tif", {}, ("2020-08-31T12:00:00+00:00", "file name")),
        ("2017-06-13/a.tif", {}, ("2017-06-13T12:00:00+00:00", "folder name")),
        ("a.tif", TAGGED, ("2018-07-16T06:06:23+00:00", "TIFF tag")),
        ("a_2020_08_31.tif", TAGGED, ("2020-08-31T12:00:00+00:00", "file name")),
        ("a.tif", {}, ("2020-09-13T12:26:40+00:00", "file modification time")),
    ],
)
def test_where_times_come_from(images, tmp_path, name, options, expected):
    draw(images / name, **options)
    report = build(images, tmp_path / "out")
    (scene,) = scenes_of(report.path)
    item = json.loads(next((tmp_path / "out" / "mine").glob("*/*.json")).read_text())
    assert (scene.datetime.isoformat(), item["properties"]["terraloom:datetime_source"]) == expected


def test_unusable_images_are_reported(images, tmp_path):
    corners = [(0, 0, 10, 50), (0, 6, 11, 50), (5, 6, 11, 49), (5, 0, 10, 49)]
    draw(images / "good.tif")
    draw(images / "gcps.tif", gcps=[GroundControlPoint(*corner) for corner in corners], crs="EPSG:4326")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        draw(images / "nowhere.tif", crs=None, transform=Affine.identity())
    (images / "broken.tif").write_bytes(b"II*\0broken")
    draw(images / "complex.tif", dtype="complex64")
    (images / "notes.txt").write_text("no image")
    draw(images / ".hidden" / "x.tif")
    report = build(images, tmp_path / "out")
    assert report.items == ("good",)
    reasons = {file.path.name: file.reason for file in report.skipped}
    assert set(reasons) == {"gcps.tif", "nowhere.tif", "broken.tif", "complex.tif"}
    assert "ground control points" in reasons["gcps.tif"]
    assert "no CRS" in reasons["nowhere.tif"]
    assert "cannot be read" in reasons["broken.tif"]
    assert "complex" in reasons["complex.tif"]


def test_projections_of_any_kind_in_one_catalogue(images, tmp_path):
    draw(images / "utm.tif")
    draw(images / "modis.tif", crs=SINUSOIDAL, origin=(-6073798, -1278280), metres=231.656358)
    draw(images / "lonlat.tif", crs="EPSG:4326", transform=Affine(0.1, 0, 10, 0, -0.1, 50))
    draw(images / "dateline.tif", crs="EPSG:32660", origin=(650_000, 5_800_000), metres=20_000)
    out = tmp_path / "out"
    build(images, out)
    items = {path.stem: json.loads(path.read_text()) for path in (out / "mine").glob("*/*.json")}
    (utm,), (modis,) = items["utm"]["assets"].values(), items["modis"]["assets"].values()
    assert (utm["proj:code"], utm["proj:shape"]) == ("EPSG:32633", [5, 6])
    assert modis["proj:code"] is None
    assert CRS.from_wkt(modis["proj:wkt2"]) == SINUSOIDAL
    west, _, east, _ = items["dateline"]["bbox"]
    assert west > 170
    assert east < -170
    assert items["dateline"]["geometry"]["type"] == "MultiPolygon"
    near = {scene.id for scene in scenes_of(out, bbox=(179, 51, -179, 53))}
    assert near == {"dateline"}
    assert len(scenes_of(out)) == 4


def test_equal_names_in_several_folders_are_told_apart(images, tmp_path):
    for folder in ("S1RTC", "S2L2A"):
        draw(images / folder / "282D_485L.tif", count=2)
    draw(images / "S1RTC" / "other.tif")
    report = build(images, tmp_path / "out")
    assert report.items == ("S1RTC_282D_485L", "S2L2A_282D_485L", "other")
    assert [band.name for band in scenes_of(report.path)[0].bands] == ["b1", "b2"]


def test_the_folder_names_a_scene_whose_files_are_called_by_their_band(images, tmp_path):
    draw(images / "2020-03-18" / "B01.tif")
    draw(images / "2020-03-18" / "B09.tif")
    report = build(images, tmp_path / "out")
    assert report.items == ("2020-03-18",)


def test_two_resolutions_of_a_band(images, tmp_path):
    draw(images / "T34SGA_20200318T091131_B02_10m.tif", metres=10)
    draw(images / "T34SGA_20200318T091131_B02_20m.tif", metres=20)
    (scene,) = scenes_of(build(images, tmp_path / "out").path, bands=["B02"])
    assert scene.bands[0].href.endswith("B02_10m.tif")


def test_twice_gives_the_same_bytes_and_collections_add_up(images, tmp_path):
    draw(images / "a_20200831.tif")
    out = tmp_path / "out"

    def content():
        return {path.relative_to(out): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}

    build(images, out)
    first = content()
    build(images, out)
    assert content() == first
    build(images, out, "second")
    draw(images / "b_20200831.tif")
    build(images, out, "mine")
    ids = {(scene.collection, scene.id) for scene in scenes_of(out)}
    assert ids == {("mine", "a_20200831"), ("mine", "b_20200831"), ("second", "a_20200831")}
    catalogue = pystac.Catalog.from_file(str(out / "catalog.json"))
    assert len(list(catalogue.get_items(recursive=True))) == 3


def test_hrefs_are_relative_where_catalogue_and_images_move_together(images, tmp_path):
    draw(images / "a.tif")
    inside = images / "catalogue"
    build(images, inside)
    item = json.loads((inside / "mine" / "a" / "a.json").read_text())
    assert item["assets"]["data"]["href"] == "../../../a.tif"
    assert len(build(images, inside).items) == 1  # its own files are not images of the folder
    build(images, tmp_path / "out")
    item = json.loads((tmp_path / "out" / "mine" / "a" / "a.json").read_text())
    assert item["assets"]["data"]["href"] == str(images / "a.tif")
    moved = tmp_path / "moved"
    images.rename(moved)
    assert len(list((moved / "catalogue").rglob("*.json"))) == 3


def test_a_catalogue_beside_its_images_needs_no_permission(images, monkeypatch, tmp_path):
    draw(images / "tiles" / "a.tif")
    report = build(images / "tiles", images)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-user"))
    assert [scene.bands[0].href for scene in scenes_of(report.path)] == [str(images / "tiles" / "a.tif")]


def test_only_a_catalogue_made_here_may_name_images_elsewhere(images, tmp_path, monkeypatch):
    draw(images / "a.tif")
    out = tmp_path / "out"
    build(images, out)
    assert len(scenes_of(out / "mine" / "collection.json")) == 1
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another-user"))
    with pytest.raises(InputError, match="outside the catalogue's folder"):
        scenes_of(out)


def test_refusals_write_nothing(images, tmp_path):
    draw(images / "landsat" / "a.tif")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.txt").write_text("precious")
    cases = [
        (images, images, "mine", "is the folder of the images"),
        (images / "landsat", images, "landsat", "written over the images"),
        (images, full, "mine", "holds other things"),
        (images, full / "thesis.txt", "mine", "is a file"),
        (images, tmp_path / "out", "../mine", "collection id"),
        (images, tmp_path / "out", "a/b", "collection id"),
        (tmp_path / "none", tmp_path / "out", "mine", "is no folder"),
        (full, tmp_path / "out", "mine", "no georeferenced image"),
    ]
    before = sorted(path for path in tmp_path.rglob("*"))
    for folder, out, collection, message in cases:
        with pytest.raises(InputError) as refused:
            build_static_catalogue(folder, collection=collection, out=out)
        assert message in str(refused.value)
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_a_folder_with_more_than_a_collection_is_not_replaced(images, tmp_path):
    draw(images / "a.tif")
    out = tmp_path / "out"
    build(images, out)
    (out / "mine" / "photo.png").write_bytes(b"precious")
    with pytest.raises(InputError, match="holds more than a STAC collection"):
        build(images, out)
    assert (out / "mine" / "photo.png").read_bytes() == b"precious"


def test_a_vanished_image_is_named(images, tmp_path):
    path = draw(images / "a_20200831.tif", nodata=3)
    draw(images / "b_20200831.tif", nodata=3)
    report = build(images, tmp_path / "out")
    path.unlink()
    # The catalogue says all there is to plan with; the read will fail on the file and say so.
    found = find_scenes(resolve_source(str(report.path)), make_query((), None, None))
    assert [scene.id for scene in found.scenes] == ["a_20200831", "b_20200831"]
