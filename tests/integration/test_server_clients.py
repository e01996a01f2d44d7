"""Both catalogue clients do the same; the HTTP one is patient, discreet and stays with its own server."""

import http.server
import json
import logging
import socket
import threading

import httpx
import pytest

from catalog.client import EmbeddedClient, HttpClient, RetryPolicy, SearchQuery, UpsertResult, open_catalogue
from catalog.server.app import create_app, serving
from catalog.server.conformance import COUNTED_UPSERT
from infra.errors import AppError, ConfigError, DataError, InputError, NotFoundError, TransientError

TOKEN = "tok-3n-secret"


def make_collection(name="scenes"):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {
            "spatial": {"bbox": [[0, 0, 1, 1]]},
            "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
        },
    }


def make_item(item_id, *, collection="scenes", **properties):
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Point", "coordinates": [0.5, 0.5]},
        "bbox": [0.5, 0.5, 0.5, 0.5],
        "properties": {"datetime": "2024-05-01T10:00:00Z", **properties},
        "links": [],
        "assets": {},
    }


@pytest.fixture(params=["embedded", "http"])
def client(request, tmp_path):
    path = tmp_path / "catalogue.sqlite"
    if request.param == "embedded":
        with EmbeddedClient(path) as made:
            yield made
    else:
        with serving(create_app(path, token=TOKEN)) as url, HttpClient(url, TOKEN) as made:
            yield made


class TestBoth:
    def test_collections(self, client):
        client.upsert_collection(make_collection())
        client.upsert_collection({**make_collection(), "title": "New"})
        client.upsert_collection(make_collection("osm"))
        assert [(c["id"], c.get("title")) for c in client.collections()] == [("osm", None), ("scenes", "New")]

    def test_items(self, client):
        client.upsert_collection(make_collection())
        client.upsert_collection(make_collection("osm"))
        items = [make_item(f"i{n:04}") for n in range(1203)]
        assert client.upsert_items([*items, make_item("i0000", collection="osm")]) == UpsertResult(
            created=1204
        )
        changed = [{**item, "description": "x"} for item in items[:3]]
        assert client.upsert_items(iter(items[:10] + changed)) == UpsertResult(updated=3, unchanged=7)
        asked = ["i0900", "none", "i0001", "i0900"]
        assert [item["id"] for item in client.items("scenes", asked)] == ["i0900", "i0001"]
        assert client.items("scenes", []) == []
        assert len(client.items("scenes", (item["id"] for item in items))) == 1203
        found = [item["id"] for item in client.search(SearchQuery(collections=["scenes"]))]
        assert found == sorted((item["id"] for item in items), reverse=True)
        assert [item["collection"] for item in client.search(SearchQuery(ids=["i0000"]))] == ["scenes", "osm"]

    def test_refusals(self, client):
        with pytest.raises(NotFoundError, match="scenes"):
            client.upsert_items([make_item("a")])
        client.upsert_collection(make_collection())
        for broken in (
            make_item("a/b"),
            make_item(""),
            {**make_item("a"), "geometry": 3},
            make_item("a", x=float("nan")),
        ):
            with pytest.raises(InputError):
                client.upsert_items([broken])
        with pytest.raises(InputError, match="bbox"):
            list(client.search(SearchQuery(bbox=(1, 2, 3))))
        with pytest.raises(InputError):
            client.upsert_collection({"id": ".."})
        assert client.upsert_items([]) == UpsertResult()


class TestToken:
    def test_wrong_or_none(self, tmp_path):
        with serving(create_app(tmp_path / "catalogue.sqlite", token=TOKEN)) as url:
            for token in ("wrong-token", None):
                with HttpClient(url, token) as client, pytest.raises(ConfigError, match="token") as caught:
                    client.upsert_collection(make_collection())
                assert "wrong-token" not in str(caught.value)

    @pytest.mark.parametrize("token", ["", " ", "with space", "line\nbreak", "ümlaut", "nul\0"])
    def test_what_no_header_carries(self, token):
        with pytest.raises(ConfigError) as caught:
            HttpClient("http://127.0.0.1:9", token)
        assert not token.strip() or token not in str(caught.value)


