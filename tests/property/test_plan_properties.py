"""Plans do not depend on the order of a search, and cover every scene that reaches the grid once."""

import dataclasses
import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from catalog.plan import plan_cubes, plan_to_json, solar_day
from catalog.records import CUBE_PLAN, ReadOptions
from tests.support.synthetic import NOON, make_band, make_geobox, make_grid, make_scene

BOX = make_geobox()
GRID = make_grid(BOX)
MODEL = make_scene("model", BOX, [make_band("red", "/red.tif")])

scene_lists = st.lists(
    st.builds(
        lambda name, hours, collection, orbit: dataclasses.replace(
            MODEL,
            id=name,
            collection=collection,
            datetime=NOON + dt.timedelta(hours=hours),
            properties={"sat:orbit_state": orbit},
        ),
        st.text("abc", min_size=1, max_size=3),
        st.integers(-60, 60),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["ascending", "descending"]),
    ),
    max_size=8,
    unique_by=lambda scene: (scene.collection, scene.id),
)


def plans_of(scenes):
    return plan_cubes(scenes, GRID, bands=None, options=ReadOptions())


@given(scene_lists, st.randoms(use_true_random=False))
def test_order_does_not_matter(scenes, random):
    shuffled = list(scenes)
    random.shuffle(shuffled)
    assert plans_of(shuffled) == plans_of(scenes)


@given(scene_lists)
def test_every_scene_is_in_exactly_one_cube_of_its_own_kind(scenes):
    plans = plans_of(scenes)
    assert sorted(scene.digest for plan in plans for scene in plan.group.scenes) == sorted(
        scene.digest for scene in scenes
    )
    assert len({plan.id for plan in plans}) == len(plans)
    for plan in plans:
        assert {scene.collection for scene in plan.group.scenes} == {plan.group.collection}
        assert {solar_day(scene.datetime, 15.0) for scene in plan.group.scenes} == {plan.group.day}
        assert len({scene.properties["sat:orbit_state"] for scene in plan.group.scenes}) == 1


@given(scene_lists)
def test_plans_go_through_json(scenes):
    for plan in plans_of(scenes):
        assert CUBE_PLAN.validate_json(plan_to_json(plan)) == plan


@given(
    st.datetimes(dt.datetime(2000, 1, 1), dt.datetime(2030, 1, 1), timezones=st.just(dt.UTC)),
    st.floats(-180, 180),
)
def test_solar_day_is_at_most_a_day_from_utc(instant, longitude):
    assert abs((solar_day(instant, longitude) - instant.date()).days) <= 1
    noon = instant.replace(hour=12, minute=0)
    if abs(longitude) < 179:
        assert solar_day(noon, longitude) == noon.date()
