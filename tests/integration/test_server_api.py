"""The STAC API over loopback: read as pystac-client reads, written with and without the token."""

import http.client
import json
from urllib.parse import urlsplit

import httpx
import pystac
import pystac_client
import pytest
import shapely

from catalog.client import EmbeddedClient, HttpClient
from catalog.server.app import create_app, run_server, serving
from catalog.server.conformance import COUNTED_UPSERT, extension_classes
from catalog.server.guard import MAX_BODY_BYTES
from catalog.server.rates import RateLimits
from infra.errors import ConfigError
from tests.support.schemas import validate_collection, validate_item

TOKEN = "s3cret-token"
WRITER = {"Authorization": f"Bearer {TOKEN}"}
TRANSACTION = "https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction"


def make_collection(name="scenes"):
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
    }


def make_item(item_id, *, west=10.0, when="2024-05-01T10:00:00Z", **properties):
    shape = shapely.box(west, 50, west + 1, 51)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "geometry": shapely.geometry.mapping(shape),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when, **properties},
        "links": [{"rel": "derived_from", "href": "https://example.org/source"}],
        "assets": {"data": {"href": "https://example.org/data.tif", "type": "image/tiff"}},
    }


@pytest.fixture(scope="module")
def catalogue_path(tmp_path_factory):
    return tmp_path_factory.mktemp("served") / "catalogue.sqlite"


@pytest.fixture(scope="module")
def url(catalogue_path):
    """Serve 25 scenes, one a day and one degree further east each."""
    with EmbeddedClient(catalogue_path) as client:
        client.upsert_collection(make_collection())
        client.upsert_collection(make_collection("empty"))
        client.upsert_items(
            {
                **make_item(f"i{n:02}", west=10.0 + n, when=f"2024-05-{1 + n:02}T10:00:00Z"),
                "collection": "scenes",
            }
            for n in range(25)
        )
    app = create_app(
        catalogue_path,
        token=TOKEN,
        allowed_origins=["https://browser.example.org"],
        limits=RateLimits(failures_per_minute=0),  # dozens of wrong tokens are sent below
    )
    with serving(app) as base_url:
        yield base_url


@pytest.fixture
def fresh(tmp_path):
    """Serve an empty catalogue that a test may write to."""
    with (
        serving(create_app(tmp_path / "catalogue.sqlite", token=TOKEN)) as base_url,
        httpx.Client(base_url=base_url) as http_client,
    ):
        yield http_client


@pytest.fixture
def web(url):
    with httpx.Client(base_url=url) as http_client:
        yield http_client


@pytest.fixture
def reader(url):
    return pystac_client.Client.open(url)


