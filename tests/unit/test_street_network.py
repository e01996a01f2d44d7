from __future__ import annotations

import datetime as dt
import hashlib
import itertools
import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import networkx as nx
import osmium
import osmnx
import pytest
from osmium.osm import mutable
from osmnx import _overpass

from catalog.grid import BoundsLonLat
from catalog.osm.extract import describe_extract
from catalog.osm.plan import NetworkKind
from catalog.osm.records import ExtractFacts
from catalog.osm.streets.network import encode_network, read_street_network
from catalog.osm.streets.ways import EXCLUSIONS, is_street
from infra.errors import DataError, InputError
from tests.support.overpass import Element, block_of_streets

STEP = 0.002
KINDS: tuple[NetworkKind, ...] = ("drive", "walk", "bike", "all")
DATE = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def write_extract(path: Path, elements: list[Element]) -> ExtractFacts:
    order = {"node": 0, "way": 1, "relation": 2}
    with osmium.SimpleWriter(path, overwrite=True) as writer:
        for element in sorted(elements, key=lambda element: (order[element["type"]], element["id"])):
            tags = element.get("tags", {})
            if element["type"] == "node":
                place = (element["lon"], element["lat"])
                writer.add_node(mutable.Node(id=element["id"], location=place, tags=tags))
            elif element["type"] == "way":
                writer.add_way(mutable.Way(id=element["id"], nodes=element["nodes"], tags=tags))
    return ExtractFacts(
        path=str(path),
        sha256="0" * 64,
        size=path.stat().st_size,
        timestamp=DATE,
        sequence=None,
        replication_url=None,
        generator=None,
        bounds=None,
        modified=DATE,
    )


@pytest.fixture
def extract(tmp_path: Path) -> ExtractFacts:
    return write_extract(tmp_path / "block.osm.pbf", block_of_streets(10.0, 50.0, step=STEP))


def edge_ways(graph: nx.MultiDiGraph) -> set[int]:
    found: set[int] = set()
    for _, _, number in graph.edges(data="osmid"):
        found |= set(number) if isinstance(number, list) else {number}
    return found


