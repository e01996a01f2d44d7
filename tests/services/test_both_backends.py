"""The served catalogue does the same whether SQLite or pgSTAC keeps it."""

import contextlib
import itertools
import json
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg
import pytest
import shapely
from pydantic import SecretStr
from stac_fastapi.pgstac.app import instantiate_api
from stac_fastapi.pgstac.config import Settings
from stac_fastapi.pgstac.models.extensions import Extensions

from catalog.client import HttpClient, SearchQuery, UpsertResult
from catalog.database.filters import SortKey
from catalog.items.collections import collection_document
from catalog.pgstac.app import create_pgstac_app
from catalog.pgstac.connections import WRITER_LOCK
from catalog.pgstac.store import PgstacCatalogue
from catalog.server.app import create_app, serving
from catalog.server.guard import MAX_BODY_BYTES
from infra.errors import ConfigError, InputError, NotFoundError, TransientError
from tests.support.postgres import load_items

pytestmark = pytest.mark.services

TOKEN = "s3cret-token"
WRITER = {"Authorization": f"Bearer {TOKEN}"}
WORDS = ("harbour with storage tanks", "forest edge", "sea ice near the coast")


@dataclass(frozen=True)
class Backend:
    """A served catalogue, and ways to speak to it."""

    kind: str
    url: str
    client: HttpClient
    web: httpx.Client
    dsn: str | None

    def ids(self, **asked):
        """Ids of one page that ``POST /search`` finds, in its order."""
        answer = self.web.post("/search", json={"limit": 100, **asked})
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["features"]]

    def ids_by_get(self, **asked):
        answer = self.web.get("/search", params={"limit": 100, **asked})
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["features"]]

    def conforms(self, end):
        return any(each.endswith(end) for each in self.web.get("/conformance").json()["conformsTo"])


@contextlib.contextmanager
def serving_backend(kind, folder: Path, cluster, *, token=TOKEN):
    dsn = None
    if kind == "pgstac":
        dsn = cluster.make_database(f"t{secrets.token_hex(6)}")
        app = create_pgstac_app(SecretStr(dsn), token=token)
    else:
        app = create_app(folder / "catalogue.sqlite", token=token)
    with serving(app) as url, HttpClient(url, token) as client, httpx.Client(base_url=url, timeout=60) as web:
        yield Backend(kind, url, client, web, dsn)


@pytest.fixture(scope="module", params=["sqlite", "pgstac"])
def kind(request):
    return request.param


@pytest.fixture
def fresh(kind, tmp_path, cluster):
    """An empty catalogue that a test may write to."""
    with serving_backend(kind, tmp_path, cluster) as backend:
        yield backend


@pytest.fixture(scope="module")
def filled(kind, tmp_path_factory, cluster):
    """25 scenes, one a day and one degree further east each; every third is named alike."""
    with serving_backend(kind, tmp_path_factory.mktemp("filled"), cluster) as backend:
        backend.client.upsert_collection(make_collection())
        backend.client.upsert_collection(make_collection("empty"))
        backend.client.upsert_items(make_scene(n) for n in range(25))
        yield backend


def make_collection(name="scenes", **changed):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "title": f"All {name}",
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [{"rel": "license", "href": "https://example.org/licence"}],
        "extent": {
            "spatial": {"bbox": [[10, 50, 11, 51]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
        },
        **changed,
    }


def make_item(item_id, *, west=10.0, when="2024-05-01T10:00:00Z", collection="scenes", **properties):
    shape = shapely.box(west, 50, west + 1, 51)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": collection,
        "geometry": json.loads(json.dumps(shapely.geometry.mapping(shape))),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when, **properties},
        "links": [{"rel": "derived_from", "href": "https://example.org/source"}],
        "assets": {"data": {"href": "https://example.org/data.tif", "type": "image/tiff"}},
    }


def make_scene(n):
    properties = {
        "eo:cloud_cover": float(n),
        "platform": "sentinel-2a" if n % 2 else "sentinel-2b",
        "title": f"Scene {n}",
        "description": f"Seen from above: {WORDS[n % 3]}.",
    }
    if n >= 20:
        properties["proj:code"] = "EPSG:32633"
    return make_item(f"i{n:02}", west=10.0 + n, when=f"2024-05-{1 + n:02}T10:00:00Z", **properties)