class Script:
    """Answer requests from a list, then from a default; remember what was asked."""

    def __init__(self):
        self.answers = []
        self.default = (200, {}, {})
        self.asked = []
        self.api = None

    def __enter__(self):
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_any(self):
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length) or b"null")
                script.asked.append((self.command, self.path, body))
                if script.answers:
                    status, headers, content = script.answers.pop(0)
                elif script.api:
                    status, headers, content = 200, {}, script.api(self.path, body)
                else:
                    status, headers, content = script.default
                content = content(body, self.headers) if callable(content) else content
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_any

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *args):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class Holder:
    """Stand in for a STAC API that keeps items, with or without counting them, and may lose one."""

    def __init__(self, *, counts, loses=None):
        self.counts = counts
        self.loses = loses
        self.held = {}
        self.received = []

    def __call__(self, path, body):
        if path == "/conformance":
            return {"conformsTo": [COUNTED_UPSERT] if self.counts else []}
        if path == "/search":
            return {"features": [self.held[name] for name in body["ids"] if name in self.held]}
        assert path == "/collections/scenes/bulk_items", path
        self.received.append(len(body["items"]))
        self.held |= {name: item for name, item in body["items"].items() if name != self.loses}
        if self.counts:
            return {"created": len(body["items"]), "updated": 0, "unchanged": 0}
        return "Successfully upserted some items."


@pytest.fixture
def script():
    with Script() as made:
        yield made


@pytest.fixture
def waits():
    return []


@pytest.fixture
def scripted(script, waits):
    with HttpClient(script.url, TOKEN, retry=RetryPolicy(attempts=4, sleep=waits.append)) as made:
        yield made


class TestRetries:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_passing_failures_are_waited_out(self, script, scripted, waits, status):
        script.answers = [
            (status, {"Retry-After": "7"}, {}),
            (status, {}, {}),
            (200, {}, {"collections": []}),
        ]
        assert scripted.collections() == []
        assert len(waits) == 2
        assert waits[0] == 7
        assert 0 <= waits[1] <= 1

    def test_in_the_end_it_is_told(self, script, scripted, waits):
        script.default = (503, {"Retry-After": "999999"}, {"description": "closed\nfor repair"})
        with pytest.raises(TransientError, match="failed 4 times, last by HTTP 503: closed for repair"):
            scripted.collections()
        assert waits == [120, 120, 120]

    def test_nobody_there(self, waits):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}"
            retry = RetryPolicy(attempts=3, sleep=waits.append)
            with HttpClient(url, retry=retry) as client, pytest.raises(TransientError, match="ConnectError"):
                client.collections()
        assert len(waits) == 2

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (301, ConfigError),
            (400, InputError),
            (401, ConfigError),
            (403, ConfigError),
            (404, NotFoundError),
            (409, InputError),
            (413, InputError),
            (422, InputError),
            (500, TransientError),
        ],
    )
    def test_the_rest_is_not_retried(self, script, scripted, waits, status, kind):
        script.default = (
            status,
            {"Location": "http://127.0.0.1:9/"},
            {"code": "x", "description": "why it is so"},
        )
        with pytest.raises(kind) as caught:
            scripted.collections()
        assert len(script.asked) == 1
        assert waits == []
        assert status == 301 or "why it is so" in str(caught.value)

    @pytest.mark.parametrize("content", [b"<html>hello</html>", b"[]", b"{}", b'{"collections": 3}', b""])
    def test_answers_that_are_no_stac(self, script, scripted, content):
        script.default = (200, {}, content)
        with pytest.raises(DataError, match="STAC API"):
            scripted.collections()


