"""A real HTTP server plays STAC APIs and static catalogues: paging, truncation, busy and absent servers."""

import json
import socket
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from catalog.search.find import find_scenes, make_query, search_scenes
from catalog.sources.presets import Source, resolve_source
from infra.errors import DataError, InputError, NotFoundError, TransientError

CONFORMS = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
BAND = {
    "eo:bands": [{"name": "B04", "common_name": "red"}],
    "raster:bands": [{"data_type": "uint8", "nodata": 0}],
}


def make_item(number, *, collection="s2", west=10.0, **changes):
    ring = [[west, 50], [west + 1, 50], [west + 1, 51], [west, 51], [west, 50]]
    item = {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": f"item-{number:03}",
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, 50, west + 1, 51],
        "properties": {"datetime": f"2020-06-{1 + number % 28:02}T10:00:00Z"},
        "links": [],
        "assets": {"red": {"href": f"https://data.example.org/{number}.tif", "type": "image/tiff", **BAND}},
    }
    return {**item, **changes}


class Catalogue:
    """Serve documents by path, and optionally item search over ``items``; faults by name."""

    def __init__(self):
        self.documents = {}
        self.items = []
        self.page_size = 3
        self.faults = {}
        self.requests = Counter()
        self.bodies = []
        handler = type("Handler", (_Handler,), {"catalogue": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02})
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def serve_api(self, *, method="POST", counts=True, collections=("s2", "s1")):
        self.counts = counts
        links = [
            {"rel": "search", "href": f"{self.url}/search", "method": method, "type": "application/geo+json"},
            {"rel": "data", "href": f"{self.url}/collections"},
        ]
        self.documents["/"] = {"type": "Catalog", "id": "api", "links": links, "conformsTo": CONFORMS}
        documents = [
            {"type": "Collection", "id": name, "title": name.upper(), "license": "CC0-1.0"}
            for name in collections
        ]
        self.documents["/collections"] = {"collections": documents, "links": []}
        self.documents.update({f"/collections/{document['id']}": document for document in documents})

    def answer(self, path, query, body):
        if path != "/search":
            return self.documents.get(path)
        self.bodies.append(body)
        wanted = body.get("collections") or (query.get("collections") or [""])[0].split(",")
        found = [item for item in self.items if wanted in ([""], []) or item["collection"] in wanted]
        found = self.items if "ignores collections" in self.faults else found
        start = int(body.get("token") or (query.get("token") or ["0"])[0])
        page = found[start : start + self.page_size]
        document = {"type": "FeatureCollection", "features": page, "links": []}
        if self.counts:
            document |= {"numberMatched": len(found), "numberReturned": len(page)}
        follow = start + self.page_size
        if "circle" in self.faults:
            follow = 0
        if "empty page" in self.faults and start == 0:
            document["features"], follow = [], 0.5
        if "cut short" not in self.faults and follow < len(found):
            document["links"] = [self.next_link(int(follow) if follow != 0.5 else 0, body, query)]
            if follow == 0.5:
                self.faults.pop("empty page")
        return document

    def next_link(self, token, body, query):
        if body:
            return {
                "rel": "next",
                "href": f"{self.url}/search",
                "method": "POST",
                "body": {**body, "token": str(token)},
            }
        return {
            "rel": "next",
            "href": f"{self.url}/search?token={token}&collections={query['collections'][0]}",
        }


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    catalogue: Catalogue

    def do_GET(self):
        self.respond({})

    def do_POST(self):
        self.respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def respond(self, body):
        parts = urlsplit(self.path)
        self.catalogue.requests[parts.path] += 1
        fault = self.catalogue.faults.get(parts.path)
        if callable(fault):
            fault = fault(self.catalogue.requests[parts.path])
        if isinstance(fault, int):
            return self.send(fault, b'{"detail": "fault"}', {"Retry-After": "0"} if fault == 429 else {})
        if isinstance(fault, str):
            return self.send(302, b"", {"Location": fault})
        document = self.catalogue.answer(parts.path, parse_qs(parts.query), body)
        if document is None:
            return self.send(404, b'{"detail": "no such thing"}')
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.send(200, content)

    def send(self, status, content, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args):
        pass