class TestPystacClient:
    def test_landing_page_and_collections(self, url, reader):
        assert (reader.id, reader.title) == ("terraloom", "Terraloom")
        assert reader.conforms_to("ITEM_SEARCH")
        assert reader.conforms_to("COLLECTIONS")
        assert not reader.conforms_to("QUERY")
        assert {c.id for c in reader.get_collections()} == {"scenes", "empty"}
        collection = reader.get_collection("scenes")
        assert collection.title == "All scenes"
        assert collection.extent.spatial.bboxes[0] == [10, 50, 35, 51]
        assert collection.get_single_link("license").href == "https://example.org/licence"

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("limit", [3, 100])
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ({}, range(25)),
            ({"ids": ["i03", "i07", "nothing"]}, [3, 7]),
            ({"collections": ["scenes"], "max_items": 5}, [20, 21, 22, 23, 24]),
            ({"collections": ["empty"]}, []),
            ({"bbox": [12.5, 50.5, 14.5, 60]}, [2, 3, 4]),
            ({"datetime": "2024-05-03/2024-05-05"}, [2, 3, 4]),
            ({"datetime": "../2024-05-02T10:00:00Z"}, [0, 1]),
            ({"datetime": "2024-05-25T10:00:00Z/.."}, [24]),
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
    def test_search(self, reader, method, limit, asked, found):
        items = list(reader.search(method=method, limit=limit, **asked).items())
        assert [item.id for item in items] == [f"i{n:02}" for n in reversed(found)]

    def test_items_of_a_collection_and_one_item(self, url, reader):
        collection = reader.get_collection("scenes")
        assert len(list(collection.get_items())) == 25
        item = collection.get_item("i04")
        assert item.datetime.isoformat() == "2024-05-05T10:00:00+00:00"
        assert item.get_parent().id == item.get_collection().id == "scenes"
        assert item.get_single_link("root").get_href().startswith(url)
        assert item.get_single_link("derived_from").href == "https://example.org/source"
        assert collection.get_item("absent") is None

    def test_what_is_served_is_valid(self, web):
        landing = web.get("/").json()
        pystac.Catalog.from_dict(landing)
        assert landing["stac_version"] == "1.1.0"
        for link in landing["links"]:
            if link["rel"] != "search":
                assert web.get(link["href"]).status_code == 200, link
        for collection in web.get("/collections").json()["collections"]:
            validate_collection(collection)
        for item in web.get("/search", params={"limit": 3}).json()["features"]:
            validate_item(item)
            assert web.get(item["links"][0]["href"]).json() == item

    def test_what_is_promised_is_kept(self, web):
        promised = set(web.get("/conformance").json()["conformsTo"])
        assert promised == set(web.get("/").json()["conformsTo"])
        assert promised == {
            "https://api.stacspec.org/v1.0.0/core",
            "https://api.stacspec.org/v1.0.0/collections",
            "https://api.stacspec.org/v1.0.0/collections/extensions/transaction",
            "https://api.stacspec.org/v1.0.0/item-search",
            "https://api.stacspec.org/v1.0.0/ogcapi-features",
            TRANSACTION,
            COUNTED_UPSERT,
            "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
            "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
            *extension_classes(),
        }