def named(numbers):
    return [f"i{n:02}" for n in numbers]


def named_(count):
    return [f"i{n}" for n in range(count)]


def newest_first(numbers):
    return named(sorted(numbers, reverse=True))


def lasting(item):
    """What of an item does not come from the server."""
    properties = {key: each for key, each in item["properties"].items() if key not in {"created", "updated"}}
    links = [each for each in item["links"] if each["rel"] == "derived_from"]
    return {**item, "properties": properties, "links": links}


class TestClient:
    def test_collections_come_back_all_of_them(self, fresh):
        names = [f"c{n:02}" for n in range(23)]
        for name in names:
            fresh.client.upsert_collection(make_collection(name))
        fresh.client.upsert_collection(make_collection("c03", title="New"))
        found = {each["id"]: each["title"] for each in fresh.client.collections()}
        assert found == {name: f"All {name}" for name in names} | {"c03": "New"}

    def test_what_is_written_comes_back_and_a_repeat_changes_nothing(self, fresh):
        fresh.client.upsert_collection(make_collection())
        items = [
            {
                **make_item(f"i{n:04}", west=n / 7, share=0.1 + 0.2, whole=3.0, big=1e21, tiny=1e-9),
                "geometry": shapely.geometry.mapping(shapely.Point(n / 7 - 3.3e-7, 50 + n / 3000)),
            }
            for n in range(1203)
        ]
        items = json.loads(json.dumps(items))
        first = fresh.client.upsert_items(items)
        assert (first.created, first.updated, first.unchanged) == (1203, 0, 0)
        stood = {item["id"]: item for item in fresh.client.items("scenes", [i["id"] for i in items])}
        assert [lasting(stood[item["id"]]) for item in items] == items
        again = fresh.client.upsert_items(items)
        assert (again.created, again.updated, again.unchanged) == (0, 0, 1203)
        assert {i["id"]: i for i in fresh.client.search(SearchQuery(collections=["scenes"]))} == stood

    def test_a_change_keeps_created_and_refreshes_updated(self, fresh):
        fresh.client.upsert_collection(make_collection())
        items = [make_item(f"i{n}", gsd_m=10) for n in range(5)]
        fresh.client.upsert_items(items)
        before = {item["id"]: item["properties"] for item in fresh.client.items("scenes", named_(5))}
        items[2]["properties"]["gsd_m"] = 20
        items[3]["properties"]["datetime"] = "2025-12-31T23:59:59Z"  # moves to another partition
        told = fresh.client.upsert_items([items[0], *items, items[2]])
        assert (told.created, told.updated, told.unchanged) == (0, 2, 3)
        after = {item["id"]: item["properties"] for item in fresh.client.items("scenes", named_(5))}
        for name in named_(5):
            assert after[name]["created"] == before[name]["created"]
            changed = name in {"i2", "i3"}
            assert (after[name]["updated"] > before[name]["updated"]) is changed
        assert after["i2"]["gsd_m"] == 20
        assert fresh.ids(ids=["i3"], datetime="2025-12-01T00:00:00Z/..") == ["i3"]
        assert fresh.ids(ids=["i3"], datetime="2024-01-01T00:00:00Z/2024-12-31T23:59:59Z") == []

    def test_true_is_not_one(self, fresh):
        fresh.client.upsert_collection(make_collection())
        fresh.client.upsert_items([make_item("a", flag=True)])
        assert fresh.client.upsert_items([make_item("a", flag=1)]).updated == 1
        assert fresh.client.upsert_items([make_item("a", flag=1.0)]).updated == (fresh.kind == "sqlite")

    def test_our_own_collection_and_its_item_assets(self, fresh):
        """pgSTAC takes out of items what the collection's item_assets say, and puts it back in."""
        collection = collection_document("scenes")
        item_assets = {"data": {"title": "Data", "type": "image/tiff", "roles": ["data"], "gsd": 10}}
        fresh.client.upsert_collection({**collection, "item_assets": item_assets})
        same = make_item("same")
        same["assets"]["data"] |= item_assets["data"]
        other = make_item("other")  # lacks what item_assets have
        bare = {**make_item("bare"), "assets": {}}
        items = [same, other, bare]
        fresh.client.upsert_items(items)
        assert [lasting(each) for each in fresh.client.items("scenes", ["same", "other", "bare"])] == items
        fresh.client.upsert_collection({**collection, "item_assets": {"data": {"title": "Renamed"}}})
        assert [lasting(each) for each in fresh.client.items("scenes", ["same", "other", "bare"])] == items
        assert fresh.client.upsert_items(items).unchanged == 3

    def test_extents_hold_the_items(self, fresh):
        fresh.client.upsert_collection(make_collection())
        fresh.client.upsert_items([make_item("a", west=30.0, when="2020-02-02T00:00:00Z")])
        for again in (make_collection(), make_collection(title="Renamed")):
            fresh.client.upsert_collection(again)
            (found,) = fresh.client.collections()
            assert found["extent"]["spatial"]["bbox"][0] == [10, 50, 31, 51]
            assert found["extent"]["temporal"]["interval"][0] == ["2020-02-02T00:00:00Z", None]

    def test_refusals(self, fresh):
        with pytest.raises(NotFoundError, match="scenes"):
            fresh.client.upsert_items([make_item("a")])
        fresh.client.upsert_collection(make_collection())
        broken = ({"geometry": 3}, {"links": None}, {"properties": {"datetime": "yesterday"}})
        for change in broken:
            with pytest.raises(InputError):
                fresh.client.upsert_items([make_item("good"), {**make_item("a"), **change}])
        assert fresh.client.items("scenes", ["good", "a"]) == []

    def test_none_of_them_is_none(self, filled):
        assert list(filled.client.search(SearchQuery(ids=[]))) == []
        assert list(filled.client.search(SearchQuery(collections=[]))) == []
        assert filled.client.items("scenes", []) == []

    def test_many_writers_of_the_same_items(self, fresh):
        fresh.client.upsert_collection(make_collection())
        items = [make_item(f"i{n:03}", when=f"2024-{1 + n % 12:02}-01T00:00:00Z") for n in range(200)]

        def write(shift):
            with HttpClient(fresh.url, TOKEN) as client:
                return client.upsert_items(items[shift:] + items[:shift])

        with ThreadPoolExecutor(5) as threads:
            told = list(threads.map(write, range(0, 200, 40)))
        assert sum(each.created for each in told) == 200
        assert sum(each.unchanged for each in told) == 800
        assert len(list(fresh.client.search(SearchQuery(collections=["scenes"])))) == 200


