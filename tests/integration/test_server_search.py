"""Filters, sorting, fields, free text, collection search and aggregation over loopback, as clients ask."""

import json
import warnings

import httpx
import pystac_client
import pytest
import shapely
from jsonschema import Draft202012Validator
from pystac_client.warnings import PystacClientWarning

from catalog.client import EmbeddedClient
from catalog.server.app import create_app, serving
from tests.support.schemas import validate_collection, validate_item

QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
SORTABLES = "http://www.opengis.net/def/rel/ogc/1.0/sortables"
CLOUDS = [5 * (7 * n % 24) for n in range(24)]
"""Cloud cover of scene n: all different."""


def make_collection(name, **fields):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": "Pictures.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[10, 50, 11, 51]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", "2024-02-01T00:00:00Z"]]},
        },
        **fields,
    }


def make_item(item_id, collection, *, west=10.0, when="2024-05-01T10:00:00Z", **properties):
    shape = shapely.box(west, 50, west + 1, 51)
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": shapely.geometry.mapping(shape),
        "bbox": list(shape.bounds),
        "properties": {"datetime": when, **properties},
        "links": [],
        "assets": {"data": {"href": "https://example.org/data.tif", "type": "image/tiff"}},
    }


def make_scene(n):
    return make_item(
        f"s{n:02}",
        "scenes",
        west=10.0 + n,
        when=f"20{22 + n // 12}-{1 + n % 12:02}-03T10:00:00Z",
        title=f"Scene over {['Berlin', 'Hamburg harbour', 'Köln'][n % 3]}",
        platform=["sentinel-2a", "sentinel-2b"][n % 2],
        **{"eo:cloud_cover": CLOUDS[n]},
    )


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Serve 24 scenes, one a month and one degree further east each, 3 maps, and an empty collection."""
    path = tmp_path_factory.mktemp("served") / "catalogue.sqlite"
    with EmbeddedClient(path) as client:
        client.upsert_collection(make_collection("scenes", title="Optical scenes", keywords=["imagery"]))
        client.upsert_collection(make_collection("maps", title="Drawn maps", description="Street maps."))
        client.upsert_collection(make_collection("empty"))
        client.upsert_items(make_scene(n) for n in range(24))
        client.upsert_items(
            make_item(f"m{n}", "maps", west=100.0, roads=n, drawn=bool(n), tags=["a"]) for n in range(3)
        )
    with serving(create_app(path, token=None, allowed_origins=["https://a.example.org"])) as base_url:
        yield base_url


@pytest.fixture
def web(url):
    with httpx.Client(base_url=url) as http_client:
        yield http_client


@pytest.fixture
def reader(url):
    with warnings.catch_warnings():
        warnings.simplefilter("error", PystacClientWarning)
        yield pystac_client.Client.open(url)


def numbers(ids):
    return [int(each.removeprefix("s")) for each in ids]


def found(answer):
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["features"]]


class TestPystacClient:
    def test_what_clients_look_for_is_promised(self, reader):
        for name in ("FILTER", "SORT", "FIELDS", "COLLECTION_SEARCH", "COLLECTION_SEARCH_FREE_TEXT"):
            assert reader.conforms_to(name), name
        assert not reader.conforms_to("QUERY")

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize("limit", [4, 100])
    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"filter": "eo:cloud_cover < 30"}, {n for n in range(24) if CLOUDS[n] < 30}),
            (
                {"filter": {"op": "=", "args": [{"property": "platform"}, "sentinel-2a"]}},
                set(range(0, 24, 2)),
            ),
            (
                {"filter": "platform = 'sentinel-2b' AND datetime >= TIMESTAMP('2023-06-01T00:00:00Z')"},
                set(range(17, 24, 2)),
            ),
            ({"filter": "casei(title) LIKE casei('%HAMBURG%')"}, set(range(1, 24, 3))),
            ({"filter": "id IN ('s03', 's04', 'x')"}, {3, 4}),
        ],
    )
    def test_filters(self, reader, method, limit, asked, expected):
        search = reader.search(method=method, limit=limit, collections=["scenes"], **asked)
        ids = numbers(item.id for item in search.items())
        assert sorted(ids) == sorted(expected)

    def test_the_number_of_matches(self, reader):
        assert reader.search(filter="eo:cloud_cover < 30").matched() == 6
        assert reader.search(filter="platform = 'sentinel-2a'", method="GET").matched() == 12

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("sortby", "key"),
        [
            ("eo:cloud_cover", lambda n: CLOUDS[n]),
            ("-properties.eo:cloud_cover", lambda n: -CLOUDS[n]),
            ("+datetime", lambda n: n),
            (["-platform", "id"], lambda n: (-(n % 2), n)),
            ([{"field": "id", "direction": "desc"}], lambda n: -n),
        ],
    )
    def test_sorting(self, reader, method, sortby, key):
        search = reader.search(method=method, limit=7, collections=["scenes"], sortby=sortby)
        assert numbers(item.id for item in search.items()) == sorted(range(24), key=key)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_fields(self, reader, method):
        search = reader.search(
            method=method,
            limit=10,
            collections=["scenes"],
            filter="eo:cloud_cover <= 100",
            sortby="id",
            fields=["properties.eo:cloud_cover"],
        )
        items = list(search.items_as_dicts())
        assert [item["properties"] for item in items] == [{"eo:cloud_cover": c} for c in CLOUDS if c <= 100]
        assert {"geometry", "assets", "links"}.isdisjoint(items[0])

    def test_collections(self, reader):
        assert [c.id for c in reader.collection_search(q="imagery").collections()] == ["scenes"]
        assert [c.id for c in reader.collection_search(q="streets,street").collections()] == ["maps"]
        by_title = reader.collection_search(sortby="-title", limit=1)
        assert [c.id for c in by_title.collections()] == ["scenes", "maps", "empty"]
        assert by_title.matched() == 3
        in_2022 = reader.collection_search(bbox=[30, 50, 31, 51], datetime="2022")
        assert [c.id for c in in_2022.collections()] == ["scenes"]


class TestSearch:
    def test_next_links_carry_everything(self, web):
        asked = {
            "filter": "eo:cloud_cover >= 0",
            "filter-lang": "cql2-text",
            "filter-crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
            "q": 'berlin,"hamburg harbour"',
            "sortby": "-eo:cloud_cover",
            "fields": "properties.eo:cloud_cover,-bbox",
            "limit": 5,
        }
        body = {
            "filter": {"op": ">=", "args": [{"property": "eo:cloud_cover"}, 0]},
            "q": ["berlin", '"hamburg harbour"'],
            "sortby": [{"field": "eo:cloud_cover", "direction": "desc"}],
            "fields": {"include": ["properties.eo:cloud_cover"], "exclude": ["bbox"]},
            "limit": 5,
        }
        for path, kind in (("/search", "GET"), ("/collections/scenes/items", "GET"), ("/search", "POST")):
            page = web.get(path, params=asked) if kind == "GET" else web.post(path, json=body)
            clouds = []
            while True:
                content = page.json()
                clouds += [item["properties"] for item in content["features"]]
                following = [link for link in content["links"] if link["rel"] == "next"]
                if not following:
                    break
                assert following[0]["method"] == kind
                href = following[0]["href"]
                page = web.get(href) if kind == "GET" else web.post(href, json=following[0]["body"])
            expected = sorted((CLOUDS[n] for n in range(24) if n % 3 != 2), reverse=True)
            assert clouds == [{"eo:cloud_cover": cloud} for cloud in expected], (path, kind)

    def test_the_other_language_of_each_method(self, web):
        text, tree = "eo:cloud_cover < 15", {"op": "<", "args": [{"property": "eo:cloud_cover"}, 15]}
        expected = sorted(f"s{n:02}" for n in range(24) if CLOUDS[n] < 15)
        by_get = web.get("/search", params={"filter": json.dumps(tree), "filter-lang": "cql2-json"})
        by_post = web.post("/search", json={"filter": text, "filter-lang": "cql2-text"})
        assert sorted(found(by_get)) == sorted(found(by_post)) == expected

    @pytest.mark.parametrize("method", ["GET", "POST"])
    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ({"q": "hamburg"}, set(range(1, 24, 3))),
            ({"q": "koln,berlin"}, set(range(0, 24, 3)) | set(range(2, 24, 3))),
            ({"q": "harbour hamburg"}, set(range(1, 24, 3))),
            ({"q": '"harbour hamburg"'}, set()),
            ({"q": '"scene over, hamburg",s03'}, {3, *range(1, 24, 3)}),
            ({"q": "hamb*", "filter": "eo:cloud_cover < 30"}, {4, 7}),
        ],
    )
    def test_free_text(self, web, method, asked, expected):
        asked = {**asked, "limit": 100, "collections": "scenes"}
        if method == "GET":
            answer = web.get("/search", params=asked)
        else:
            answer = web.post(
                "/search", json={**asked, "collections": ["scenes"], "filter-lang": "cql2-text"}
            )
        assert set(numbers(found(answer))) == expected

    def test_free_text_by_post_as_text_and_list(self, web):
        for q in ("berlin,köln", ["berlin", "köln"]):
            assert len(found(web.post("/search", json={"q": q, "limit": 100}))) == 16

    def test_a_plus_that_came_as_a_space(self, web):
        assert found(web.get("/search?collections=scenes&limit=2&sortby= id")) == ["s00", "s01"]

    def test_default_fields_make_valid_items(self, web):
        for page in (
            web.get("/search", params={"fields": ""}),
            web.post("/search", json={"fields": {}}),
            web.post("/search", json={"fields": {"include": None, "exclude": []}}),
        ):
            for item in page.json()["features"]:
                validate_item(item)
                assert set(item["properties"]) == {"datetime"}

    def test_excluding_alone_leaves_the_rest(self, web):
        for page in (
            web.get("/search", params={"fields": "-geometry", "collections": "scenes"}),
            web.post("/search", json={"fields": {"exclude": ["geometry"]}, "collections": ["scenes"]}),
        ):
            item = page.json()["features"][0]
            assert "geometry" not in item
            assert {"title", "platform"} < set(item["properties"])

    def test_numbers_on_the_first_page(self, web):
        page = web.get("/search", params={"limit": 5, "filter": "eo:cloud_cover < 30"}).json()
        assert (page["numberReturned"], page["numberMatched"]) == (5, 6)
        (following,) = [link for link in page["links"] if link["rel"] == "next"]
        assert "numberMatched" not in web.get(following["href"]).json()

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("filter=eo:clouds < 3", "eo:cloud_cover"),
            ("filter=eo:cloud_cover <", "filter"),
            ("filter=eo:cloud_cover < 3&filter-lang=sql", "cql2-text"),
            ("filter=id = 's01'&filter-crs=EPSG:4326", "CRS84"),
            ("filter=[]&filter-lang=cql2-json", "CQL2 JSON"),
            ("filter={&filter-lang=cql2-json", "CQL2 JSON"),
            ("filter_lang=cql2-text", "filter_lang"),
            ("sortby=nothing", "nothing"),
            ("sortby=id,,title", "sortby"),
            ("sortby=-", "sortby"),
            ("fields=a,,b", "fields"),
            ("query={}", "query"),
            ("token=AAAA", "token"),
        ],
    )
    def test_malformed_queries(self, web, query, expected):
        for path in ("/search", "/collections/scenes/items"):
            response = web.get(f"{path}?{query}")
            assert response.status_code == 400, query
            assert expected in response.json()["description"]

    @pytest.mark.parametrize(
        "body",
        [
            {"fields": None},
            {"fields": {"includes": ["id"]}},
            {"fields": {"include": [3]}},
            {"sortby": "id"},
            {"sortby": [{"field": "id", "direction": "up"}]},
            {"sortby": [{"field": "id", "way": "asc"}]},
            {"sortby": [{"field": ""}]},
            {"filter": "id = 's01'"},
            {"filter": {"op": "="}},
            {"filter": {}, "filter-lang": "cql2-text"},
            {"filter_lang": "cql2-json"},
            {"q": {"a": 1}},
            {"q": [1]},
            {"query": {}},
        ],
    )
    def test_malformed_bodies(self, web, body):
        response = web.post("/search", json=body)
        assert response.status_code == 400, response.text
        assert "\n" not in response.json()["description"]


class TestDescriptions:
    @pytest.mark.parametrize("name", ["queryables", "sortables"])
    def test_they_are_schemas_and_linked(self, web, name):
        rel = {"queryables": QUERYABLES, "sortables": SORTABLES}[name]
        for holder in ("/", "/collections/scenes", "/collections/maps"):
            (link,) = [each for each in web.get(holder).json()["links"] if each["rel"] == rel]
            answer = web.get(link["href"])
            assert answer.headers["content-type"] == link["type"] == "application/schema+json"
            schema = answer.json()
            Draft202012Validator.check_schema(schema)
            assert schema["$id"] == link["href"]

    def test_they_tell_what_items_have(self, web):
        everything = web.get("/queryables").json()["properties"]
        assert everything["eo:cloud_cover"]["type"] == "integer"
        assert everything["drawn"]["type"] == "boolean"
        assert everything["created"]["format"] == "date-time"
        of_maps = web.get("/collections/maps/queryables").json()
        assert {"id", "collection", "geometry", "datetime", "roads", "drawn", "tags"} < set(
            of_maps["properties"]
        )
        assert "eo:cloud_cover" not in of_maps["properties"]
        assert of_maps["additionalProperties"] is False
        assert "tags" not in web.get("/collections/maps/sortables").json()["properties"]
        assert web.get("/collections/none/queryables").status_code == 404
        assert web.get("/queryables?collections=maps").status_code == 400

    def test_every_queryable_may_be_filtered_by_and_every_sortable_sorted_by(self, web):
        for name in web.get("/queryables").json()["properties"]:
            assert web.get("/search", params={"filter": f'"{name}" IS NOT NULL'}).status_code == 200, name
        for name in web.get("/sortables").json()["properties"]:
            assert web.get("/search", params={"sortby": name}).status_code == 200, name


class TestCollectionSearch:
    def test_pages(self, web):
        page = web.get("/collections", params={"limit": 2, "fields": "title,-links"}).json()
        assert (page["numberMatched"], page["numberReturned"]) == (3, 2)
        (following,) = [link for link in page["links"] if link["rel"] == "next"]
        assert following["type"] == "application/json"
        rest = web.get(following["href"]).json()["collections"]
        assert rest == [
            {"type": "Collection", "stac_version": "1.1.0", "id": "scenes", "title": "Optical scenes"}
        ]

    def test_all_of_them_are_valid(self, web):
        for fields in ({}, {"fields": ""}):
            collections = web.get("/collections", params=fields).json()["collections"]
            assert [each["id"] for each in collections] == ["empty", "maps", "scenes"]
            for collection in collections:
                validate_collection(collection)

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"q": "drawn"}, ["maps"]),
            ({"q": "nothing"}, []),
            ({"bbox": "100,50,101,51"}, ["maps"]),
            ({"datetime": "2022-03-01T00:00:00Z/2022-04-01T00:00:00Z"}, ["scenes"]),
            ({"datetime": "2024-01-05T00:00:00Z", "q": "pictures"}, ["empty", "scenes"]),
            ({"sortby": "-id"}, ["scenes", "maps", "empty"]),
        ],
    )
    def test_conditions(self, web, query, expected):
        page = web.get("/collections", params=query).json()
        assert [each["id"] for each in page["collections"]] == expected

    @pytest.mark.parametrize(
        "query", ["bbox=1", "datetime=x", "limit=0", "sortby=license", "token=x", "ids=a", "fields=,"]
    )
    def test_malformed(self, web, query):
        assert web.get(f"/collections?{query}").status_code == 400


class TestAggregation:
    def ask(self, web, path="/aggregate", **query):
        answer = web.get(path, params=query)
        assert answer.status_code == 200, answer.text
        content = answer.json()
        assert content["type"] == "AggregationCollection"
        return {each["name"]: each for each in content["aggregations"]}

    def spread(self, aggregation):
        return {bucket["key"]: bucket["frequency"] for bucket in aggregation["buckets"]}

    def test_counts(self, web):
        made = self.ask(web, aggregations="total_count,collection_frequency,datetime_frequency")
        assert list(made) == ["total_count", "collection_frequency", "datetime_frequency"]
        assert made["total_count"]["value"] == 27
        assert self.spread(made["collection_frequency"]) == {"maps": 3, "scenes": 24}
        by_month = self.spread(made["datetime_frequency"])
        assert by_month["2024-05-01T00:00:00Z"] == 3
        assert (len(by_month), sum(by_month.values())) == (25, 27)

    @pytest.mark.parametrize(
        ("interval", "expected"),
        [
            ("year", {"2022-01-01T00:00:00Z": 4, "2023-01-01T00:00:00Z": 4}),
            ("day", {f"{2022 + n // 12}-{1 + n % 12:02}-03T00:00:00Z": 1 for n in range(1, 24, 3)}),
        ],
    )
    def test_conditions_and_intervals(self, web, interval, expected):
        made = self.ask(
            web, aggregations="datetime_frequency", q="hamburg", datetime_frequency_interval=interval
        )
        assert self.spread(made["datetime_frequency"]) == expected

    def test_by_post_and_within_a_collection(self, web):
        body = {
            "aggregations": ["total_count", "collection_frequency"],
            "filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 30]},
        }
        for path in ("/aggregate", "/collections/scenes/aggregate"):
            answer = web.post(path, json=body)
            assert answer.status_code == 200, answer.text
            total, by_collection = answer.json()["aggregations"]
            assert (total["value"], self.spread(by_collection)) == (6, {"scenes": 6})
        assert self.ask(web, "/collections/maps/aggregate")["total_count"]["value"] == 3

    def test_what_can_be_asked_is_listed_and_linked(self, web):
        for holder in ("/", "/collections/scenes"):
            links = {link["rel"]: link["href"] for link in web.get(holder).json()["links"]}
            listed = web.get(links["aggregations"]).json()["aggregations"]
            names = ",".join(each["name"] for each in listed)
            made = self.ask(web, links["aggregate"], aggregations=names)
            assert {name: made[name]["data_type"] for name in made} == {
                each["name"]: each["data_type"] for each in listed
            }

    @pytest.mark.parametrize(
        "query",
        [
            "aggregations=grid",
            "datetime_frequency_interval=week",
            "limit=3",
            "sortby=id",
            "bbox=1",
            "filter=x = 1",
        ],
    )
    def test_malformed(self, web, query):
        for path in ("/aggregate", "/collections/scenes/aggregate"):
            assert web.get(f"{path}?{query}").status_code == 400
        assert web.post("/aggregate", json={"limit": 3}).status_code == 400
        assert web.post("/aggregate", json={"aggregations": "total_count"}).status_code == 400

    def test_a_collection_that_is_absent_or_not_this_one(self, web):
        for name in ("aggregate", "aggregations"):
            assert web.get(f"/collections/none/{name}").status_code == 404
        assert web.get("/collections/maps/aggregate?collections=scenes").status_code == 400


class TestManners:
    def test_heads_are_those_of_gets(self, web):
        for path in ("/", "/collections", "/search?limit=3", "/queryables", "/api", "/api.html", "/healthz"):
            get, head = web.get(path), web.head(path)
            assert (head.status_code, head.content) == (200, b""), path
            assert head.headers["content-type"] == get.headers["content-type"]
            assert head.headers["content-length"] == get.headers["content-length"]
        assert web.head("/collections/none").status_code == 404
        assert web.head("/search?limit=0").status_code == 400

    @pytest.mark.parametrize(
        ("path", "methods"),
        [
            ("/search", {"GET", "POST", "HEAD", "OPTIONS"}),
            ("/queryables", {"GET", "HEAD", "OPTIONS"}),
            ("/collections/scenes", {"GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"}),
            ("/collections/scenes/bulk_items", {"POST", "OPTIONS"}),
            ("/api", {"GET", "HEAD", "OPTIONS"}),
        ],
    )
    def test_options_tell_what_is_allowed(self, web, path, methods):
        response = web.options(path)
        assert (response.status_code, response.content) == (204, b"")
        assert set(response.headers["allow"].split(", ")) == methods

    def test_options_of_nothing(self, web):
        assert web.options("/nothing").status_code == 404

    def test_preflights_of_the_origins_that_may_read(self, web):
        def ask(origin, method="POST", headers="content-type"):
            asked = {
                "Origin": origin,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": headers,
            }
            return web.options("/search", headers=asked)

        allowed = ask("https://a.example.org")
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://a.example.org"
        assert ask("https://a.example.org", headers="range").status_code == 200
        assert ask("https://a.example.org", method="DELETE").status_code == 400
        assert ask("https://a.example.org", headers="authorization").status_code == 400
        assert "access-control-allow-origin" not in ask("https://b.example.org").headers

    def test_the_description_and_its_page(self, web):
        links = {link["rel"]: link for link in web.get("/").json()["links"]}
        api = web.get(links["service-desc"]["href"])
        assert api.headers["content-type"] == links["service-desc"]["type"]
        assert api.headers["content-type"] == "application/vnd.oai.openapi+json;version=3.1"
        described = api.json()
        assert described["openapi"].startswith("3.1")
        assert described["servers"] == [{"url": str(web.base_url).rstrip("/")}]
        assert {"/search", "/aggregate", "/queryables", "/collections"} < set(described["paths"])
        parameters = {each["name"] for each in described["paths"]["/search"]["get"]["parameters"]}
        assert {"filter", "filter-lang", "filter-crs", "sortby", "fields", "q"} < parameters
        assert '"422"' not in api.text
        page = web.get(links["service-doc"]["href"])
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        for foreign in ("http:", "https:", 'src="', "@import", "url("):
            assert foreign not in page.text
