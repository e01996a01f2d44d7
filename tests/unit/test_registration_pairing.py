"""What is registered to what, and where radar leans."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest

from catalog.records import Band, Grid
from catalog.registrations.plan import SceneFacts, plan_digest, plan_registration, plan_to_json
from catalog.registrations.scenes import describe_scene
from flows.pairing import explain_no_pairs, pair_radar, pair_with_map
from flows.params import MapAreaParams, RegisterParams, parse_as
from infra.errors import InputError
from infra.storage import LocalStorage
from tasks.register_pair import find_lean, registration_settings

GRID = Grid(
    crs="EPSG:32633",
    transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_400_000.0),
    shape_yx=(300, 300),
    shard_px=4096,
    chunk_px=1024,
)
RED = Band(name="red", asset="red", href="", dtype="uint16")


VV = Band(name="vv", asset="vv", href="", dtype="float32")
SCL = Band(name="scl", asset="scl", href="", dtype="uint8", quality=True)
HEIGHT = Band(name="height", asset="height", href="", dtype="float32")


def square(west: float, east: float) -> dict:
    ring = [[west, 0], [east, 0], [east, 1], [west, 1], [west, 0]]
    return {"type": "Polygon", "coordinates": [ring]}


def facts(name: str, day: int, **more) -> SceneFacts:
    stated = {
        "id": name,
        "collection": "scenes",
        "digest": name * 3,
        "path": f"scenes/{name}",
        "title": name,
        "grid": GRID,
        "bands": (RED,),
        "datetime": dt.datetime(2025, 6, day, 10, tzinfo=dt.UTC),
        "geometry": square(0, 1),
    }
    return SceneFacts(**stated | more)


RADAR = facts("radar", 12, bands=(VV,), radar=True, look_azimuth_deg=90.0)
DRAWN = facts("map", 1, bands=())


def test_radar_goes_to_the_clear_scene_nearby():
    near, clear = facts("near", 11, cloud_percent=60.0), facts("clear", 20, cloud_percent=1.0)
    assert pair_radar([near, RADAR, clear, DRAWN]) == {"clear": ("radar",)}
    assert pair_radar([dataclasses.replace(near, cloud_percent=2.0), RADAR, clear]) == {"near": ("radar",)}
    unknown = facts("unknown", 12)
    assert pair_radar([unknown, RADAR, clear]) == {"clear": ("radar",)}
    assert pair_radar([RADAR, DRAWN]) == pair_radar([near, clear]) == {}


def test_radar_goes_where_its_ground_is():
    beside = facts("beside", 12, cloud_percent=0.0, geometry=square(0.9, 2))
    far = facts("far", 25, cloud_percent=1.0)
    assert pair_radar([beside, far, RADAR]) == {"far": ("radar",)}
    mostly = dataclasses.replace(beside, geometry=square(0.02, 2))
    assert pair_radar([mostly, far, RADAR]) == {"beside": ("radar",)}


def test_heights_and_classes_are_no_images():
    relief, classes = facts("relief", 12, bands=(HEIGHT,)), facts("classes", 12, bands=(SCL,))
    assert pair_radar([relief, classes, RADAR]) == {}
    assert pair_with_map([relief, classes, DRAWN]) == {}
    assert pair_radar([relief, facts("red", 30), RADAR]) == {"red": ("radar",)}


@pytest.mark.parametrize(
    ("cubes", "said"),
    [
        ([], "no cube"),
        ([(RED,), (RED, HEIGHT)], "none of the cubes is radar"),
        ([(VV,), (HEIGHT,)], "no optical cube"),
        ([(RED,), (VV,)], None),
    ],
)
def test_why_there_is_nothing_to_register(cubes, said):
    told = explain_no_pairs(cubes)
    assert told is None if said is None else said in told


def test_imagery_goes_to_the_map():
    first, second = facts("a", 1), facts("b", 2)
    assert pair_with_map([first, RADAR, DRAWN, second]) == {"map": ("a", "b")}
    assert pair_with_map([first, second]) == pair_with_map([DRAWN, RADAR]) == {}


def test_a_radar_that_looks_east_makes_things_lean_west():
    optical = facts("optical", 1)
    plan = plan_registration(optical, RADAR, matcher="phase", settings={})
    np.testing.assert_allclose(find_lean(plan), (-1, 0), atol=1e-9)
    back = plan_registration(RADAR, optical, matcher="phase", settings={})
    np.testing.assert_allclose(find_lean(back), (1, 0), atol=1e-9)
    south = dataclasses.replace(RADAR, look_azimuth_deg=180.0)
    lean = find_lean(plan_registration(optical, south, matcher="phase", settings={}))
    np.testing.assert_allclose(lean, (0, -1), atol=1e-9)  # to the north is up
    assert find_lean(plan_registration(optical, facts("other", 2), matcher="phase", settings={})) is None
    two = plan_registration(south, dataclasses.replace(RADAR, id="again"), matcher="phase", settings={})
    assert find_lean(two) is None


def test_the_same_request_is_the_same_plan():
    optical = facts("optical", 1)
    settings = registration_settings()
    plan = plan_registration(optical, RADAR, matcher="phase", settings=settings)
    assert plan == plan_registration(optical, RADAR, matcher="phase", settings=settings)
    assert plan.id.endswith(plan_digest(plan)[:12])
    moved = dataclasses.replace(optical, title="another title", path="elsewhere")
    assert plan_registration(moved, RADAR, matcher="phase", settings=settings).id == plan.id
    others = [
        plan_registration(optical, RADAR, matcher="sift", settings=settings),
        plan_registration(optical, RADAR, matcher="phase", settings=settings | {"seed": 1}),
        plan_registration(RADAR, optical, matcher="phase", settings=settings),
        plan_registration(optical, RADAR, matcher="phase", settings=settings, model_digest="ab"),
        plan_registration(
            optical,
            dataclasses.replace(RADAR, look_azimuth_deg=282.0),
            matcher="phase",
            settings=settings,
        ),
    ]
    assert len({plan.id, *(each.id for each in others)}) == 6
    assert plan_to_json(plan) == plan_to_json(plan)


def cube_item(**properties) -> dict:
    band = {"name": "vv", "data_type": "float32", "nodata": "nan", "unit": "dB"}
    return {
        "id": "cube",
        "collection": "scenes",
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "properties": {
            "datetime": "2025-06-01T00:00:00Z",
            "proj:code": "EPSG:32633",
            "proj:shape": [300, 300],
            "proj:transform": [10, 0, 500_000, 0, -10, 5_400_000],
            **properties,
        },
        "assets": {"data": {"bands": [band]}},
    }


@pytest.mark.parametrize(
    ("properties", "look"),
    [
        ({}, None),
        ({"view:azimuth": 282.5}, 282.5),
        ({"sat:orbit_state": "ascending"}, 77.0),
        ({"sat:orbit_state": "descending"}, 283.0),
        ({"sat:orbit_state": "ascending", "sar:observation_direction": "left"}, None),
        ({"view:azimuth": "north"}, None),
    ],
)
def test_where_a_radar_looks(tmp_path, properties, look):
    storage = LocalStorage(tmp_path)
    storage.write("scenes/cube/receipt.json", b'{"plan_digest": "ab"}')
    scene = describe_scene(storage, cube_item(**properties))
    assert scene.radar
    assert scene.look_azimuth_deg == look
    assert scene.grid.shape_yx == (300, 300)


@pytest.mark.parametrize(
    "change",
    [
        {"proj:shape": [0, 5]},
        {"proj:shape": [1 << 30, 5]},
        {"proj:transform": [0, 0, 0, 0, 0, 0]},
        {"proj:transform": [float("nan"), 0, 0, 0, 1, 0]},
        {"proj:transform": "east"},
        {"datetime": "yesterday"},
    ],
)
def test_items_that_make_no_sense(tmp_path, change):
    storage = LocalStorage(tmp_path)
    storage.write("scenes/cube/receipt.json", b'{"plan_digest": "ab"}')
    with pytest.raises(Exception, match="publish it again"):
        describe_scene(storage, cube_item(**change))


def test_requests_are_checked():
    chosen = parse_as(RegisterParams, {"store": "s", "fixed": "a", "moving": ["b"]})
    assert chosen.matcher == "phase"
    with pytest.raises(InputError, match=r"magic.*phase"):
        parse_as(RegisterParams, {"store": "s", "fixed": "a", "moving": ["b"], "matcher": "magic"})
    request = {
        "source": "x",
        "collections": ["a"],
        "bbox": [1, 2, 3, 4],
        "datetime": "2025-01-01/..",
        "store": "s",
    }
    assert parse_as(MapAreaParams, request | {"steps": ["ingest", "register"]}).matcher == "phase"
    with pytest.raises(InputError, match="ingest,register"):
        parse_as(MapAreaParams, request | {"steps": ["register"]})
    assert parse_as(MapAreaParams, request).steps == ("ingest", "register")
    with pytest.raises(InputError, match="--osm"):
        parse_as(MapAreaParams, request | {"register_to_map": True})
    with pytest.raises(InputError, match="ingest,register"):
        parse_as(MapAreaParams, request | {"steps": ["ingest"], "register_to_map": True, "osm": "x.osm"})