class TestSearch:
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({}, range(25)),
            ({"ids": ["i03", "i07", "nothing"]}, [3, 7]),
            ({"collections": ["scenes"], "ids": ["i03"]}, [3]),
            ({"collections": ["empty"]}, []),
            ({"collections": ["empty", "scenes"]}, range(25)),
            ({"bbox": [12.5, 50.5, 14.5, 60]}, [2, 3, 4]),
            ({"datetime": "2024-05-03T00:00:00Z/2024-05-05T23:59:59Z"}, [2, 3, 4]),
            ({"datetime": "../2024-05-02T10:00:00Z"}, [0, 1]),
            ({"datetime": "2024-05-25T10:00:00Z/.."}, [24]),
            ({"datetime": "2024-05-25T10:00:00Z"}, [24]),
            (
                {"intersects": {"type": "LineString", "coordinates": [[12.5, 50.5], [20.5, 50.5]]}},
                range(2, 11),
            ),
            (
                {"bbox": [0, 0, 20.5, 90], "datetime": "2024-05-08T00:00:00Z/..", "collections": ["scenes"]},
                range(7, 11),
            ),
        ],
    )
    def test_conditions(self, filled, asked, found):
        assert filled.ids(**asked) == newest_first(found)
        assert [each["id"] for each in filled.client.search(SearchQuery(**asked))] == newest_first(found)
        spelled = {
            key: ",".join(map(str, each)) if isinstance(each, list) else each for key, each in asked.items()
        }
        if "intersects" in spelled:
            spelled["intersects"] = json.dumps(spelled["intersects"])
        assert filled.ids_by_get(**spelled) == newest_first(found)

    @pytest.mark.parametrize(
        ("text", "tree", "found"),
        [
            (
                '"eo:cloud_cover" < 3',
                {"op": "<", "args": [{"property": "eo:cloud_cover"}, 3]},
                range(3),
            ),
            (
                "platform = 'sentinel-2a' AND \"eo:cloud_cover\" >= 20",
                {
                    "op": "and",
                    "args": [
                        {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]},
                        {"op": ">=", "args": [{"property": "eo:cloud_cover"}, 20]},
                    ],
                },
                [21, 23],
            ),
            (
                "id = 'i01' OR id = 'i02'",
                {
                    "op": "or",
                    "args": [{"op": "=", "args": [{"property": "id"}, name]} for name in ("i01", "i02")],
                },
                [1, 2],
            ),
            (
                '"eo:cloud_cover" BETWEEN 4 AND 6',
                {"op": "between", "args": [{"property": "eo:cloud_cover"}, 4, 6]},
                [4, 5, 6],
            ),
            (
                "id IN ('i05', 'i06', 'zz')",
                {"op": "in", "args": [{"property": "id"}, ["i05", "i06", "zz"]]},
                [5, 6],
            ),
            (
                "title LIKE 'Scene 1%'",
                {"op": "like", "args": [{"property": "title"}, "Scene 1%"]},
                [1, *range(10, 20)],
            ),
            (
                '"proj:code" IS NULL',
                {"op": "isNull", "args": [{"property": "proj:code"}]},
                range(20),
            ),
            (
                "NOT platform = 'sentinel-2b'",
                {"op": "not", "args": [{"op": "=", "args": [{"property": "platform"}, "sentinel-2b"]}]},
                range(1, 25, 2),
            ),
            (
                "S_INTERSECTS(geometry, POINT(15.5 50.5))",
                {
                    "op": "s_intersects",
                    "args": [{"property": "geometry"}, {"type": "Point", "coordinates": [15.5, 50.5]}],
                },
                [5],
            ),
            (
                "datetime > TIMESTAMP('2024-05-24T00:00:00Z')",
                {"op": ">", "args": [{"property": "datetime"}, {"timestamp": "2024-05-24T00:00:00Z"}]},
                [23, 24],
            ),
        ],
    )
    def test_filter(self, filled, text, tree, found):
        assert filled.ids(**{"filter": tree, "filter-lang": "cql2-json"}) == newest_first(found)
        assert filled.ids_by_get(**{"filter": text, "filter-lang": "cql2-text"}) == newest_first(found)
        by_client = filled.client.search(SearchQuery(filter=tree))
        assert [each["id"] for each in by_client] == newest_first(found)

    def test_sortby(self, filled):
        rising = [{"field": "properties.eo:cloud_cover", "direction": "asc"}]
        assert filled.ids(sortby=rising) == named(range(25))
        assert filled.ids_by_get(sortby="+properties.eo:cloud_cover", limit=3) == named(range(3))
        both = [{"field": "platform", "direction": "desc"}, {"field": "eo:cloud_cover", "direction": "asc"}]
        assert filled.ids(sortby=both) == named([*range(0, 25, 2), *range(1, 25, 2)])
        asked = SearchQuery(sortby=[SortKey(field="id")])
        assert [each["id"] for each in filled.client.search(asked)] == named(range(25))

    def test_fields(self, filled):
        body = {"limit": 1, "fields": {"include": ["id", "properties.platform"]}}
        (item,) = filled.web.post("/search", json=body).json()["features"]
        assert item["id"] == "i24"
        assert item["properties"] == {"platform": "sentinel-2b"}
        assert "assets" not in item
        (item,) = filled.web.get("/search", params={"limit": 1, "fields": "-assets"}).json()["features"]
        assert "assets" not in item
        assert item["properties"]["eo:cloud_cover"] == 24

    def test_free_text(self, filled):
        if not filled.conforms("item-search#free-text"):
            pytest.skip(f"{filled.kind} has no free text for items")
        assert filled.ids(q=["harbour"]) == newest_first(range(0, 25, 3))
        assert filled.ids(q=["harbour", "forest"]) == newest_first(n for n in range(25) if n % 3 != 2)
        assert filled.ids_by_get(q='"storage tanks"') == newest_first(range(0, 25, 3))
        assert filled.ids(q=["zeppelin"]) == []

    @pytest.mark.parametrize(
        "asked",
        [
            {"bbox": [1, 2, 3]},
            {"datetime": "yesterday"},
            {"intersects": {"type": "Nothing"}},
            {"limit": -1},
            {"token": "made-up"},
            {"filter": {"op": "no-such-operator", "args": []}, "filter-lang": "cql2-json"},
            {"bbox": [0, 0, 1, 1], "intersects": {"type": "Point", "coordinates": [0, 0]}},
        ],
    )
    def test_malformed(self, filled, asked):
        answer = filled.web.post("/search", json=asked)
        assert answer.status_code == 400, answer.text
        assert {"code", "description"} <= answer.json().keys()
        assert "Traceback" not in answer.text

    def test_items_of_a_collection(self, filled):
        found = filled.web.get("/collections/scenes/items", params={"limit": 4}).json()["features"]
        assert [item["id"] for item in found] == newest_first(range(21, 25))
        assert filled.web.get("/collections/scenes/items/i05").json()["id"] == "i05"
        assert filled.web.get("/collections/none/items").status_code == 404
        assert filled.web.get("/collections/scenes/items/none").status_code == 404
        assert filled.web.get("/collections/none").status_code == 404

    @pytest.mark.parametrize("limit", [1, 7, 25])
    def test_pages_meet_each_item_once_while_others_are_added(self, fresh, limit):
        fresh.client.upsert_collection(make_collection())
        fresh.client.upsert_items(make_scene(n) for n in range(25))
        late = (make_item(f"late{n:03}", when="2024-05-25T09:59:59Z") for n in itertools.count())
        body = {"limit": limit, "collections": ["scenes"]}
        seen = []
        while True:
            page = fresh.web.post("/search", json=body).json()
            seen += [item["id"] for item in page["features"]]
            following = [link for link in page["links"] if link["rel"] == "next"]
            if not following:
                break
            fresh.client.upsert_items([next(late)])
            (link,) = following
            body = {**body, **link["body"]} if link.get("merge") else link["body"]
        assert len(seen) == len(set(seen)), "an item came twice"
        assert [name for name in seen if name.startswith("i")] == newest_first(range(25))


