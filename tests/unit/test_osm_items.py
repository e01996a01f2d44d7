"""Items of OpenStreetMap products: valid, honest, the same every time, and free of secrets."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import shapely
import shapely.geometry

from catalog.database.backend import SearchQuery, SqliteCatalogue
from catalog.items.collections import OSM, collection_document
from catalog.items.osm import FIRST_DAY, osm_item
from catalog.osm.drawing.classes import UNKNOWN, class_table
from catalog.osm.plan import OsmOptions, OsmPlan, OsmReceipt, plan_digest, plan_osm
from catalog.osm.records import ExtractFacts
from catalog.osm.tables.features import COLUMNS
from catalog.pictures.cogs import PREVIEW_CHANNELS
from catalog.records import BandStatistics, StoredFile
from tests.support.schemas import validate_collection, validate_item

STATE = dt.datetime(2024, 3, 18, 20, 21, 5, tzinfo=dt.UTC)
NEWEST = dt.datetime(2024, 3, 17, 1, 2, 3, tzinfo=dt.UTC)
VADUZ = (9.50, 47.12, 9.55, 47.16)
SINUSOIDAL = (
    'PROJCRS["Sinusoidal",BASEGEOGCRS["Sphere",DATUM["Sphere",ELLIPSOID["Sphere",6371007.181,0]]],'
    'CONVERSION["Sinusoidal",METHOD["Sinusoidal"],PARAMETER["Longitude of natural origin",0,'
    'ANGLEUNIT["degree",0.0174532925199433]],PARAMETER["False easting",0,LENGTHUNIT["metre",1]],'
    'PARAMETER["False northing",0,LENGTHUNIT["metre",1]]],CS[Cartesian,2],AXIS["easting",east],'
    'AXIS["northing",north],LENGTHUNIT["metre",1]]'
)
CHANNEL = BandStatistics(
    minimum=3, maximum=251, mean=200.5, stddev=20, valid_percent=100, percentile_2=9, percentile_98=240
)
FILES = ("features.parquet", "quarantine.parquet", "map.tif", "classes.tif", "thumbnail.png")
EXTRAS = ("graph.safetensors", "network.gpkg")


def facts(path: str = "/data/liechtenstein-latest.osm.pbf", **more: Any) -> ExtractFacts:
    stated: dict[str, Any] = {
        "path": path,
        "sha256": "5e" * 32,
        "size": 1_323_403,
        "timestamp": STATE,
        "sequence": 4001,
        "replication_url": "https://download.example/europe/li-updates",
        "generator": "osmium",
        "bounds": (9.47, 47.04, 9.64, 47.28),
        "modified": dt.datetime(2024, 4, 1, tzinfo=dt.UTC),
    }
    return ExtractFacts(**stated | more)


def plan_of(extract: ExtractFacts | None = None, **more: Any) -> OsmPlan:
    extract = extract or facts()
    options = {"source": extract.path, "clip": None, "options": OsmOptions(network="drive")}
    return plan_osm(extract, **options | more)


def receipt_of(plan: OsmPlan, files: tuple[str, ...] = (*FILES, *EXTRAS), **more: Any) -> OsmReceipt:
    written: dict[str, Any] = {
        "id": plan.id,
        "plan_digest": plan_digest(plan),
        "files": tuple(StoredFile(path=name, size=100 + len(name), sha256="ab" * 32) for name in files),
        "features": 19_963,
        "nodes": 6_000,
        "ways": 13_000,
        "relations": 963,
        "repaired": 3,
        "quarantined": {"open-ring": 2, "missing-members": 41},
        "columns": COLUMNS,
        "newest": NEWEST,
        "statistics": dict.fromkeys(PREVIEW_CHANNELS, CHANNEL),
        "class_shares": {"forest": 0.41, "farmland": 0.2, "building": 0.0312345678, "rail": 0.001},
        "graph": {"polygon": 9, "line": 4},
        "software": {"pyarrow": "26.0.1", "terraloom": "0.1.0"},
    }
    return OsmReceipt(**written | more)


UNDATED = facts(timestamp=None, sequence=None, replication_url=None)
PLANS = {
    "extract": plan_of(),
    "part": plan_of(clip=VADUZ),
    "undated": plan_of(UNDATED),
    "overpass": plan_of(
        facts("/cache/4711.osm"), source="https://u:key@overpass.example/api?key=1", clip=VADUZ
    ),
    "antimeridian": plan_of(facts("/data/fiji.osm.bz2", bounds=(176.0, -21.0, -178.0, -12.0))),
    "sinusoidal": plan_of(crs=SINUSOIDAL, resolution_m=50),
}


def build(name: str = "extract", **more: Any) -> dict[str, Any]:
    plan = PLANS[name]
    return osm_item(plan, receipt_of(plan, **more), root_href="/data/store")


@pytest.mark.parametrize("name", PLANS)
def test_item_is_valid_in_core(name: str) -> None:
    validate_item(build(name), extensions=False)


@pytest.mark.real
@pytest.mark.parametrize("name", PLANS)
def test_item_is_valid_in_every_extension(name: str) -> None:
    item = build(name)
    validate_item(item)
    used = {url.split("/")[3] for url in item["stac_extensions"]}
    assert used == {
        *("projection", "raster", "file", "processing", "table", "classification", "version", "render")
    }


@pytest.mark.real
@pytest.mark.parametrize(
    ("asset", "field", "value"),
    [
        ("features", "table:row_count", "many"),
        ("features", "table:columns", [{"type": "int64"}]),
        ("classes", "classification:classes", [{"value": "1"}]),
        ("map", "proj:shape", [1]),
    ],
)
def test_a_wrong_field_is_noticed(asset: str, field: str, value: Any) -> None:
    item = build()
    item["assets"][asset][field] = value
    with pytest.raises(AssertionError, match=field.partition(":")[0]):
        validate_item(item)


def test_item_is_the_same_every_time_and_has_no_clock() -> None:
    first, second = (json.dumps(build(), allow_nan=False) for _ in range(2))
    assert first == second
    assert not {"created", "updated"} & build()["properties"].keys()


def test_words_state_the_facts() -> None:
    properties = build()["properties"]
    assert properties["title"] == "OpenStreetMap · Liechtenstein · 18 Mar 2024"
    description = properties["description"]
    assert description.startswith(
        "19,963 features of OpenStreetMap (6,000 nodes, 13,000 ways, 963 relations) from "
        "liechtenstein-latest.osm.pbf; 3 geometries repaired; 43 elements in quarantine "
        "(missing-members 41, open-ring 2); drawn on a "
    )
    assert "most of it forest 41%, farmland 20%, building 3%." in description
    assert description.endswith("© OpenStreetMap contributors, ODbL-1.0.")
    assert properties["license"] == "ODbL-1.0"
    assert properties["providers"][0]["roles"] == ["producer", "licensor"]
    assert properties["providers"][-1]["name"] == "Terraloom"
    quiet = build(repaired=0, quarantined={}, class_shares={})["properties"]["description"]
    assert "repaired" not in quiet
    assert "quarantine" not in quiet


def test_parts_and_servers_are_named_by_their_middle() -> None:
    assert (
        build("part")["properties"]["title"]
        == "OpenStreetMap · Liechtenstein around 47.140° N 9.525° E · 18 Mar 2024"
    )
    assert build("overpass")["properties"]["title"] == "OpenStreetMap · 47.140° N 9.525° E · 18 Mar 2024"
    assert build("undated")["properties"]["title"] == "OpenStreetMap · Liechtenstein · state unknown"


def test_counts_and_state_can_be_asked_for() -> None:
    properties = build()["properties"]
    expected = {
        "version": "2024-03-18T20:21:05Z",
        "osm:timestamp": "2024-03-18T20:21:05Z",
        "osm:sequence": 4001,
        "osm:replication_url": "https://download.example/europe/li-updates",
        "osm:source": "liechtenstein-latest.osm.pbf",
        "osm:features": 19_963,
        "osm:nodes": 6_000,
        "osm:ways": 13_000,
        "osm:relations": 963,
        "osm:repaired": 3,
        "osm:quarantined": 43,
        "osm:newest_edit": "2024-03-17T01:02:03Z",
    }
    assert {key: properties[key] for key in expected} == expected
    assert properties["datetime"] == "2024-03-18T20:21:05Z"
    assert "start_datetime" not in properties


def test_a_file_that_states_no_time_gets_an_interval() -> None:
    properties = build("undated")["properties"]
    assert properties["datetime"] is None
    assert properties["start_datetime"] == "2004-08-09T00:00:00Z"
    assert properties["end_datetime"] == "2024-03-17T01:02:03Z"
    assert properties["version"] == "sha256-5e5e5e5e5e5e"
    assert not {"osm:timestamp", "osm:sequence", "osm:replication_url"} & properties.keys()
    plain = build("undated", newest=None)["properties"]
    assert plain["end_datetime"] == "2024-04-01T00:00:00Z"
    early = build("undated", newest=FIRST_DAY - dt.timedelta(days=9))["properties"]
    assert early["start_datetime"] == early["end_datetime"]


def test_an_area_across_the_antimeridian_has_two_parts() -> None:
    item = build("antimeridian")
    shape = shapely.geometry.shape(item["geometry"])
    assert item["geometry"]["type"] == "MultiPolygon"
    assert shape.is_valid
    assert shape.area == pytest.approx(6 * 9)
    assert item["bbox"] == [176.0, -21.0, -178.0, -12.0]
    assert build()["geometry"]["type"] == "Polygon"
    assert build()["bbox"] == [9.47, 47.04, 9.64, 47.28]


def test_assets_are_what_the_receipt_lists() -> None:
    item = build()
    assert list(item["assets"]) == [
        *("features", "map", "classes", "graph", "network", "quarantine", "thumbnail", "receipt")
    ]
    features = item["assets"]["features"]
    assert features["href"] == f"/data/store/osm/{item['id']}/features.parquet"
    assert features["file:checksum"] == "1220" + "ab" * 32
    assert features["file:size"] == 100 + len("features.parquet")
    assert features["table:row_count"] == 19_963
    assert [column["name"] for column in features["table:columns"]] == [c.name for c in COLUMNS]
    assert item["assets"]["quarantine"]["table:row_count"] == 43
    assert item["assets"]["network"]["type"] == "application/geopackage+sqlite3"
    assert item["assets"]["graph"]["osm:graph"] == {"line": 4, "polygon": 9}
    assert all("file:size" in asset for key, asset in item["assets"].items() if key != "receipt")
    bare = build(files=FILES[:1], graph={})
    assert list(bare["assets"]) == ["features", "receipt"]
    assert bare["properties"]["renders"] == {}


def test_pictures_have_grid_classes_and_colours() -> None:
    item = build("part")
    assets = item["assets"]
    grid = PLANS["part"].grid
    for key in ("map", "classes"):
        assert assets[key]["proj:shape"] == list(grid.shape_yx)
        assert assets[key]["proj:code"] == grid.crs
        assert assets[key]["raster:spatial_resolution"] == grid.transform[0]
    assert [band["name"] for band in assets["map"]["bands"]] == ["red", "green", "blue"]
    assert assets["map"]["bands"][0]["statistics"]["mean"] == 200.5
    classes = assets["classes"]["classification:classes"]
    assert classes == [dict(entry) for entry in class_table()]
    assert assets["classes"]["osm:class_shares"]["building"] == 0.031235
    assert item["properties"]["renders"]["classes"]["assets"] == ["classes"]
    assert assets["classes"]["bands"][0]["nodata"] == UNKNOWN


def test_links_lead_to_terms_and_input() -> None:
    plan = PLANS["extract"]
    item = osm_item(plan, receipt_of(plan), root_href="/s/", execution_href="https://prefect.example/1")
    links = {link["rel"]: link for link in item["links"]}
    assert links["license"]["href"] == "https://opendatacommons.org/licenses/odbl/1-0/"
    assert links["via"]["href"] == "https://www.openstreetmap.org/copyright"
    assert links["derived_from"]["href"] == "file:///data/liechtenstein-latest.osm.pbf"
    assert links["derived_from"]["title"] == "liechtenstein-latest.osm.pbf"
    assert links["derived_from"]["file:checksum"] == "1220" + "5e" * 32
    assert links["processing-execution"]["href"] == "https://prefect.example/1"
    assert "processing-execution" not in {link["rel"] for link in build()["links"]}
    assert item["assets"]["receipt"]["href"] == f"/s/osm/{plan.id}/receipt.json"


def test_addresses_keep_no_secrets() -> None:
    text = json.dumps(build("overpass"))
    assert "https://overpass.example/api" in text
    assert "key" not in text.replace("keywords", "").replace("key:value", "").replace("by key", "")
    assert build("overpass")["properties"]["osm:source"] == "overpass.example"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://[", "osm", "ftp://example.org/x", "\x00https://a"]
)
def test_what_a_file_says_of_its_origin_is_not_trusted(url: str) -> None:
    plan = plan_of(facts(replication_url=url))
    properties = osm_item(plan, receipt_of(plan), root_href="/s")["properties"]
    assert properties.get("osm:replication_url") in (None, "https://a")


def test_odd_file_names_stay_plain_text() -> None:
    plan = plan_of(facts("/data/Porto Alegre\n\udcff\x1b[31m<b>.osm.gz"))
    item = osm_item(plan, receipt_of(plan), root_href="/s")
    assert item["properties"]["title"].startswith("OpenStreetMap · Porto Alegre[31m<b> · ")
    derived = next(link for link in item["links"] if link["rel"] == "derived_from")
    assert derived["href"] == "file:///data/Porto%20Alegre%0A%FF%1B%5B31m%3Cb%3E.osm.gz"
    json.dumps(item).encode()
    validate_item(item, extensions=False)


def test_collection_states_the_terms() -> None:
    document = collection_document(OSM)
    assert document["license"] == "ODbL-1.0"
    assert [each["name"] for each in document["providers"]] == ["OpenStreetMap contributors", "Terraloom"]
    assert [link["rel"] for link in document["links"]] == ["license", "via"]
    assert document["item_assets"].keys() == build()["assets"].keys()
    document["links"].clear()
    document["providers"][0]["name"] = "nobody"
    assert collection_document(OSM)["links"]
    assert collection_document(OSM)["providers"][0]["name"] == "OpenStreetMap contributors"
    assert [each["name"] for each in collection_document("scenes")["providers"]] == ["Terraloom"]


@pytest.mark.real
def test_collection_is_valid() -> None:
    validate_collection(collection_document(OSM))


def test_a_catalogue_takes_and_finds_them(tmp_path: Path) -> None:
    catalogue = SqliteCatalogue(tmp_path / "c.sqlite")
    catalogue.upsert_collection(collection_document(OSM))
    catalogue.upsert_items([build(name) for name in ("extract", "undated", "antimeridian")])

    def found(**query: Any) -> set[str]:
        return {item["id"] for item in catalogue.search(SearchQuery(**query)).items}

    assert found(bbox=(179, -15, -179, -14)) == {PLANS["antimeridian"].id}
    assert found(datetime="2012-01-01T00:00:00Z") == {PLANS["undated"].id}
    assert {"osm:features", "osm:quarantined", "version"} <= {each.name for each in catalogue.queryables()}
    state = {"op": "=", "args": [{"property": "version"}, "2024-03-18T20:21:05Z"]}
    assert found(filter=state) == {PLANS["extract"].id, PLANS["antimeridian"].id}
    catalogue.close()
