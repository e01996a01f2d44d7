"""Cubes on paper: the same plan lays out the same bytes, whole and consolidated."""

import dataclasses
import datetime as dt
import json

import numpy as np
import pytest

from catalog.cubes.layout import CUBE_FOLDER, lay_out_cube
from catalog.cubes.pyramid import count_levels
from catalog.grid import level_shape
from tests.support.synthetic import make_band, make_geobox, make_grid, make_scene, plan_one

BOX = make_geobox((1030, 700))
BANDS = [
    make_band("red", "/red.tif", scale=0.0001, offset=-0.1, unit="1", common_name="red"),
    make_band("vv", "/vv.tif", dtype="float32", nodata="nan", unit="dB"),
    make_band("scl", "/scl.tif", dtype="uint8", quality=True),
]


@pytest.fixture(scope="module")
def plan():
    return plan_one([make_scene("a", BOX, BANDS)], make_grid(BOX, shard_px=512, chunk_px=256))


@pytest.fixture(scope="module")
def objects(plan):
    return lay_out_cube(plan)


def node(objects, path):
    return json.loads(objects[f"{CUBE_FOLDER}/{path}zarr.json"])


def test_the_same_plan_is_the_same_bytes(plan, objects):
    assert lay_out_cube(plan) == objects
    assert lay_out_cube(dataclasses.replace(plan, id="other")) == objects


def test_no_pixels_are_laid_out(objects):
    assert not any("/red/c" in name or "/vv/c" in name or "/scl/c" in name for name in objects)


def test_each_level_halves_and_shards_stay_whole(plan, objects):
    assert count_levels(plan.grid) == 3
    for level in range(3):
        array = node(objects, f"{level}/red/")
        assert array["shape"] == list(level_shape(plan.grid, level))
        assert array["chunk_grid"]["configuration"]["chunk_shape"] == [512 >> level] * 2
        assert array["dimension_names"] == ["y", "x"]


def test_native_types_are_kept(objects):
    assert [node(objects, f"0/{name}/")["data_type"] for name in ("red", "vv", "scl")] == [
        "uint16",
        "float32",
        "uint8",
    ]


def test_every_group_lists_all_below_it(objects):
    for path in ("", "0/", "1/", "2/"):
        listed = node(objects, path)["consolidated_metadata"]["metadata"]
        below = {
            name.removeprefix(f"{CUBE_FOLDER}/{path}").removesuffix("/zarr.json")
            for name in objects
            if name.startswith(f"{CUBE_FOLDER}/{path}") and name.endswith("/zarr.json")
        }
        assert set(listed) == below - {f"{CUBE_FOLDER}/{path}zarr.json", "zarr.json"}
        assert all("consolidated_metadata" not in entry for entry in listed.values())


def test_quality_bands_are_plain_numbers(objects):
    attributes = node(objects, "0/scl/")["attributes"]
    assert not {"_FillValue", "scale_factor", "add_offset"} & attributes.keys()


def test_physical_values_are_described(objects):
    attributes = node(objects, "0/red/")["attributes"]
    assert (attributes["scale_factor"], attributes["add_offset"], attributes["units"]) == (0.0001, -0.1, "1")
    assert attributes["long_name"] == "red"


def test_levels_say_where_they_are(plan, objects):
    layout = node(objects, "")["attributes"]["multiscales"]["layout"]
    for level, entry in enumerate(layout):
        attributes = node(objects, f"{level}/")["attributes"]
        assert entry["asset"] == str(level)
        assert entry["spatial:shape"] == attributes["spatial:shape"] == list(level_shape(plan.grid, level))
        assert entry["spatial:transform"] == attributes["spatial:transform"]
        assert attributes["spatial:transform"][0] == 10 * 2**level
        assert attributes["proj:code"] == "EPSG:32633"
    left, bottom, right, top = node(objects, "0/")["attributes"]["spatial:bbox"]
    np.testing.assert_array_equal((left, bottom, right, top), BOX.boundingbox.bbox)


def test_everything_is_strict_json(objects):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    for name, data in objects.items():
        if name.endswith("zarr.json"):
            json.loads(data, parse_constant=refuse)


def test_days_of_a_series_share_a_layout_but_not_their_time(plan, objects):
    later = dt.datetime(2031, 6, 1, 10, tzinfo=dt.UTC)
    scene = make_scene("b", BOX, [dataclasses.replace(b, href=f"/b{b.href}") for b in BANDS], datetime=later)
    other = lay_out_cube(plan_one([scene], plan.grid))
    differing = {name for name in objects if objects[name] != other[name]}
    assert differing == {f"{CUBE_FOLDER}/{level}/time/c" for level in range(3)}