class TestWrites:
    def test_a_collection_made_by_another_run_meanwhile(self, script, scripted):
        script.answers = [(404, {}, {}), (409, {}, {}), (200, {}, {})]
        scripted.upsert_collection(make_collection())
        assert [method for method, _, _ in script.asked] == ["PUT", "POST", "PUT"]

    def test_batches_of_five_hundred(self, script, scripted):
        script.api = Holder(counts=True)
        assert scripted.upsert_items(make_item(f"i{n}") for n in range(1100)) == UpsertResult(created=1100)
        assert script.api.received == [500, 500, 100]

    def test_a_batch_that_is_too_large_is_halved(self, script, scripted):
        script.api = Holder(counts=True)
        script.answers = [(200, {}, {"conformsTo": [COUNTED_UPSERT]}), (413, {}, {}), (413, {}, {})]
        assert scripted.upsert_items(make_item(f"i{n}") for n in range(8)) == UpsertResult(created=8)
        sent = [len(body["items"]) for _, path, body in script.asked if path.endswith("/bulk_items")]
        assert sent == [8, 4, 2, 2, 4]

    def test_one_item_that_is_too_large_is_told(self, script, scripted):
        script.answers = [(200, {}, {"conformsTo": [COUNTED_UPSERT]})]
        script.default = (413, {}, {})
        with pytest.raises(InputError, match="too large"):
            scripted.upsert_items([make_item("a")])

    def test_a_server_that_does_not_compare(self, script, scripted):
        """Only what differs is sent to it, with ``created`` as it was."""
        script.api = Holder(counts=False)
        items = [make_item(f"i{n}", gsd=10.0) for n in range(5)]
        assert scripted.upsert_items(items) == UpsertResult(created=5)
        stored = {name: item["properties"] for name, item in script.api.held.items()}
        items[3]["properties"]["gsd"] = 20
        items.append(make_item("i9"))
        told = UpsertResult(created=1, updated=1, unchanged=4)
        assert scripted.upsert_items([make_item("i3"), *items]) == told
        assert script.api.received == [5, 2]
        assert scripted.upsert_items(items) == UpsertResult(unchanged=6)
        assert script.api.received == [5, 2], "nothing was sent the third time"
        now = {name: item["properties"] for name, item in script.api.held.items()}
        assert now["i3"]["created"] == stored["i3"]["created"]
        assert now["i3"]["updated"] > stored["i3"]["updated"]
        assert now["i0"] == stored["i0"]

    @pytest.mark.parametrize("counts", [True, False])
    def test_a_server_that_loses_an_item(self, script, scripted, counts):
        script.api = Holder(counts=counts, loses="i1")
        with pytest.raises(TransientError, match=r"does not hold 1 of them, e\.g\. 'i1'"):
            scripted.upsert_items(make_item(f"i{n}") for n in range(3))

    def test_a_server_that_writes_some_and_says_so_softly(self, script, scripted):
        script.answers = [(200, {}, {"conformsTo": []}), (200, {}, {"features": []})]
        script.default = (200, {}, {"success": 1, "errors": [{"id": "b", "msg": "no colons"}]})
        with pytest.raises(InputError, match=r"refused 1 of 2 items for 'scenes', .*no colons"):
            scripted.upsert_items([make_item("a"), make_item("b")])

    def test_a_server_that_counts_wrongly(self, script, scripted):
        script.answers = [(200, {}, {"conformsTo": [COUNTED_UPSERT]})]
        script.default = (200, {}, {"created": 1, "updated": 0, "unchanged": 0})
        with pytest.raises(DataError, match="counts 1 items where 2 were sent"):
            scripted.upsert_items([make_item("a"), make_item("b")])

    def test_ids_are_quoted_in_addresses(self, script, scripted):
        scripted.upsert_collection(make_collection("a b?c#d%ä"))
        assert script.asked[0][1] == "/collections/a%20b%3Fc%23d%25%C3%A4"