@pytest.fixture
def catalogue():
    served = Catalogue()
    yield served
    served.close()


def search(catalogue, collections=("s2",), **wanted):
    source = resolve_source(catalogue.url + "/")
    return search_scenes(source, collections=collections, **{"bbox": None, "datetime_range": None, **wanted})


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("counts", [True, False])
def test_every_page_is_read(catalogue, method, counts):
    catalogue.items = [make_item(number) for number in reversed(range(10))]
    catalogue.items.append(make_item(99, collection="s1"))
    catalogue.serve_api(method=method, counts=counts)
    scenes = search(catalogue)
    assert [scene.id for scene in scenes] == [f"item-{number:03}" for number in range(10)]
    assert {(scene.title, scene.license) for scene in scenes} == {("S2", "CC0-1.0")}
    assert catalogue.requests["/search"] == 4
    assert catalogue.requests["/collections/s2"] == 1


def test_the_question_reaches_the_server(catalogue):
    catalogue.serve_api()
    assert search(catalogue, bbox=(170, -5, -170, 5), datetime_range="2020-06/..") == []
    (body,) = catalogue.bodies
    assert body["bbox"] == [170.0, -5.0, -170.0, 5.0]
    assert body["datetime"] == "2020-06-01T00:00:00Z/.."
    assert body["collections"] == ["s2"]


def test_an_empty_page_is_not_the_end(catalogue):
    catalogue.items = [make_item(number) for number in range(5)]
    catalogue.serve_api()
    catalogue.faults["empty page"] = True
    assert len(search(catalogue)) == 5


def test_an_item_on_two_pages_is_one(catalogue):
    catalogue.items = [make_item(0), make_item(1), make_item(2), make_item(2), make_item(3)]
    catalogue.serve_api()
    assert len(search(catalogue)) == 4


@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("cut short", DataError, "says 10 items match but gave 3"),
        ("circle", DataError, "in a circle"),
        ("ignores collections", DataError, "its search ignores 'collections'"),
    ],
)
def test_answers_that_are_not_whole_are_errors(catalogue, fault, error, message):
    catalogue.items = [make_item(number) for number in range(10)]
    if fault == "ignores collections":
        catalogue.items.append(make_item(11, collection="s1"))
    catalogue.serve_api()
    catalogue.faults[fault] = True
    with pytest.raises(error) as refused:
        search(catalogue)
    assert message in str(refused.value)


@pytest.mark.parametrize("counts", [True, False])
def test_more_than_allowed_is_an_error_not_a_truncation(catalogue, counts):
    catalogue.items = [make_item(number) for number in range(10)]
    catalogue.serve_api(counts=counts)
    assert len(search(catalogue, max_items=10)) == 10
    with pytest.raises(InputError, match="narrow the area, the time or the collections"):
        search(catalogue, max_items=9)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(catalogue, status):
    catalogue.items = [make_item(number) for number in range(4)]
    catalogue.serve_api()
    catalogue.faults["/search"] = lambda count: status if count < 3 else None
    assert len(search(catalogue)) == 4


def test_a_server_that_stays_busy_is_transient(catalogue, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)  # the waiting is urllib3's
    catalogue.serve_api()
    catalogue.faults["/search"] = 503
    with pytest.raises(TransientError, match="keeps answering 503"):
        search(catalogue)
    assert catalogue.requests["/search"] == 6


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (400, InputError, "refused the request (HTTP 400)"),
        (403, NotFoundError, "asks for permission (HTTP 403)"),
        (404, NotFoundError, "does not exist (HTTP 404)"),
    ],
)
def test_other_refusals_are_told(catalogue, status, error, message):
    catalogue.serve_api()
    catalogue.faults["/search"] = status
    with pytest.raises(error) as refused:
        search(catalogue)
    assert message in str(refused.value)
    assert catalogue.requests["/search"] == 1


