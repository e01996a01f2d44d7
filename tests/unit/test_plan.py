"""Plans: one cube for each collection, solar day and radiometry; the id says what is in it."""

import dataclasses
import datetime as dt
import json
import re

import pytest

from catalog.plan import plan_cubes, plan_digest, plan_to_json, solar_day
from catalog.records import CUBE_PLAN, ReadOptions
from infra.errors import InputError
from tests.support.synthetic import NOON, make_band, make_geobox, make_grid, make_scene, plan_one

BOX = make_geobox()
GRID = make_grid(BOX)
RED, NIR = make_band("red", "/data/red.tif"), make_band("nir", "/data/nir.tif")
SCL = make_band("scl", "/data/scl.tif", dtype="uint8", quality=True)


def scene(scene_id="a", bands=(RED, NIR), **facts):
    return make_scene(scene_id, BOX, bands, **facts)


def plans(*scenes, bands=None, **options):
    return plan_cubes(scenes, GRID, bands=bands, options=ReadOptions(**options))


def test_one_day_is_one_cube_in_mosaicking_order():
    later = scene("a", datetime=NOON + dt.timedelta(minutes=1))
    (plan,) = plans(later, scene("c"), scene("b"))
    assert [member.id for member in plan.group.scenes] == ["b", "c", "a"]
    assert plan.group.datetime == NOON
    assert plan.bands == ("red", "nir")


def test_days_collections_and_radiometries_are_kept_apart():
    shifted = dataclasses.replace(RED, offset=-0.1)
    found = plans(
        scene("a"),
        scene("b", datetime=NOON + dt.timedelta(days=1)),
        scene("c", collection="other"),
        scene("d", bands=(shifted, NIR)),
        scene("e", properties={"sat:orbit_state": "ascending"}),
        scene("f", properties={"sat:orbit_state": "descending"}),
    )
    assert len(found) == 6
    assert len({plan.id for plan in found}) == 6
    assert found[0].group.collection == "other"


def test_solar_day_is_local():
    late = dt.datetime(2024, 6, 1, 23, 30, tzinfo=dt.UTC)
    assert solar_day(late, 0) == dt.date(2024, 6, 1)
    assert solar_day(late, 15) == dt.date(2024, 6, 2)
    assert solar_day(dt.datetime(2024, 6, 1, 0, 30, tzinfo=dt.UTC), -150) == dt.date(2024, 5, 31)
    zoned = dt.datetime(2024, 6, 2, 1, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    assert solar_day(zoned, 0) == dt.date(2024, 6, 1)


def test_id_is_readable_and_safe():
    (plan,) = plans(scene(collection="Sentinel 2/L2A: Köln"))
    assert re.fullmatch(r"sentinel-2-l2a-k-ln-20240601-[0-9a-f]{12}", plan.id)
    assert plan.path == f"scenes/{plan.id}"
    assert plan.id.endswith(plan_digest(plan)[:12])


def test_scenes_that_do_not_reach_the_grid_are_left_out():
    far = make_geobox(origin_xy=(700_000, 5_400_000))
    assert plans(make_scene("far", far, [RED])) == []


def test_order_of_the_search_does_not_matter():
    scenes = [
        scene(name, datetime=NOON + dt.timedelta(days=day)) for name, day in [("a", 0), ("b", 1), ("c", 0)]
    ]
    assert plans(*scenes) == plans(*reversed(scenes))


@pytest.mark.parametrize(
    "other",
    [
        {"id": "b"},
        {"version": "05.11"},
        {"bands": (dataclasses.replace(RED, href="/data/other.tif"), NIR)},
        {"bands": (dataclasses.replace(RED, nodata=1), NIR)},
        {"bands": (dataclasses.replace(RED, checksum="1220aa"), NIR)},
    ],
)
def test_another_input_is_another_product(other):
    changed = dataclasses.replace(scene(), **other)
    assert plans(changed)[0].id != plans(scene())[0].id


@pytest.mark.parametrize(
    "other", [{"title": "New title"}, {"self_href": "/elsewhere"}, {"license": "CC0-1.0"}]
)
def test_words_about_the_input_are_not_its_identity(other):
    assert plans(dataclasses.replace(scene(), **other))[0].id == plans(scene())[0].id


def test_a_moved_copy_with_a_checksum_is_the_same_input():
    here = scene(bands=(dataclasses.replace(RED, checksum="1220aa"),))
    there = scene(bands=(dataclasses.replace(RED, checksum="1220aa", href="https://mirror.example/red.tif"),))
    assert plans(here)[0].id == plans(there)[0].id


@pytest.mark.parametrize("option", [{"loader": "stackstac"}, {"resampling": "cubic"}])
def test_options_are_identity(option):
    assert plans(scene(), **option)[0].id != plans(scene())[0].id


def test_bands_and_grid_are_identity():
    ids = {plans(scene(), bands=names)[0].id for names in (None, ("red",), ("nir",), ("nir", "red"))}
    ids.add(plan_cubes([scene()], make_grid(BOX, shard_px=128), bands=None, options=ReadOptions())[0].id)
    assert len(ids) == 5


def test_bands_come_in_the_order_asked_and_unasked_ones_do_not_count():
    (plan,) = plans(scene(), bands=("nir", "swir", "red"))
    assert plan.bands == ("nir", "red")
    (one,) = plans(scene(), bands=("red",))
    touched = scene(bands=(RED, dataclasses.replace(NIR, href="/moved.tif")))
    assert plans(touched, bands=("red",))[0].id == one.id


def test_masking_brings_the_quality_band_along_without_storing_it():
    source = scene(bands=(RED, NIR, SCL), quality_band="scl", mask_rule="sentinel-2-scl")
    (plan,) = plans(source, bands=("red",), mask="clouds")
    assert plan.bands == ("red",)
    assert {band.name for band in plan.group.scenes[0].bands} == {"red", "scl"}
    assert plans(source, bands=("red",))[0].id != plan.id


def test_masking_without_a_quality_band_is_refused():
    with pytest.raises(InputError, match=r"'synthetic' has no quality band .* use --mask none"):
        plans(scene(), mask="clouds")


def test_a_plan_goes_through_json():
    plan = plan_one([scene()], GRID)
    back = CUBE_PLAN.validate_json(plan_to_json(plan))
    assert back == plan
    assert plan_digest(back) == plan_digest(plan)
    assert plan_to_json(back) == plan_to_json(plan)
    assert json.loads(plan_to_json(plan))["id"] == plan.id


def test_band_of_finds_by_name():
    assert scene().band("nir") is NIR
