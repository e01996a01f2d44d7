"""Publish OpenStreetMap data the way users do: from a sample extract, beside imagery, and from bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pystac_client
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform_bounds

from catalog.osm.extract import describe_extract
from catalog.osm.reading import read_features
from models.osm_graph.serial import load_graph
from tests.support.processes import CommandLine, Ended, free_port
from tests.support.schemas import validate_collection, validate_item
from tests.support.snapshots import comparable_items, read_items, store_tree
from tests.support.worlds import World, cut_file


@pytest.fixture(scope="module")
def extract(world: World) -> Path:
    (found,) = world.folder.glob("*.osm*")
    return found


@pytest.fixture(scope="module")
def published(
    warm_terraloom: CommandLine, extract: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any]]:
    """A store that holds the sample extract, and what the command told."""
    store = tmp_path_factory.mktemp("osm") / "store"
    ended = warm_terraloom.run("osm", "--source", extract, "--store", store, "--network", "drive", "--json")
    assert ended.code == 0, ended.err
    return store, ended.told


@pytest.fixture(scope="module")
def item(published: tuple[Path, dict[str, Any]]) -> dict[str, Any]:
    (found,) = read_items(published[0]).values()
    return found


def _asset(item: dict[str, Any], key: str) -> Path:
    return Path(item["assets"][key]["href"])


def test_counts_add_up(published, extract):
    _, told = published
    assert (told["planned"], told["written"], told["catalogued"]) == (1, 1, 1)
    reading = read_features(describe_extract(extract))
    counts = told["features"]
    assert counts["found"] == reading.found == counts["kept"] + counts["quarantined"]
    assert counts["kept"] == len(reading.features) > 100


def test_item_and_collection_are_valid(published, item, bare_terraloom):
    validate_item(item)
    with bare_terraloom.serving(published[0]) as url:
        client = pystac_client.Client.open(url)
        validate_collection(client.get_collection("osm").to_dict())
        (found,) = client.search(collections=["osm"], bbox=item["bbox"]).items()
        assert found.id == item["id"]


def test_every_asset_opens_with_the_usual_tools(item):
    table = geopandas.read_parquet(_asset(item, "features"))
    assert len(table) == item["properties"]["osm:features"]
    assert table.crs.to_epsg() == 4326
    assert {"element", "id", "label", "tags", "timestamp"} <= set(table.columns)
    with rasterio.open(_asset(item, "map")) as drawn, rasterio.open(_asset(item, "classes")) as classes:
        assert drawn.count == 3
        assert drawn.shape == classes.shape
        assert drawn.transform == classes.transform
        box = transform_bounds(drawn.crs, "EPSG:4326", *drawn.bounds)
        assert np.allclose(box, item["bbox"], atol=0.002)
        assert len(np.unique(classes.read(1))) > 4
    graph = load_graph(_asset(item, "graph").read_bytes())
    assert sum(graph.counts()[kind] for kind in ("polygon", "line", "point")) <= len(table)
    assert "<graphml" in _asset(item, "network").read_text()[:400]
    with Image.open(_asset(item, "thumbnail")) as picture:
        assert max(picture.size) == 512


def test_a_second_run_writes_nothing(published, warm_terraloom, extract):
    store, _ = published
    before = store_tree(store)
    ended = warm_terraloom.run("osm", "--source", extract, "--store", store, "--network", "drive", "--json")
    assert (ended.told["written"], ended.told["reused"]) == (0, 1)
    assert store_tree(store) == before


def test_another_store_gets_the_same_bytes(published, warm_terraloom, extract, store):
    ended = warm_terraloom.run("osm", "--source", extract, "--store", store, "--network", "drive", "--json")
    assert ended.code == 0
    assert store_tree(store) == store_tree(published[0])
    assert comparable_items(store) == comparable_items(published[0])


def test_the_report_shows_the_map(published):
    page = Path(published[1]["report"]).read_text()
    assert "1 of 1 area catalogued, 0 quarantined" in page
    assert "Drawn map" in page
    assert "data:image/" in page


def test_map_takes_the_extract_along_and_encodes_what_it_ingests(quick_terraloom, world, extract, store):
    request = world.only("sample-optical").words(store, "--osm", extract, "--json")
    steps = ("--steps", "ingest,register,encode", "--encoder", "filters")
    told = quick_terraloom.run("map", *request, *steps).told
    items = read_items(store)
    by_collection = {
        name: [i for i, item in items.items() if item["collection"] == name]
        for name in ("osm", "scenes", "embeddings")
    }
    assert len(by_collection["osm"]) == 1
    encoded = [items[name]["properties"]["embedding:scenes"] for name in by_collection["embeddings"]]
    assert sorted(encoded) == [[name] for name in sorted(by_collection["scenes"])]
    assert len(encoded) == 4
    assert told["item_ids"] == sorted(items)
    assert told["planned"] == told["catalogued"] == len(items)
    assert [part["product"] for part in told["parts"]] == ["area", "cube", "embedding"]
    assert told["features"]["kept"] > 100
    assert told["bytes_written"] == sum(part["bytes_written"] for part in told["parts"])
    assert told["unpaired"] == "nothing to register: none of the cubes is radar"
    assert told["report"] == told["parts"][1]["report"]
    assert told["unpaired"] in Path(told["report"]).read_text()


def test_a_box_takes_part_of_the_extract(warm_terraloom, extract, world, store):
    west, south, east, north = world.bbox
    box = (west, south, (west + east) / 2, (south + north) / 2)
    words = ("--source", extract, "--bbox", ",".join(map(str, box)), "--store", store)
    told = warm_terraloom.run("osm", *words, "--no-graph", "--json").told
    (item,) = read_items(store).values()
    assert "graph" not in item["assets"]
    reading = read_features(describe_extract(extract), box)
    assert told["features"]["kept"] == len(reading.features)
    table = geopandas.read_parquet(_asset(item, "features"))
    assert sorted(table["id"]) == sorted(reading.features.ids.tolist())


def _assert_refused(ended: Ended, store: Path, *named: str) -> None:
    assert ended.code == 2, ended
    assert len(ended.lines) == 1, ended.err
    assert ended.out == ""
    for word in named:
        assert word in ended.lines[0]
    assert not [path for path in store.rglob("*") if path.is_file() and "catalogue" not in path.name]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--source", "towns.shp"), ("towns.shp", ".osm.pbf")),
        (("--source", "nowhere.osm.pbf"), ("nowhere.osm.pbf", "no file")),
        (("--source", "overpass"), ("--bbox",)),
        (("--source", "x.osm", "--as-of", "2024-01-01"), ("--as-of",)),
        (("--source", "x.osm", "--network", "fly"), ("fly", "drive")),
        (("--source", "x.osm", "--bbox", "1,2,3"), ("1,2,3", "W,S,E,N")),
        (("--source", "x.osm", "--resolution-m", "0"), ("resolution_m", "greater than 0")),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "-",
)
def test_a_malformed_request(warm_terraloom, store, tmp_path, words, named):
    (tmp_path / "towns.shp").write_bytes(b"shape")
    ended = warm_terraloom.run(
        "osm", *(word.replace("towns.shp", str(tmp_path / "towns.shp")) for word in words), "--store", store
    )
    _assert_refused(ended, store, *named)


def test_an_empty_extract(warm_terraloom, store, tmp_path):
    empty = tmp_path / "empty.osm"
    empty.write_text(
        '<?xml version="1.0"?><osm version="0.6"><bounds minlat="1" minlon="1" maxlat="2" maxlon="2"/></osm>'
    )
    _assert_refused(warm_terraloom.run("osm", "--source", empty, "--store", store), store, str(empty))


def test_an_area_outside_the_extract(warm_terraloom, extract, store):
    words = ("--source", extract, "--bbox", "100,10,100.1,10.1", "--store", store)
    _assert_refused(warm_terraloom.run("osm", *words), store, extract.name)


def test_an_extract_cut_in_half(warm_terraloom, extract, store, tmp_path):
    half = tmp_path / extract.name
    half.write_bytes(extract.read_bytes())
    cut_file(half)
    _assert_refused(warm_terraloom.run("osm", "--source", half, "--store", store), store, str(half))


def test_overpass_that_cannot_be_reached(warm_terraloom, store, tmp_path):
    url = f"http://127.0.0.1:{free_port()}/api"
    command = warm_terraloom.using(
        TERRALOOM_OSM__OVERPASS_URLS=url,
        TERRALOOM_OSM__OVERPASS_PAUSE_S="0.05",
        XDG_CACHE_HOME=str(tmp_path / "cache"),
    )
    ended = command.run("osm", "--source", "overpass", "--bbox", "9.5,47.1,9.51,47.11", "--store", store)
    assert ended.code in {1, 2}
    assert len(ended.lines) == 1
    assert url in ended.lines[0]
    assert not [path for path in store.rglob("*") if path.is_file()]


def test_a_step_without_its_source(world, quick_bare, store):
    ended = quick_bare.run("map", *world.words(store, "--steps", "osm,ingest"))
    _assert_refused(ended, store, "--osm")


def test_request_is_kept(published):
    store, told = published
    kept = json.loads((store / "runs" / told["run"] / "params.json").read_text())
    assert kept["network"] == "drive"