class TestSearch:
    def test_collections_page_by_page(self, script, scripted):
        elsewhere = {"rel": "next", "href": "http://evil.example.org/collections?offset=2&limit=2"}
        script.answers = [
            (200, {}, {"collections": [{"id": "a"}, {"id": "b"}], "links": [elsewhere]}),
            (200, {}, {"collections": [{"id": "c"}], "links": []}),
        ]
        assert [each["id"] for each in scripted.collections()] == ["a", "b", "c"]
        assert [path for _, path, _ in script.asked] == ["/collections", "/collections?offset=2&limit=2"]

    def test_collections_that_go_in_circles(self, script, scripted):
        again = {"rel": "next", "href": f"{script.url}/collections?offset=0"}
        script.default = (200, {}, {"collections": [{"id": "a"}], "links": [again]})
        assert [each["id"] for each in scripted.collections()] == ["a"]

    def test_next_links_lead_nowhere_else(self, script, scripted):
        elsewhere = {"rel": "next", "href": "http://evil.example.org/search", "method": "POST"}
        script.answers = [
            (200, {}, {"features": [1], "links": [{**elsewhere, "body": {"token": "b"}, "merge": True}]}),
            (200, {}, {"features": [2], "links": [{**elsewhere, "body": {"token": "c"}}]}),
            (200, {}, {"features": [3], "links": [{"rel": "next", "href": "http://evil.example.org/"}]}),
        ]
        assert list(scripted.search(SearchQuery(ids=["x"]))) == [1, 2, 3]
        bodies = [body for _, path, body in script.asked if path == "/search"]
        assert bodies == [
            {"ids": ["x"], "limit": 500},
            {"ids": ["x"], "limit": 500, "token": "b"},
            {"token": "c"},
        ]

    def test_a_server_that_goes_in_circles(self, script, scripted):
        script.default = (200, {}, {"features": [], "links": [{"rel": "next", "body": {"token": "a"}}]})
        with pytest.raises(DataError, match="again and again"):
            list(scripted.search(SearchQuery()))


class TestDiscretion:
    def test_the_token_appears_nowhere(self, script, scripted, caplog):
        """Not even when the server sends the request's headers back."""
        caplog.set_level(logging.DEBUG)
        messages = [repr(scripted), str(vars(scripted))]
        for status in (400, 401, 404, 500, 503):
            script.default = (status, {}, lambda _, headers: {"description": str(headers)})
            with pytest.raises(AppError) as caught:
                scripted.upsert_collection(make_collection())
            messages += [str(caught.value), repr(caught.value), str(caught.value.context)]
        assert "***" in messages[2]
        messages += [record.getMessage() for record in caplog.records]
        assert not [message for message in messages if TOKEN in message]

    def test_nor_in_the_servers_words(self, tmp_path, caplog):
        caplog.set_level(logging.DEBUG)
        app = create_app(tmp_path / "catalogue.sqlite", token=TOKEN)
        with serving(app) as url:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            answers = [
                httpx.get(url + path, headers=headers).text for path in ("/", "/api", "/healthz", "/nope")
            ]
            answers.append(httpx.put(f"{url}/collections/x", headers=headers, json=[]).text)
        assert not [text for text in [*answers, caplog.text, repr(app.user_middleware)] if TOKEN in text]


class TestOpening:
    def test_by_address(self, tmp_path):
        cases = {
            "http://127.0.0.1:9/stac/": "HttpClient('http://127.0.0.1:9/stac')",
            "HTTPS://stac.example.org": "HttpClient('HTTPS://stac.example.org')",
            str(tmp_path / "a.sqlite"): f"EmbeddedClient({str(tmp_path / 'a.sqlite')!r})",
            f"file://{tmp_path}/b.sqlite": f"EmbeddedClient({str(tmp_path / 'b.sqlite')!r})",
        }
        for uri, shown in cases.items():
            client = open_catalogue(uri, token=None)
            assert repr(client) == shown
            client.close()

    @pytest.mark.parametrize(
        "uri",
        [
            "http://",
            "http://user:pa55word@127.0.0.1/",
            "http://127.0.0.1:999999/",
            "http://[::1/",
            "http://127.0.0.1/?token=pa55word",
            "s3://bucket/catalogue.sqlite",
            "postgres://user:pa55word@db/stac",
        ],
    )
    def test_addresses_that_cannot_be(self, uri):
        with pytest.raises(ConfigError) as caught:
            open_catalogue(uri, token=None)
        assert "pa55word" not in str(caught.value)