def test_unknown_collections_name_the_nearest(catalogue):
    catalogue.serve_api()
    with pytest.raises(InputError) as refused:
        search(catalogue, ["s3"])
    assert "has no collection 's3'; did you mean 's2'? available: s1, s2" in str(refused.value)


def test_an_unreachable_catalogue_is_one_line_within_ten_seconds():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(NotFoundError) as refused:
            search_scenes(
                resolve_source(f"http://127.0.0.1:{port}"), collections=["s2"], bbox=None, datetime_range=None
            )
    assert time.monotonic() - began < 10
    message = str(refused.value)
    assert message.startswith(f"catalogue http://127.0.0.1:{port} cannot be reached: ")
    assert "check the address" in message
    assert "\n" not in message


def test_what_is_no_stac(catalogue):
    catalogue.documents["/"] = b"<html>hello</html>"
    with pytest.raises(DataError, match="did not answer with JSON"):
        search(catalogue)
    catalogue.documents["/"] = {"hello": "world"}
    with pytest.raises(DataError, match="no STAC"):
        search(catalogue)
    catalogue.documents["/"] = []
    with pytest.raises(DataError, match="JSON list"):
        search(catalogue)


def test_redirects_are_checked_like_any_address(catalogue):
    catalogue.items = [make_item(0)]
    catalogue.serve_api()
    catalogue.documents["/moved"] = catalogue.documents["/collections/s2"]
    catalogue.faults["/collections/s2"] = f"{catalogue.url}/moved"
    assert len(search(catalogue)) == 1
    catalogue.faults["/collections/s2"] = "http://169.254.169.254/latest/meta-data"
    with pytest.raises(InputError, match="link-local"):
        search(catalogue)


def test_paging_links_are_checked_like_any_address(catalogue):
    catalogue.items = [make_item(number) for number in range(5)]
    catalogue.serve_api()
    catalogue.next_link = lambda *_: {"rel": "next", "href": "http://10.0.0.1/search", "method": "GET"}
    with pytest.raises(InputError, match="private address"):
        search(catalogue)


def test_assets_outside_the_policy_are_wrong_input(catalogue):
    catalogue.items = [
        make_item(0, assets={"red": {"href": "/etc/passwd.tif", "type": "image/tiff", **BAND}})
    ]
    catalogue.serve_api()
    assert (
        search(catalogue)[0].bands[0].href == f"{catalogue.url}/etc/passwd.tif"
    )  # a path of the server's own
    catalogue.items[0]["assets"]["red"]["href"] = "file:///etc/passwd.tif"
    with pytest.raises(InputError, match="local file"):
        search(catalogue)
    catalogue.items = [make_item(0, id="../evil")]
    with pytest.raises(InputError, match="item id"):
        search(catalogue)


def test_items_that_cannot_be_scenes_are_counted(catalogue):
    catalogue.items = [
        make_item(0),
        make_item(1, properties={"datetime": None}),
        make_item(2, assets={}),
        make_item(3, assets={"red": "b.tif"}),
        make_item(4, assets={"red": {"href": 7}}),
        make_item(5, properties="none"),
        make_item(6, links={"self": "x"}),
        make_item(7, geometry=[1, 2]),
    ]
    catalogue.serve_api()
    found = find_scenes(resolve_source(catalogue.url), make_query(["s2"], None, None))
    assert [scene.id for scene in found.scenes] == ["item-000"]
    assert [entry.id for entry in found.rejected] == [f"item-{number:03}" for number in range(1, 8)]
    with pytest.raises(DataError, match=r"s2/item-001: .*and 6 more"):
        search(catalogue)


def test_each_collection_gives_the_bands_it_has(catalogue):
    radar = {
        "vv": {
            "href": "https://data.example.org/vv.tif",
            "type": "image/tiff",
            "raster:bands": BAND["raster:bands"],
        }
    }
    catalogue.items = [make_item(0), make_item(1, collection="s1", assets=radar)]
    catalogue.serve_api()
    both = search(catalogue, ["s2", "s1"], bands=["red", "vv"])
    assert [(scene.collection, [band.name for band in scene.bands]) for scene in both] == [
        ("s2", ["red"]),
        ("s1", ["vv"]),
    ]
    with pytest.raises(InputError, match=r"collection 's1' has no band 'red'; .*available: vv"):
        search(catalogue, ["s2", "s1"], bands=["red"])
    with pytest.raises(InputError, match="has no band 'redd'; did you mean 'red'"):
        search(catalogue, ["s2", "s1"], bands=["red", "vv", "redd"])


