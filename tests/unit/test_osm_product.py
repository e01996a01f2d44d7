"""Products of map data: planned for any area, written whole or not at all, whoever else is at work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from catalog.osm.extract import describe_extract
from catalog.osm.plan import OsmOptions, OsmPlan, plan_osm
from catalog.osm.repair import unwrap_area
from catalog.products import ProductOutcome, receipt_of
from infra.errors import DataError, InputError, InternalError
from infra.storage import open_storage
from models.osm_graph.serial import load_graph
from tasks.write_osm import GRAPH_NAME, write_osm
from tests.support.osm import node, way, write_extract

BUILDING = {"building": "yes"}
AREA = (9.99, 49.99, 10.01, 50.01)


def house(number: int, lon: float, lat: float, side: float = 0.001) -> list[Any]:
    corners = [(lon, lat), (lon + side, lat), (lon + side, lat + side), (lon, lat + side)]
    ids = [10 * number + corner for corner in range(4)]
    nodes = [
        node(one, (east + 180) % 360 - 180, north) for one, (east, north) in zip(ids, corners, strict=True)
    ]
    return [*nodes, way(number, [*ids, ids[0]], tags=BUILDING)]


def plan_of(path: Path, *objects: Any, clip: Any = AREA, **more: Any) -> OsmPlan:
    order = {"Node": 0, "Way": 1}
    write_extract(path, sorted(objects, key=lambda thing: order[type(thing).__name__]))
    options = {"options": OsmOptions(), "resolution_m": 20.0}
    return plan_osm(describe_extract(path), source=str(path), clip=clip, **options | more)


def write(store: Path, plan: OsmPlan) -> ProductOutcome:
    return write_osm.fn(str(store), plan)


def contents(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in store.rglob("*") if path.is_file()}


def graph_of(tmp_path: Path, name: str, *objects: Any, clip: tuple[float, ...]) -> Any:
    plan = plan_of(tmp_path / f"{name}.osm.pbf", *objects, clip=clip)
    write(tmp_path / name, plan)
    return load_graph((tmp_path / name / plan.path / GRAPH_NAME).read_bytes())


def test_the_graph_of_an_area_across_the_antimeridian_is_that_of_the_same_place_elsewhere(tmp_path):
    def town(lon: float) -> list[Any]:
        street = [node(1, lon - 0.005, 10.002), node(2, (lon + 0.005 + 180) % 360 - 180, 10.002)]
        homes = [house(3, lon - 0.0005, 10.0), house(4, lon - 0.004, 10.0), house(5, lon + 0.004, 10.0)]
        return [
            *street,
            way(1, [1, 2], tags={"highway": "path"}),
            *(thing for home in homes for thing in home),
        ]

    west_of = graph_of(tmp_path, "west", *town(170.0), clip=(169.99, 9.99, 170.01, 10.01))
    across = graph_of(tmp_path, "across", *town(180.0), clip=(179.99, 9.99, -179.99, 10.01))
    assert across.counts() == west_of.counts()
    assert across.counts()["polygon"] == 3
    assert across.box == (179.99, 9.99, pytest.approx(180.01), 10.01)
    np.testing.assert_allclose(
        np.sort(across.nodes["polygon"].coordinates[:, 6:], axis=0),
        np.sort(west_of.nodes["polygon"].coordinates[:, 6:], axis=0),
        atol=1e-4,
    )
    ends = across.nodes["line"].coordinates[0, 2:].reshape(2, 2)
    np.testing.assert_allclose(ends, west_of.nodes["line"].coordinates[0, 2:].reshape(2, 2), atol=1e-4)


def test_what_goes_round_the_earth_is_on_both_sides_of_an_area():
    shapes = np.array(
        [shapely.box(-180, -90, 180, -60), shapely.box(0, 0, 1, 1), shapely.Point(-179.995, -70)],
        dtype=object,
    )
    laid, box = unwrap_area(shapes, (179.99, -71, -179.99, -69))
    assert shapely.contains_properly(laid[0], shapely.box(*box))
    assert shapely.equals(laid[1], shapes[1])
    assert laid[2].x == pytest.approx(180.005)
    assert unwrap_area(shapes[:0], (179.0, 0.0, -179.0, 1.0))[0].size == 0


@pytest.mark.parametrize(
    "clip", [(0.0, 50.0, 10.0, 50.01), (-180.0, -1.0, 180.0, 1.0), (170.0, -1.0, -170.0, -0.99), AREA]
)
def test_the_picture_of_any_area_fits(tmp_path, clip):
    grid = plan_of(tmp_path / "one.osm", node(1, 0, 0, tags=BUILDING), clip=clip, resolution_m=None).grid
    assert 1_000 < max(grid.shape_yx) <= 4_096


def test_a_picture_too_large_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="--resolution-m"):
        plan_of(tmp_path / "one.osm", *house(1, 10, 50), resolution_m=0.1)


def test_only_what_changes_the_bytes_makes_another_product(tmp_path):
    def name(**options: Any) -> str:
        return plan_of(tmp_path / "one.osm", *house(1, 10, 50), options=OsmOptions(**options)).id

    assert name() == name(max_features=7) == name(network_form="gpkg")
    kept = {name(), name(graph=False), name(network="walk"), name(network="walk", network_form="gpkg")}
    assert len(kept) == 4


def test_an_extract_that_changes_under_a_run_is_refused_and_nothing_written(tmp_path):
    plan = plan_of(tmp_path / "one.osm", *house(1, 10, 50))
    plan_of(tmp_path / "one.osm", *house(1, 10.002, 50))
    with pytest.raises(DataError, match="changed while it was read"):
        write(tmp_path / "store", plan)
    Path(plan.extract.path).unlink()
    with pytest.raises(DataError, match=r"one\.osm"):
        write(tmp_path / "store", plan)
    assert not contents(tmp_path / "store")


def test_what_a_killed_run_left_is_written_over(tmp_path):
    plan = plan_of(tmp_path / "one.osm", *house(1, 10, 50))
    write(tmp_path / "whole", plan)
    (tmp_path / "store" / plan.path).mkdir(parents=True)
    (tmp_path / "store" / plan.path / "features.parquet").write_bytes(b"half")
    write(tmp_path / "store", plan)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def test_a_run_that_made_something_else_leaves_the_standing_product_alone(tmp_path):
    plan = plan_of(tmp_path / "one.osm", *house(1, 10, 50))
    write(tmp_path / "store", plan)
    before = contents(tmp_path / "store")
    other = plan_of(tmp_path / "two.osm", *house(1, 10, 50), *house(2, 10.003, 50))
    with pytest.raises(InternalError, match="differs"):
        write(tmp_path / "store", dataclasses.replace(other, id=plan.id))
    assert contents(tmp_path / "store") == before
    assert receipt_of(open_storage(str(tmp_path / "store")), plan) is not None