class TestReading:
    def test_pages_link_on_and_know_their_number_when_it_is_known(self, web):
        page = web.get("/search", params={"limit": 20, "bbox": "0,0,90,90"}).json()
        assert page["numberMatched"] == 25
        (following,) = [link for link in page["links"] if link["rel"] == "next"]
        rest = web.get(following["href"]).json()
        assert rest["numberReturned"] == 5
        assert not [link for link in rest["links"] if link["rel"] == "next"]
        assert web.get("/search", params={"limit": 25}).json()["numberMatched"] == 25

    def test_paging_by_post_and_within_a_collection(self, web):
        page = web.post("/search", json={"limit": 20}).json()
        (following,) = [link for link in page["links"] if link["rel"] == "next"]
        assert following["method"] == "POST"
        assert len(web.post(following["href"], json=following["body"]).json()["features"]) == 5
        page = web.get("/collections/scenes/items", params={"limit": 20}).json()
        (following,) = [link for link in page["links"] if link["rel"] == "next"]
        assert len(web.get(following["href"]).json()["features"]) == 5

    @pytest.mark.parametrize("path", ["/healthz", "/_mgmt/health", "/_mgmt/ping", "/api", "/api.html"])
    def test_service_pages(self, web, path):
        assert web.get(path).status_code == 200

    @pytest.mark.parametrize(
        "path", ["/collections/x", "/collections/x/items", "/collections/scenes/items/x", "/x"]
    )
    def test_what_does_not_exist(self, web, path):
        response = web.get(path)
        assert response.status_code == 404
        assert set(response.json()) == {"code", "description"}

    @pytest.mark.parametrize(
        "query",
        [
            "bbox=1,2,3",
            "bbox=a,b,c,d",
            "bbox=nan,0,1,1",
            "bbox=0,0,1,inf",
            "bbox=0,1,1,0",
            "bbox=0,0,1,1&bbox=0,0,1,1",
            "bbox=0,0,1,1&intersects={}",
            "intersects=[]",
            "intersects={",
            'intersects={"type":"Point"}',
            'intersects={"type":[]}',
            "datetime=yesterday",
            "datetime=../..",
            "datetime=2024-05-02T00:00:00Z/2024-05-01T00:00:00Z",
            "limit=0",
            "limit=-1",
            "limit=many",
            "limit=1.5",
            "token=AAAA",
            "token=%C3%A9",
            "sortby=nothing",
            "filter=a=1",
        ],
    )
    def test_malformed_queries(self, web, query):
        response = web.get(f"/search?{query}")
        assert response.status_code == 400
        assert "\n" not in response.json()["description"]
        assert response.json()["description"]

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "null",
            "[]",
            "{",
            "[" * 20_000,
            '"text"',
            '{"bbox": "0,0,1,1"}',
            '{"bbox": [1e999, 0, 1, 1]}',
            '{"bbox": [NaN, 0, 1, 1]}',
            '{"bbox": [0, 0, 1]}',
            '{"ids": "i01"}',
            '{"ids": ["\\ud800"]}',
            '{"ids": [1]}',
            '{"datetime": "\\ud800"}',
            '{"datetime": 3}',
            '{"limit": 0}',
            '{"limit": "many"}',
            '{"token": "x"}',
            '{"intersects": {"type": []}}',
            '{"intersects": {"type": "GeometryCollection", "geometries": 3}}',
            '{"intersects": {"type": "Point", "coordinates": {}}}',
            '{"intersects": {"type": "Point", "coordinates": [0, 0]}, "bbox": [0, 0, 1, 1]}',
            '{"filter": {"op": "=", "args": []}}',
        ],
    )
    def test_malformed_bodies(self, web, body):
        response = web.post("/search", content=body, headers={"Content-Type": "application/json"})
        assert response.status_code == 400
        assert "\n" not in response.json()["description"]

    def test_items_take_the_same_care(self, web):
        for query in ("bbox=1", "datetime=x", "limit=0", "token=x", "collections=empty"):
            assert web.get(f"/collections/scenes/items?{query}").status_code == 400

    def test_compression_and_origins(self, web):
        plain = web.get(
            "/collections", headers={"Origin": "https://evil.example.org", "Accept-Encoding": "identity"}
        )
        assert "access-control-allow-origin" not in plain.headers
        allowed = web.get(
            "/search", headers={"Origin": "https://browser.example.org", "Accept-Encoding": "gzip"}
        )
        assert allowed.headers["access-control-allow-origin"] == "https://browser.example.org"
        assert allowed.headers["content-encoding"] == "gzip"
        assert allowed.json()["numberReturned"] == 10
        refused = web.delete("/collections/scenes", headers={"Origin": "https://browser.example.org"})
        assert refused.headers["access-control-allow-origin"] == "https://browser.example.org"

    def test_no_origins_by_default(self, fresh):
        response = fresh.get("/", headers={"Origin": "https://browser.example.org"})
        assert "access-control-allow-origin" not in response.headers