class TestTransactions:
    def test_a_life(self, fresh):
        web = fresh.web
        assert web.post("/collections", json=make_collection(), headers=WRITER).status_code == 201
        assert web.post("/collections", json=make_collection(), headers=WRITER).status_code == 409
        items = "/collections/scenes/items"
        made = web.post(items, json=make_item("a", gsd_m=10), headers=WRITER)
        assert made.status_code == 201
        assert made.headers["location"] == f"{fresh.url}{items}/a"
        assert web.post(items, json=make_item("a"), headers=WRITER).status_code == 409
        put = web.put(f"{items}/a", json=make_item("a", gsd_m=20, note="new"), headers=WRITER)
        assert put.status_code == 200
        assert put.json()["properties"]["created"] == made.json()["properties"]["created"]
        patch = {"properties": {"note": None, "gsd_m": 30}}
        patched = web.patch(f"{items}/a", json=patch, headers=WRITER)
        assert patched.status_code == 200
        stored = web.get(f"{items}/a").json()
        assert stored["properties"]["gsd_m"] == 30
        assert "note" not in stored["properties"]
        assert stored["assets"] == make_item("a")["assets"]
        assert web.delete(f"{items}/a", headers=WRITER).status_code == 204
        assert web.get(f"{items}/a").status_code == 404
        changed = make_collection(title="Other")
        assert web.put("/collections/scenes", json=changed, headers=WRITER).status_code == 200
        renamed = web.patch("/collections/scenes", json={"title": "Third"}, headers=WRITER)
        assert renamed.json()["title"] == "Third"
        assert web.delete("/collections/scenes", headers=WRITER).status_code == 204
        assert web.get("/collections/scenes").status_code == 404

    def test_what_is_not_there(self, fresh):
        web, items = fresh.web, "/collections/scenes/items"
        assert web.post(items, json=make_item("a"), headers=WRITER).status_code == 404
        fresh.client.upsert_collection(make_collection())
        for method, path, body in [
            ("PUT", f"{items}/a", make_item("a")),
            ("PATCH", f"{items}/a", {"properties": {"x": 1}}),
            ("DELETE", f"{items}/a", None),
            ("PUT", "/collections/none", make_collection("none")),
            ("PATCH", "/collections/none", {"title": "x"}),
            ("DELETE", "/collections/none", None),
        ]:
            answer = web.request(method, path, json=body, headers=WRITER)
            assert answer.status_code == 404, (method, path, answer.text)

    def test_many_at_once(self, fresh):
        fresh.client.upsert_collection(make_collection())
        path = "/collections/scenes/bulk_items"
        items = {name: make_item(name) for name in ("a", "b", "c")}
        told = fresh.web.post(path, json={"items": items, "method": "insert"}, headers=WRITER).json()
        assert (told["created"], told["updated"], told["unchanged"]) == (3, 0, 0)
        again = fresh.web.post(path, json={"items": items, "method": "insert"}, headers=WRITER)
        assert again.status_code == 409
        items["b"]["properties"]["gsd_m"] = 5
        told = fresh.web.post(path, json={"items": items, "method": "upsert"}, headers=WRITER).json()
        assert (told["created"], told["updated"], told["unchanged"]) == (0, 1, 2)
        features = {"type": "FeatureCollection", "features": [make_item("d"), make_item("a")]}
        refused = fresh.web.post("/collections/scenes/items", json=features, headers=WRITER)
        assert refused.status_code == 409
        assert fresh.ids() == ["c", "b", "a"], "all or none"

    def test_the_token(self, fresh):
        fresh.client.upsert_collection(make_collection())
        for method, path in [
            ("POST", "/collections"),
            ("PUT", "/collections/scenes"),
            ("PATCH", "/collections/scenes"),
            ("DELETE", "/collections/scenes"),
            ("POST", "/collections/scenes/items"),
            ("POST", "/collections/scenes/bulk_items"),
            ("PUT", "/collections/scenes/items/a"),
            ("DELETE", "/collections/scenes/items/a"),
        ]:
            assert fresh.web.request(method, path, json={}).status_code == 401
        wrong = fresh.web.post("/collections", json={}, headers={"Authorization": "Bearer other"})
        assert wrong.status_code == 401
        with HttpClient(fresh.url, "other") as client, pytest.raises(ConfigError, match="token"):
            client.upsert_items([make_item("a")])
        assert [each["id"] for each in fresh.client.collections()] == ["scenes"]

    def test_without_a_token_nobody_writes(self, kind, tmp_path, cluster):
        with serving_backend(kind, tmp_path, cluster, token=None) as backend:
            refused = backend.web.post("/collections", json=make_collection(), headers=WRITER)
            assert refused.status_code == 403
            assert not backend.conforms("/transaction")

    def test_a_body_that_is_too_large(self, fresh):
        body = b'{"x": "' + b"x" * MAX_BODY_BYTES + b'"}'
        answer = fresh.web.post("/collections", content=body, headers=WRITER)
        assert answer.status_code == 413

        def drops():
            yield from itertools.repeat(b" " * 1_000_000, MAX_BODY_BYTES // 1_000_000 + 1)

        answer = fresh.web.post("/collections", content=drops(), headers=WRITER)
        assert answer.status_code == 413

    def test_health(self, fresh):
        assert fresh.web.get("/healthz").json()["status"] == "UP"


class TestPgstacOnly:
    """What only a database that others may write to can show."""

    @pytest.fixture
    def pgstac(self, tmp_path, cluster):
        with serving_backend("pgstac", tmp_path, cluster) as backend:
            yield backend

    def test_one_writer_over_all_processes(self, pgstac):
        pgstac.client.upsert_collection(make_collection())
        done = threading.Event()

        def write():
            pgstac.client.upsert_items([make_item("a")])
            done.set()

        with psycopg.connect(pgstac.dsn) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
            writer = threading.Thread(target=write)
            writer.start()
            assert not done.wait(0.5), "it wrote beside another writer"
            assert pgstac.ids() == [], "reading does not wait"
        writer.join(timeout=10)
        assert done.is_set()
        assert pgstac.ids() == ["a"]

    def test_items_loaded_past_the_server(self, pgstac):
        items = [{**make_item(f"i{n:05}", when=f"{2000 + n % 20}-01-01T00:00:00Z")} for n in range(3000)]
        assert load_items(pgstac.dsn, make_collection(), items) == 3000
        assert len(list(pgstac.client.search(SearchQuery()))) == 3000
        assert pgstac.client.upsert_items(items[:100]).unchanged == 100
        assert pgstac.client.upsert_items([make_item("new")]).created == 1

    def test_a_database_that_drops_its_connections(self, pgstac, cluster):
        """As when it is restarted: at worst a 503, and all is well again."""
        pgstac.client.upsert_collection(make_collection())
        pgstac.client.upsert_items([make_item("a")])
        with psycopg.connect(cluster.dsn("postgres"), autocommit=True) as operator:
            name = psycopg.conninfo.conninfo_to_dict(pgstac.dsn)["dbname"]
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            assert operator.execute(ended, (name,)).rowcount > 0
        statuses = [pgstac.web.post("/search", json={}).status_code for _ in range(5)]
        assert set(statuses) <= {200, 503}
        assert statuses[-1] == 200
        assert pgstac.client.upsert_items([make_item("a"), make_item("b")]).created == 1

    def test_another_writer_that_does_not_end(self, pgstac):
        catalogue = PgstacCatalogue(SecretStr(pgstac.dsn), wait_s=0.2)
        with psycopg.connect(pgstac.dsn) as other:
            other.execute("SELECT pg_advisory_xact_lock(%s)", (WRITER_LOCK,))
            with pytest.raises(TransientError, match="lock timeout"):
                catalogue.write_collection(make_collection(), exists=False)
        catalogue.close()
        assert "postgres:" not in repr(catalogue)

    def test_no_geometry_is_refused_in_one_line(self, pgstac):
        pgstac.client.upsert_collection(make_collection())
        with pytest.raises(InputError, match="geometry"):
            pgstac.client.upsert_items([{**make_item("a"), "geometry": None, "bbox": None}])

    def test_a_nul_cannot_be_stored(self, pgstac):
        pgstac.client.upsert_collection(make_collection())
        with pytest.raises(InputError):
            pgstac.client.upsert_items([make_item("a", note="a\0b")])


class TestForeignServer:
    """stac-fastapi-pgstac as it is published: it neither compares, stamps nor counts."""

    @pytest.fixture
    def foreign(self, cluster, monkeypatch):
        dsn = cluster.make_database(f"t{secrets.token_hex(6)}")
        parts = psycopg.conninfo.conninfo_to_dict(dsn)
        for name, part in [("USER", "user"), ("PASSWORD", "password"), ("HOST", "host"), ("PORT", "port")]:
            monkeypatch.setenv(f"PG{name}", str(parts[part]))
        monkeypatch.setenv("PGDATABASE", parts["dbname"])
        settings = Settings(
            enable_transactions_extensions=True,
            stac_fastapi_title="x",
            stac_fastapi_description="x",
            stac_fastapi_landing_id="x",
            stac_fastapi_version="1",
        )
        app = instantiate_api(settings=settings, extensions=Extensions(settings=settings)).app
        with serving(app) as url, HttpClient(url) as client, httpx.Client(base_url=url) as web:
            yield Backend("foreign", url, client, web, dsn)

    def test_the_client_does_it(self, foreign):
        client = foreign.client
        for name in [f"c{n:02}" for n in range(12)]:
            client.upsert_collection(make_collection(name))
        client.upsert_collection(make_collection())
        client.upsert_collection(make_collection(title="Again"))
        assert len(client.collections()) == 13
        items = [make_item(f"i{n:04}", share=0.1 + 0.2, whole=3.0) for n in range(700)]
        assert client.upsert_items([*items, items[0]]) == UpsertResult(created=700)
        before = {item["id"]: item for item in client.search(SearchQuery(collections=["scenes"]))}
        assert [lasting(before[item["id"]]) for item in items] == items
        assert client.upsert_items(items) == UpsertResult(unchanged=700)
        items[5]["properties"]["whole"] = 4.0
        assert client.upsert_items(items) == UpsertResult(updated=1, unchanged=699)
        after = {item["id"]: item for item in client.search(SearchQuery(collections=["scenes"]))}
        assert {name for name in after if after[name] != before[name]} == {"i0005"}
        old, new = before["i0005"]["properties"], after["i0005"]["properties"]
        assert new["created"] == old["created"]
        assert new["updated"] > old["updated"]

    def test_what_it_refuses_is_told(self, foreign):
        foreign.client.upsert_collection(make_collection())
        with pytest.raises(InputError, match="geometry"):
            foreign.client.upsert_items([make_item("good"), {**make_item("a"), "geometry": None}])
