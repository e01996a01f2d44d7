"""Bulk writing over HTTP: all or nothing, and an answer for each item."""

import json

import httpx
import pytest
import shapely

from catalog.server.app import create_app, serving

WRITER = {"Authorization": "Bearer s3cret-token"}


def make_collection(name="scenes"):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[10, 50, 11, 51]]}, "temporal": {"interval": [[None, None]]}},
    }


def make_item(item_id, **properties):
    shape = shapely.box(10, 50, 11, 51)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "geometry": shapely.geometry.mapping(shape),
        "bbox": list(shape.bounds),
        "properties": {"datetime": "2024-05-01T10:00:00Z", **properties},
        "links": [],
        "assets": {},
    }


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    path = tmp_path_factory.mktemp("bulk") / "catalogue.sqlite"
    with (
        serving(create_app(path, token="s3cret-token")) as url,
        httpx.Client(base_url=url, headers=WRITER) as web,
    ):
        yield web


@pytest.fixture
def web(served):
    """Give the server with an empty collection."""
    served.delete("/collections/scenes")
    assert served.post("/collections", json=make_collection()).status_code == 201
    return served


def send(web, items, method="upsert"):
    """Send items, or (key, item) where the key is not the item's id."""
    pairs = [each if isinstance(each, tuple) else (each["id"], each) for each in items]
    return web.post("/collections/scenes/bulk_items", json={"items": dict(pairs), "method": method})


def count(web):
    return web.post("/search", json={"collections": ["scenes"], "limit": 10_000}).json()["numberReturned"]


def test_each_item_is_told_what_became_of_it(web):
    send(web, [make_item("b"), make_item("c", title="old")])
    told = send(web, [make_item("c", title="new"), make_item("a"), make_item("b")]).json()
    assert told["results"] == [
        {"id": "c", "status": "updated"},
        {"id": "a", "status": "created"},
        {"id": "b", "status": "unchanged"},
    ]
    counts = {
        name: told[name] for name in ("received", "success", "created", "updated", "unchanged", "errors")
    }
    assert counts == {"received": 3, "success": 3, "created": 1, "updated": 1, "unchanged": 1, "errors": []}


def test_every_malformed_item_is_named_and_none_is_written(web):
    broken = [
        make_item("fine"),
        {**make_item("no-geometry"), "geometry": "none"},
        {**make_item("no-time"), "properties": {}},
        ("stray", 7),
        ("key", make_item("other")),
        {**make_item("elsewhere"), "collection": "osm"},
        make_item("fine-too"),
    ]
    response = send(web, broken)
    assert response.status_code == 400
    body = response.json()
    assert set(body) == {"code", "description", "errors"}
    assert body["code"] == "InvalidParameterValue"
    assert "5 of 7" in body["description"]
    assert "nothing was written" in body["description"]
    reasons = {fault["id"]: fault["message"] for fault in body["errors"]}
    assert list(reasons) == ["no-geometry", "no-time", "stray", "key", "elsewhere"]
    assert "geometry" in reasons["no-geometry"]
    assert "datetime" in reasons["no-time"]
    assert "int" in reasons["stray"]
    assert "other" in reasons["key"]
    assert "osm" in reasons["elsewhere"]
    assert not any("\n" in reason for reason in reasons.values())
    assert count(web) == 0


def test_one_malformed_item_is_told_as_plainly_as_before(web):
    body = send(web, [make_item("a"), {**make_item("b"), "assets": None}]).json()
    assert body["description"] == "item 'b': assets is missing or wrong: expected an object"
    assert body["errors"] == [{"id": "b", "message": body["description"]}]


def test_the_list_of_faults_ends(web):
    broken = [{**make_item(f"i{n:03}"), "type": "Point"} for n in range(300)]
    body = send(web, broken).json()
    assert len(body["errors"]) == 100
    assert "100 or more of 300" in body["description"]
    assert body["errors"][0]["id"] == "i000"


def test_inserting_names_all_that_exist(web):
    send(web, [make_item("a"), make_item("b")])
    response = send(web, [make_item("a"), make_item("new"), make_item("b")], method="insert")
    assert response.status_code == 409
    assert sorted(fault["id"] for fault in response.json()["errors"]) == ["a", "b"]
    assert "exists already" in response.json()["errors"][0]["message"]
    assert count(web) == 2


def test_a_feature_collection_takes_the_same_care(web):
    members = [make_item("a"), {**make_item("b"), "links": 1}, {"no": "id"}, "text", make_item("a")]
    body = {"type": "FeatureCollection", "features": members}
    response = web.post("/collections/scenes/items", json=body)
    assert response.status_code == 400
    assert [fault["id"] for fault in response.json()["errors"]] == ["b", "number 3", "number 4"]
    assert count(web) == 0


def test_odd_ids_are_told_safely(web):
    odd = {"a\nb": make_item("a\nb"), "\ud83c": {**make_item("x"), "id": "\ud83c"}}
    body = json.dumps({"items": odd, "method": "upsert"})  # httpx would not spell half a surrogate pair
    headers = {"Content-Type": "application/json"}
    response = web.post("/collections/scenes/bulk_items", content=body, headers=headers)
    assert response.status_code == 400
    assert [fault["id"] for fault in response.json()["errors"]] == ["a b", "\\ud83c"]


def test_an_empty_batch(web):
    told = send(web, []).json()
    assert (told["received"], told["results"]) == (0, [])


def test_a_collection_that_is_not_there(web):
    assert web.post("/collections/none/bulk_items", json={"items": {"a": make_item("a")}}).status_code == 404