def serve_static(catalogue):
    """Serve a root, a nested catalogue, two collections and a link back."""
    catalogue.documents["/"] = {
        "type": "Catalog",
        "id": "root",
        "links": [
            {"rel": "self", "href": f"{catalogue.url}/"},
            {"rel": "child", "href": "./nested/catalog.json"},
        ],
    }
    catalogue.documents["/nested/catalog.json"] = {
        "type": "Catalog",
        "id": "nested",
        "links": [
            {"rel": "child", "href": "s2/collection.json"},
            {"rel": "child", "href": "s1/collection.json"},
            {"rel": "child", "href": "../"},
            {"rel": "parent", "href": "../"},
        ],
    }
    for name, numbers in (("s2", range(6)), ("s1", range(6, 8))):
        links = [{"rel": "item", "href": f"./{number}.json"} for number in numbers]
        links += [{"rel": "child", "href": "../catalog.json"}]
        catalogue.documents[f"/nested/{name}/collection.json"] = {
            "type": "Collection",
            "id": name,
            "links": links,
        }
        for number in numbers:
            item = make_item(number, collection=name, west=float(number))
            item["assets"]["red"]["href"] = f"./{number}.tif"
            catalogue.documents[f"/nested/{name}/{number}.json"] = item


def test_a_static_catalogue_by_http_is_walked_once(catalogue):
    serve_static(catalogue)
    scenes = search(catalogue)
    assert [scene.id for scene in scenes] == [f"item-{number:03}" for number in range(6)]
    assert scenes[0].bands[0].href == f"{catalogue.url}/nested/s2/0.tif"
    assert scenes[0].self_href == f"{catalogue.url}/nested/s2/0.json"
    assert set(catalogue.requests.values()) == {1}
    assert "/nested/s1/6.json" not in catalogue.requests  # not asked for, not read
    assert len(search(catalogue, [])) == 8
    assert len(search(catalogue, [], bbox=(2.5, 50, 3.5, 51))) == 2
    assert len(search(catalogue, [], datetime_range="2020-06-02/2020-06-03")) == 2
    with pytest.raises(InputError, match=r"has no collection 's9'.*available: s1, s2"):
        search(catalogue, ["s9"])
    with pytest.raises(InputError, match="more than 3 scenes match"):
        search(catalogue, max_items=3)


def test_broken_links_of_a_static_catalogue_are_told(catalogue):
    serve_static(catalogue)
    del catalogue.documents["/nested/s2/3.json"]
    with pytest.raises(NotFoundError, match=r"/nested/s2/3\.json does not exist"):
        search(catalogue)
    catalogue.documents["/nested/s2/collection.json"]["links"].append(
        {"rel": "item", "href": "file:///etc/passwd"}
    )
    with pytest.raises(InputError, match="local file"):
        search(catalogue)


def test_a_collection_of_an_api_is_not_the_api(catalogue):
    catalogue.documents["/collections/s2"] = {
        "type": "Collection",
        "id": "s2",
        "links": [{"rel": "items", "href": "./s2/items"}, {"rel": "root", "href": catalogue.url}],
    }
    source = Source(name="remote", location=f"{catalogue.url}/collections/s2")
    with pytest.raises(InputError, match=f"use --source {catalogue.url} --collections s2"):
        search_scenes(source, collections=[], bbox=None, datetime_range=None)


def test_asking_twice_gives_the_same(catalogue):
    catalogue.items = [make_item(number) for number in range(7)]
    catalogue.serve_api()
    first = search(catalogue)
    catalogue.items.reverse()
    assert search(catalogue) == first