def overpass_keeps(tags: dict[str, str], kind: str) -> bool:
    """Evaluate osmnx's own query filter: every ``["key"!~"words"]`` is a search in the value."""
    clauses = re.findall(r'\["([^"]+)"(?:!~"([^"]+)")?\]', _overpass._get_network_filter(kind))
    return all(
        (key in tags) if not words else not re.search(words, tags.get(key, "")) for key, words in clauses
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_choice_of_streets_is_that_of_osmnx(kind: NetworkKind) -> None:
    words = {
        key: sorted({word for rules in EXCLUSIONS.values() for word in rules.get(key, ())} | {"yes", "other"})
        for key in {key for rules in EXCLUSIONS.values() for key in rules}
    }
    highways = [*words["highway"], "motorway", "motorway_link", "residential", "living_street", "tracks"]
    cases: list[dict[str, str]] = [{"building": "yes"}]
    for highway, (key, values) in itertools.product(highways, words.items()):
        cases += [{"highway": highway}, *({"highway": highway, key: value} for value in values)]
    assert [tags for tags in cases if is_street(tags, kind) != overpass_keeps(tags, kind)] == []
    assert 0 < sum(is_street(tags, kind) for tags in cases) < len(cases)


def test_kinds_hold_their_streets(extract: ExtractFacts) -> None:
    rows, primaries, footways = set(range(1, 7)), {101, 103, 105}, {102, 104, 106}
    assert edge_ways(read_street_network(extract, None, "drive")) == rows | primaries
    assert edge_ways(read_street_network(extract, None, "bike")) == rows | primaries
    assert edge_ways(read_street_network(extract, None, "walk")) == rows | primaries | footways


def test_edges_carry_lengths_names_and_true_counts_of_streets(extract: ExtractFacts) -> None:
    graph = read_street_network(extract, None, "walk")
    assert len(graph) == 32  # every crossing but the four corners, where nothing branches off
    edge = graph.edges[8, 9, 0]
    assert edge["length"] == pytest.approx(STEP * 111_195 * 0.6428, rel=0.01)  # cos 50°
    assert edge["name"] == "1th é St"
    assert graph.nodes[8]["highway"] == "crossing"
    counts = nx.get_node_attributes(graph, "street_count")
    assert (counts[2], counts[8]) == (3, 4)


def test_streets_that_leave_the_area_end_at_their_first_node_outside(extract: ExtractFacts) -> None:
    area = (10.0 + 0.9 * STEP, 50.0 + 0.9 * STEP, 10.0 + 2.1 * STEP, 50.0 + 2.1 * STEP)
    graph = read_street_network(extract, area, "all")
    inside = {8, 9, 14, 15}
    assert inside <= set(graph)
    assert set(graph) - inside == {2, 3, 7, 10, 13, 16, 20, 21}
    assert {graph.nodes[node]["street_count"] for node in inside} == {4}


def test_one_way_streets_lead_one_way_except_on_foot(tmp_path: Path) -> None:
    nodes = [{"type": "node", "id": n, "lon": 10 + n / 1000, "lat": 50.0} for n in (1, 2, 3)]
    tags = {"highway": "residential", "oneway": "yes"}
    extract = write_extract(
        tmp_path / "one.osm.pbf", [*nodes, {"type": "way", "id": 7, "nodes": [1, 2, 3], "tags": tags}]
    )
    assert set(read_street_network(extract, None, "drive").edges(keys=False)) == {(1, 3)}
    assert set(read_street_network(extract, None, "walk").edges(keys=False)) == {(1, 3), (3, 1)}


def test_an_area_across_the_antimeridian_holds_both_sides(tmp_path: Path) -> None:
    extract = write_extract(tmp_path / "far.osm.pbf", block_of_streets(179.995, 50.0, step=STEP))
    graph = read_street_network(extract, (179.99, 49.9, -179.99, 50.1), "all")
    east = [node for node, lon in graph.nodes(data="x") if lon < 0]
    assert len(graph) == 32
    assert len(east) == 16


def test_a_ring_that_meets_no_other_street_stays(tmp_path: Path) -> None:
    places = {1: (10.0, 50.0), 2: (10.001, 50.0), 3: (10.0, 50.001)}
    nodes = [{"type": "node", "id": n, "lon": lon, "lat": lat} for n, (lon, lat) in places.items()]
    ring = {"type": "way", "id": 7, "nodes": [1, 2, 3, 1], "tags": {"highway": "residential"}}
    graph = read_street_network(write_extract(tmp_path / "ring.osm.pbf", [*nodes, ring]), None, "drive")
    assert edge_ways(graph) == {7}


def test_a_way_that_lacks_nodes_is_not_drawn_across_the_gap(tmp_path: Path) -> None:
    nodes = [{"type": "node", "id": n, "lon": 10 + n / 1000, "lat": 50.0} for n in (1, 2, 4, 5, 6)]
    way = {"type": "way", "id": 7, "nodes": [1, 2, 3, 4, 5, 6], "tags": {"highway": "residential"}}
    graph = read_street_network(write_extract(tmp_path / "gap.osm.pbf", [*nodes, way]), None, "all")
    assert set(graph) == {4, 6}


def test_texts_of_the_map_cannot_break_the_file_for_osmnx(tmp_path: Path) -> None:
    nodes = [{"type": "node", "id": n, "lon": 10 + n / 1000, "lat": 50.0} for n in (1, 2)]
    tags = {"highway": "residential", "name": '"/></way><a & b>\x01\n\u2603'}
    extract = write_extract(
        tmp_path / "odd.osm.pbf", [*nodes, {"type": "way", "id": 7, "nodes": [1, 2], "tags": tags}]
    )
    graph = read_street_network(extract, None, "all")
    assert graph.edges[1, 2, 0]["name"] == '"/></way><a & b>\n\u2603'
    assert b"&lt;/way&gt;" in encode_network(graph, "graphml")


def test_a_way_that_stays_on_one_node_is_no_street(tmp_path: Path) -> None:
    nodes = [{"type": "node", "id": 1, "lon": 10.0, "lat": 50.0}]
    way = {"type": "way", "id": 1, "nodes": [1, 1, 1], "tags": {"highway": "primary"}}
    with pytest.raises(InputError, match="no street for cars"):
        read_street_network(write_extract(tmp_path / "dot.osm.pbf", [*nodes, way]), None, "drive")


@pytest.mark.parametrize("area", [None, (20.0, 50.0, 20.1, 50.1)])
def test_no_street_is_one_clear_line(
    extract: ExtractFacts, tmp_path: Path, area: BoundsLonLat | None
) -> None:
    if area is None:
        extract = write_extract(tmp_path / "void.osm.pbf", [])
    with pytest.raises(InputError, match=r"^no street for cars in .*; choose another area or network kind$"):
        read_street_network(extract, area, "drive")


def test_a_file_cut_in_half_is_one_clear_line(extract: ExtractFacts) -> None:
    file = Path(extract.path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"block\.osm\.pbf cannot be read: .*cut short"):
        read_street_network(extract, None, "drive")


def test_graphml_comes_back_as_it_was(extract: ExtractFacts, tmp_path: Path) -> None:
    graph = read_street_network(extract, None, "walk")
    (tmp_path / "streets.graphml").write_bytes(encode_network(graph, "graphml"))
    back = osmnx.load_graphml(tmp_path / "streets.graphml")
    assert dict(back.nodes(data=True)) == dict(graph.nodes(data=True))
    assert list(back.edges(keys=True)) == list(graph.edges(keys=True))
    assert back.graph["created_date"] == "2026-03-01T12:00:00Z"


def test_geopackage_opens_with_nodes_and_edges(extract: ExtractFacts, tmp_path: Path) -> None:
    import geopandas as gpd

    graph = read_street_network(extract, None, "all")
    file = tmp_path / "streets.gpkg"
    file.write_bytes(encode_network(graph, "gpkg"))
    assert len(gpd.read_file(file, layer="nodes")) == len(graph)
    assert len(gpd.read_file(file, layer="edges")) == graph.number_of_edges() // 2
    connection = sqlite3.connect(file)
    dates = {date for (date,) in connection.execute("select last_change from gpkg_contents")}
    connection.close()
    assert dates == {"2026-03-01T12:00:00.000Z"}


def test_processes_agree_on_every_byte(tmp_path: Path) -> None:
    # One street of many ways: osmnx merges their names through sets, whose order is each process's own.
    nodes = [{"type": "node", "id": n, "lon": 10 + n / 1000, "lat": 50.0} for n in range(1, 12)]
    ways: list[dict[str, Any]] = [
        {"type": "way", "id": n, "nodes": [n, n + 1], "tags": {"highway": "residential", "name": f"part {n}"}}
        for n in range(1, 11)
    ]
    extract = write_extract(tmp_path / "long.osm.pbf", [*nodes, *ways])
    program = (
        "import hashlib, datetime as dt\n"
        "from catalog.osm.streets.network import *\nfrom catalog.osm.records import *\n"
        f"facts = {extract!r}".replace("datetime.", "dt.")
        + "\n"
        "graph = read_street_network(facts, None, 'drive')\n"
        "for form in ('graphml', 'gpkg'): print(hashlib.sha256(encode_network(graph, form)).hexdigest())\n"
    )
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    outputs = [run.communicate(timeout=120)[0].split() for run in runs]
    graph = read_street_network(extract, None, "drive")
    own = [hashlib.sha256(encode_network(graph, form)).hexdigest() for form in ("graphml", "gpkg")]
    assert outputs == [own, own]
    assert graph.edges[1, 11, 0]["name"] == sorted(f"part {n}" for n in range(1, 11))


def test_the_order_of_a_file_does_not_matter(tmp_path: Path) -> None:
    nodes = [mutable.Node(id=1, location=(10.0, 50.0)), mutable.Node(id=2, location=(10.1, 50.0))]
    street = mutable.Way(id=1, nodes=[1, 2], tags={"highway": "residential"})
    with osmium.SimpleWriter(tmp_path / "ways-first.osm", overwrite=True) as writer:
        for thing in (street, *nodes):
            writer.add(thing)
    graph = read_street_network(describe_extract(tmp_path / "ways-first.osm"), None, "drive")
    assert sorted(graph.edges(keys=False)) == [(1, 2), (2, 1)]
