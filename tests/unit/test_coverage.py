"""Coverage: how much of a grid footprints promise to fill."""

import pytest
import shapely.geometry

from catalog.coverage import covered_fraction
from tests.support.synthetic import footprint, make_geobox

BOX = make_geobox((100, 200), step=100)


def test_its_own_footprint_covers_a_grid():
    assert covered_fraction([footprint(BOX)], BOX) == pytest.approx(1.0, abs=2e-3)


def test_halves_and_overlaps():
    left, right, middle = BOX[:, :100], BOX[:, 100:], BOX[:, 50:150]
    assert covered_fraction([footprint(left)], BOX) == pytest.approx(0.5, abs=5e-3)
    assert covered_fraction([footprint(left), footprint(right)], BOX) == pytest.approx(1.0, abs=5e-3)
    assert covered_fraction([footprint(left), footprint(middle)], BOX) == pytest.approx(0.75, abs=5e-3)


def test_far_away_and_nothing_at_all():
    far = shapely.geometry.mapping(shapely.geometry.box(100, 10, 101, 11))
    assert covered_fraction([far], BOX) == 0
    assert covered_fraction([], BOX) == 0


def test_multipolygons_count_whole():
    pair = {
        "type": "MultiPolygon",
        "coordinates": [footprint(BOX[:50, :])["coordinates"], footprint(BOX[50:, :])["coordinates"]],
    }
    assert covered_fraction([pair], BOX) == pytest.approx(1.0, abs=5e-3)


def test_across_the_antimeridian():
    box = make_geobox((50, 400), origin_xy=(680_000, 1_000_000), step=1000, crs="EPSG:32660")
    west_part = shapely.geometry.box(170, 8, 180, 10)
    east_part = shapely.geometry.box(-180, 8, -170, 10)
    split = shapely.geometry.mapping(shapely.geometry.MultiPolygon([west_part, east_part]))
    assert covered_fraction([split], box) == pytest.approx(1.0, abs=1e-6)
    one_side = covered_fraction([shapely.geometry.mapping(west_part)], box)
    assert 0.05 < one_side < 0.95
    other_side = covered_fraction([shapely.geometry.mapping(east_part)], box)
    assert one_side + other_side == pytest.approx(1.0, abs=1e-6)


def test_a_footprint_round_the_world_does_not_hurt():
    globe = shapely.geometry.mapping(shapely.geometry.box(-180, -90, 180, 90))
    assert 0 <= covered_fraction([globe], BOX) <= 1