class TestTokens:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/collections"),
            ("PUT", "/collections/scenes"),
            ("PATCH", "/collections/scenes"),
            ("DELETE", "/collections/scenes"),
            ("POST", "/collections/scenes/items"),
            ("POST", "/collections/scenes/bulk_items"),
            ("PUT", "/collections/scenes/items/i00"),
            ("PATCH", "/collections/scenes/items/i00"),
            ("DELETE", "/collections/scenes/items/i00"),
            ("POST", "/search/"),
            ("POST", "/nowhere"),
        ],
    )
    def test_writes_need_it(self, web, method, path):
        wrong = ["", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer wrong", f"Bearer {TOKEN}x"]
        for headers in [{}, *({"Authorization": value} for value in wrong)]:
            response = web.request(method, path, headers=headers, content="{not even json")
            assert response.status_code == 401, headers
            assert response.headers["www-authenticate"].startswith("Bearer")
            assert TOKEN not in response.text

    def test_header_bytes_beyond_ascii(self, url):
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request(
            "DELETE", "/collections/scenes", headers={"Authorization": "Bearer s\xe9cret".encode("latin-1")}
        )
        assert connection.getresponse().status == 401
        connection.close()

    def test_without_one_the_server_is_read_only(self, catalogue_path, url):
        with (
            serving(create_app(catalogue_path, token=None)) as read_only,
            httpx.Client(base_url=read_only) as web,
        ):
            response = web.delete("/collections/scenes", headers=WRITER)
            assert (response.status_code, "read-only" in response.text) == (403, True)
            assert web.post("/search", json={}).status_code == 200
            assert TRANSACTION not in web.get("/conformance").json()["conformsTo"]

    def test_an_empty_token_is_no_token(self, tmp_path):
        for token in ("", "  "):
            with pytest.raises(ConfigError, match="empty"):
                create_app(tmp_path / "catalogue.sqlite", token=token)


class TestWriting:
    @pytest.fixture
    def writer(self, fresh):
        fresh.headers.update(WRITER)
        assert fresh.post("/collections", json=make_collection()).status_code == 201
        return fresh

    def test_life_of_a_collection(self, writer):
        created = writer.post("/collections", json=make_collection("osm"))
        assert created.status_code == 201
        assert writer.get(created.headers["location"]).json() == created.json()
        assert writer.post("/collections", json=make_collection("osm")).status_code == 409
        changed = {**make_collection("osm"), "title": "New"}
        assert writer.put("/collections/osm", json=changed).json()["title"] == "New"
        assert writer.patch("/collections/osm", json={"title": None}).json().get("title") is None
        assert writer.put("/collections/scenes", json=changed).status_code == 400
        assert writer.put("/collections/none", json=make_collection("none")).status_code == 404
        assert writer.delete("/collections/osm").status_code == 204
        assert writer.delete("/collections/osm").status_code == 404

    def test_life_of_an_item(self, writer):
        item_id = "a b/c"[:3] + "?#%ä"
        created = writer.post("/collections/scenes/items", json=make_item(item_id))
        assert created.status_code == 201
        address = created.headers["location"]
        assert writer.get(address).json() == created.json()
        validate_item(created.json())
        assert writer.post("/collections/scenes/items", json=make_item(item_id)).status_code == 409
        assert (
            writer.put(address, json=make_item(item_id, title="new")).json()["properties"]["title"] == "new"
        )
        patched = writer.patch(address, json={"properties": {"title": None, "gsd": 10}}).json()["properties"]
        assert ("title" in patched, patched["gsd"]) == (False, 10)
        assert writer.put(address, json=make_item("other")).status_code == 400
        assert writer.put(address, json={**make_item(item_id), "collection": "osm"}).status_code == 400
        assert writer.put("/collections/scenes/items/none", json=make_item("none")).status_code == 404
        assert writer.delete(address).status_code == 204
        assert writer.delete(address).status_code == 404

    def test_what_is_served_can_be_put_back_unchanged(self, writer):
        address = writer.post("/collections/scenes/items", json=make_item("a")).headers["location"]
        served = writer.get(address).json()
        assert writer.put(address, json=served).json() == served

    def test_a_feature_collection_is_all_or_nothing(self, writer):
        features = {"type": "FeatureCollection", "features": [make_item("a"), make_item("b")]}
        assert writer.post("/collections/scenes/items", json=features).json() == {"created": 2}
        features["features"] = [make_item("c"), make_item("a")]
        assert writer.post("/collections/scenes/items", json=features).status_code == 409
        assert len(writer.get("/search").json()["features"]) == 2

    def test_bulk(self, writer):
        def send(items, method="upsert"):
            body = {"items": {item["id"]: item for item in items}, "method": method}
            return writer.post("/collections/scenes/bulk_items", json=body)

        first = send([make_item("a"), make_item("b")])
        assert first.json() == {
            "received": 2,
            "success": 2,
            "skipped": 0,
            "errors": [],
            "created": 2,
            "updated": 0,
            "unchanged": 0,
            "results": [{"id": "a", "status": "created"}, {"id": "b", "status": "created"}],
        }
        second = send([make_item("a"), make_item("b", title="new"), make_item("c")]).json()
        assert (second["created"], second["updated"], second["unchanged"]) == (1, 1, 1)
        assert send([make_item("a")], method="insert").status_code == 409
        assert send([make_item("a")], method="destroy").status_code == 400
        broken = send([make_item("d"), {**make_item("e"), "geometry": "none"}])
        assert (broken.status_code, "item 'e'" in broken.text) == (400, True)
        assert writer.get("/collections/scenes/items/d").status_code == 404
        body = {"items": {"x": make_item("y")}, "method": "upsert"}
        assert writer.post("/collections/scenes/bulk_items", json=body).status_code == 400
        assert writer.post("/collections/none/bulk_items", json={"items": {}}).status_code == 404

    @pytest.mark.parametrize(
        "body", ["", "[]", "{}", "null", '{"type": "FeatureCollection"}', "[" * 20_000, "{"]
    )
    def test_malformed_documents(self, writer, body):
        for method, path in [
            ("POST", "/collections"),
            ("PUT", "/collections/scenes"),
            ("POST", "/collections/scenes/items"),
            ("POST", "/collections/scenes/bulk_items"),
        ]:
            response = writer.request(
                method, path, content=body, headers={"Content-Type": "application/json"}
            )
            assert response.status_code == 400, (method, path)
            assert "\n" not in response.json()["description"]

    def test_bodies_too_large(self, writer):
        block = b" " * (1 << 20)

        def stream():
            for _ in range(MAX_BODY_BYTES // len(block) + 1):
                yield block

        stated = writer.put("/collections/scenes", content=b" " * (MAX_BODY_BYTES + 1))
        streamed = writer.put("/collections/scenes", content=stream())
        searched = writer.post("/search", content=stream())
        assert [r.status_code for r in (stated, streamed, searched)] == [413, 413, 413]
        assert writer.get("/healthz").json() == {"status": "UP", "collections": 1}


class TestServing:
    def test_links_under_a_prefix(self, catalogue_path, url):
        with (
            serving(create_app(catalogue_path, token=TOKEN), root_path="/stac") as base_url,
            httpx.Client() as web,
        ):
            # the proxy in front takes the prefix off
            landing = web.get(f"{base_url}/").json()
            hrefs = {link["rel"]: link["href"] for link in landing["links"]}
            assert hrefs["self"] == f"{base_url}/stac/"
            assert hrefs["data"] == f"{base_url}/stac/collections"
            item = web.get(f"{base_url}/search?limit=1").json()
            assert item["features"][0]["links"][0]["href"] == f"{base_url}/stac/collections/scenes/items/i24"
            assert web.post(f"{base_url}/search", json={}).status_code == 200
            assert web.delete(f"{base_url}/collections/scenes").status_code == 401

    def test_a_port_that_is_taken(self, catalogue_path, url):
        app = create_app(catalogue_path, token=None)
        port = urlsplit(url).port
        with pytest.raises(ConfigError, match="another port"), serving(app, port=port):
            pass
        with pytest.raises(ConfigError, match="another port"):
            run_server(app, port=port)

    def test_the_same_app_twice(self, catalogue_path, url):
        app = create_app(catalogue_path, token=None)
        for _ in range(2):
            with serving(app) as base_url:
                assert httpx.get(f"{base_url}/healthz").json()["collections"] == 2

    def test_server_and_embedded_client_share_a_file(self, tmp_path):
        path = tmp_path / "catalogue.sqlite"
        with (
            serving(create_app(path, token=TOKEN)) as base_url,
            HttpClient(base_url, TOKEN) as remote,
            EmbeddedClient(path) as local,
        ):
            remote.upsert_collection(make_collection())
            local.upsert_items([{**make_item("a"), "collection": "scenes"}])
            (served,) = remote.items("scenes", ["a", "b"])
            assert served["properties"] == local.items("scenes", ["a"])[0]["properties"]
            assert json.loads(httpx.get(f"{base_url}/collections/scenes/items/a").text) == served
