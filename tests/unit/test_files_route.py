"""A store's products over HTTP: what is answered, how, and what never is."""

import http.client
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import boto3
import httpx
import pystac_client
import pytest
import rasterio
import xarray as xr

from catalog.client import EmbeddedClient
from catalog.items.collections import COG_TYPE, collection_document
from catalog.items.scene import scene_item
from catalog.server.addresses import StoreAddresses, is_served
from catalog.server.app import create_app, serving
from catalog.server.remote_files import parse_range
from infra.storage import LocalStorage, open_storage
from tests.support.synthetic import build_cube, known_scene, make_geobox, make_grid, plan_one

TOKEN = "t0ken"
WRITER = {"Authorization": f"Bearer {TOKEN}"}
ORIGIN = "https://browser.example.org"
SECRETS = (
    "catalogue.sqlite",
    "runs/r1/params.json",
    "runs/r1/leases/cube.json",
    "scenes/plain.txt",
    "scenes/s1/.preview.tif.12-ab.part",
    "other/s1/file.txt",
)


@dataclass(frozen=True, kw_only=True)
class Published:
    """A store with one cube, catalogued."""

    root: Path
    catalogue: Path
    item: dict
    """As stored."""

    @property
    def product(self):
        return f"scenes/{self.item['id']}"

    def data(self, name):
        return (self.root / self.product / name).read_bytes()


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Make a real cube of a 200 × 240 world, publish it, and put things beside it that are nobody's."""
    folder = tmp_path_factory.mktemp("published")
    storage = LocalStorage(folder / "store")
    geobox = make_geobox((200, 240))
    dtypes = {"red": "uint16", "green": "uint16", "blue": "uint16"}
    scene = known_scene(folder, geobox=geobox, dtypes=dtypes)
    plan = plan_one([scene], make_grid(geobox, shard_px=128, chunk_px=64))
    item = scene_item(plan, build_cube(storage, plan), root_href=storage.uri)
    for name in SECRETS[1:]:
        storage.write(name, b"not for you")
    storage.write("runs/r1/report.html", b"<p>report</p>")
    catalogue = folder / "store" / "catalogue.sqlite"
    with EmbeddedClient(catalogue) as client:
        client.upsert_collection(collection_document("scenes"))
        client.upsert_items([item])
        (stored,) = client.items("scenes", [item["id"]])
    return Published(root=folder / "store", catalogue=catalogue, item=stored)


@contextmanager
def served(published, **settings):
    app = create_app(
        published.catalogue, token=TOKEN, allowed_origins=[ORIGIN], store=LocalStorage(published.root)
    )
    with serving(app, **settings) as url, httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture(scope="module")
def web(published):
    with served(published) as client:
        yield client


def status_of(web, raw_path, method="GET"):
    """Ask for a path as it is spelled, which httpx would tidy up."""
    place = urlsplit(str(web.base_url))
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=20)
    try:
        connection.putrequest(method, raw_path, skip_host=False)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def far_checksums(source):
    """Read a raster with GDAL in a process of its own: it holds this one's lock while it waits for us."""
    program = (
        "import json, sys, rasterio\n"
        "with rasterio.open(sys.argv[1]) as file:\n"
        "    sums = [file.checksum(band) for band in file.indexes]\n"
        "    told = {'crs': file.crs.to_string(), 'transform': list(file.transform), 'sums': sums}\n"
        "print(json.dumps(told))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, source], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class TestWhole:
    @pytest.mark.parametrize(
        ("name", "kind"),
        [
            ("preview.tif", COG_TYPE),
            ("thumbnail.png", "image/png"),
            ("receipt.json", "application/json"),
            ("cube.zarr/0/zarr.json", "application/json"),
            ("cube.zarr/0/red/c/0/0", "application/octet-stream"),
        ],
    )
    def test_every_kind_of_file(self, web, published, name, kind):
        whole = web.get(f"/files/{published.product}/{name}", headers={"Accept-Encoding": "br, gzip"})
        assert (whole.status_code, whole.content) == (200, published.data(name))
        assert whole.headers["Content-Type"] == kind
        assert whole.headers["Accept-Ranges"] == "bytes"
        assert "Content-Encoding" not in whole.headers
        head = web.head(f"/files/{published.product}/{name}")
        assert (head.status_code, head.content) == (200, b"")
        for header in ("Content-Length", "ETag", "Content-Type"):
            assert head.headers[header] == whole.headers[header]

    def test_a_report_cannot_act_as_our_page(self, web):
        answer = web.get("/files/runs/r1/report.html")
        assert (answer.status_code, answer.text) == (200, "<p>report</p>")
        assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"

    def test_unchanged_is_told_in_no_bytes(self, web, published):
        url = f"/files/{published.product}/thumbnail.png"
        tag = web.get(url).headers["ETag"]
        assert web.get(url, headers={"If-None-Match": f'"other", W/{tag}'}).status_code == 304
        assert web.get(url, headers={"If-None-Match": '"other"'}).status_code == 200


class TestRanges:
    @pytest.mark.parametrize(
        ("asked", "part"),
        [("bytes=0-15", slice(0, 16)), ("bytes=100-", slice(100, None)), ("bytes=-40", slice(-40, None))],
    )
    def test_one_range(self, web, published, asked, part):
        data = published.data("preview.tif")
        answer = web.get(f"/files/{published.product}/preview.tif", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, data[part])
        first = data.index(answer.content)
        last = first + len(answer.content) - 1
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{len(data)}"

    def test_beyond_the_end(self, web, published):
        answer = web.get(f"/files/{published.product}/thumbnail.png", headers={"Range": "bytes=99999999-"})
        size = len(published.data("thumbnail.png"))
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{size}")

    def test_a_changed_file_is_sent_whole(self, web, published):
        headers = {"Range": "bytes=0-3", "If-Range": '"of another version"'}
        assert web.get(f"/files/{published.product}/thumbnail.png", headers=headers).status_code == 200

    def test_pages_of_an_allowed_origin_can_go_by_ranges(self, web, published):
        url = f"/files/{published.product}/preview.tif"
        asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
        allowed = web.options(url, headers={**asked, "Access-Control-Request-Headers": "range"})
        assert allowed.status_code == 200
        answer = web.get(url, headers={"Origin": ORIGIN, "Range": "bytes=0-3"})
        exposed = {name.strip() for name in answer.headers["Access-Control-Expose-Headers"].split(",")}
        assert {"Content-Range", "Accept-Ranges", "Content-Length", "ETag"} <= exposed
        assert (
            "Access-Control-Allow-Origin"
            not in web.get(url, headers={"Origin": "https://evil.example"}).headers
        )


class TestRefusals:
    @pytest.mark.parametrize("name", [*SECRETS, "runs/r1/report.html/..", "runs/report.html", "", "scenes"])
    def test_what_is_no_file_of_a_product(self, web, name):
        answer = web.get(f"/files/{name}")
        assert answer.status_code == 404
        assert b"not for you" not in answer.content

    @pytest.mark.parametrize(
        "path",
        [
            "scenes/../catalogue.sqlite",
            "scenes/s1/../../catalogue.sqlite",
            "scenes/%2e%2e/catalogue.sqlite",
            "scenes/s1/%2e%2e%2f%2e%2e%2fcatalogue.sqlite",
            "scenes/s1/..%2f..%2fcatalogue.sqlite",
            "scenes/s1/..%5c..%5ccatalogue.sqlite",
            "%2fetc/s1/passwd",
            "/etc/passwd",
            "scenes//s1//thumbnail.png",
            "scenes/./s1/x",
            "scenes/s1/x%00.png",
            "scenes/s1/" + "a" * 3000,
            "scenes/s1/%ff%fe",
        ],
    )
    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    def test_ways_out(self, web, path, method):
        status, body = status_of(web, f"/files/{path}", method)
        assert status == 404
        assert b"SQLite" not in body

    def test_links_out_of_the_store(self, web, published, tmp_path):
        (tmp_path / "outside.txt").write_text("outside")
        folder = published.root / published.product
        (folder / "leak.txt").symlink_to(tmp_path / "outside.txt")
        (folder / "leak").symlink_to(tmp_path)
        (folder / "leak.sqlite").symlink_to(published.catalogue)
        for name in ("leak.txt", "leak/outside.txt", "leak.sqlite"):
            assert web.get(f"/files/{published.product}/{name}").status_code == 404, name

    def test_folders_are_not_listed(self, web, published):
        group = web.get(f"/files/{published.product}/cube.zarr/0")
        assert group.status_code == 404
        assert "xarray.open_zarr" in group.json()["description"]
        for name in ("cube.zarr/0/red/c", "cube.zarr/0/red/c/"):
            answer = web.get(f"/files/{published.product}/{name}")
            assert (answer.status_code, str(published.root) in answer.text) == (404, False)

    def test_files_cannot_be_written(self, web, published):
        for method in ("PUT", "POST", "DELETE"):
            answer = web.request(method, f"/files/{published.product}/thumbnail.png", headers=WRITER)
            assert answer.status_code == 405

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("scenes/a/b.tif", True),
            ("scenes/a/b/c", True),
            ("scenes/ä b/ç%.tif", True),
            ("runs/r/report.html", True),
            ("scenes/a", False),
            ("runs/r/x/report.html", False),
            ("runs/r/report.html.part", False),
            ("scenes/a/\x7f", False),
            ("scenes/a/\ud800", False),
        ],
    )
    def test_rule(self, path, expected):
        assert is_served(path) is expected


class TestHrefs:
    def test_items_name_files_where_they_are_served(self, web, published):
        base = f"{web.base_url}/files/{published.product}"
        url = f"/collections/scenes/items/{published.item['id']}"
        found = [
            web.get(url).json(),
            web.get("/search").json()["features"][0],
            web.post("/search", json={}).json()["features"][0],
            web.get("/collections/scenes/items").json()["features"][0],
        ]
        for item in found:
            hrefs = {key: asset["href"] for key, asset in item["assets"].items()}
            assert hrefs["preview"] == f"{base}/preview.tif"
            assert hrefs["data"] == f"{base}/cube.zarr/0"
            (store,) = [link["href"] for link in item["links"] if link["rel"] == "store"]
            assert store == f"{base}/cube.zarr"
            assert web.get(hrefs["thumbnail"]).content == published.data("thumbnail.png")

    def test_below_a_prefix(self, published):
        with served(published, root_path="/stac") as client:
            item = client.get("/search").json()["features"][0]
            prefix = f"{client.base_url}/stac/files/"
            assert all(asset["href"].startswith(prefix) for asset in item["assets"].values())

    def test_embedded_readers_keep_paths(self, published):
        with EmbeddedClient(published.catalogue) as client:
            (item,) = client.items("scenes", [published.item["id"]])
        assert item["assets"]["preview"]["href"] == str(published.root / published.product / "preview.tif")

    def test_reading_and_writing_back_changes_nothing(self, web, published):
        url = f"/collections/scenes/items/{published.item['id']}"
        read = web.get(url).json()
        bulk = {"items": {read["id"]: read}, "method": "upsert"}
        assert web.post("/collections/scenes/bulk_items", json=bulk, headers=WRITER).json()["unchanged"] == 1
        assert web.put(url, json=read, headers=WRITER).json() == read
        asset = {"assets": {"thumbnail": read["assets"]["thumbnail"]}}
        assert web.patch(url, json=asset, headers=WRITER).json() == read
        assert web.patch(url, json={"links": read["links"]}, headers=WRITER).status_code == 200
        with EmbeddedClient(published.catalogue) as client:
            (stored,) = client.items("scenes", [read["id"]])
        assert stored["assets"] == published.item["assets"]
        stores = [
            [link["href"] for link in item["links"] if link["rel"] == "store"]
            for item in (stored, published.item)
        ]
        assert stores[0] == stores[1]

    def test_several_at_once_and_collections(self, tmp_path):
        root = tmp_path / "store"
        picture = str(root / "scenes" / "one" / "thumbnail.png")
        collection = {**collection_document("scenes"), "assets": {"thumbnail": {"href": picture}}}
        app = create_app(tmp_path / "c.sqlite", token=TOKEN, store=LocalStorage(root))
        with serving(app) as url, httpx.Client(base_url=url, headers=WRITER) as client:
            assert client.post("/collections", json=collection).status_code == 201
            read = client.get("/collections/scenes").json()
            assert read["assets"]["thumbnail"]["href"] == f"{url}/files/scenes/one/thumbnail.png"
            assert client.put("/collections/scenes", json=read).json() == read
            item = {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": "one",
                "geometry": None,
                "links": [],
                "properties": {"datetime": "2024-05-01T10:00:00Z"},
                "assets": {"thumbnail": {"href": f"{url}/files/scenes/one/thumbnail.png"}},
            }
            both = {"type": "FeatureCollection", "features": [item]}
            assert client.post("/collections/scenes/items", json=both).status_code == 201
        with EmbeddedClient(tmp_path / "c.sqlite") as local:
            assert local.items("scenes", ["one"])[0]["assets"]["thumbnail"]["href"] == picture
            assert local.collections()[0]["assets"]["thumbnail"]["href"] == picture

    @pytest.mark.parametrize(
        "href",
        [
            "/elsewhere/scenes/a/b.tif",
            "/data/store-2/scenes/a/b.tif",
            "/data/store/catalogue.sqlite",
            "/data/store/scenes/../catalogue.sqlite",
            "https://example.org/data/store/scenes/a/b.tif",
            "../relative.tif",
        ],
    )
    def test_what_is_not_ours_to_serve_stays(self, href):
        addresses = StoreAddresses.of_store("/data/store")
        item = {"assets": {"a": {"href": href}}, "links": [{"rel": "x", "href": href}]}
        assert addresses.to_web(item, "http://h/") == item
        assert addresses.from_web(item, "http://h/") == item

    @pytest.mark.parametrize("name", ["b c.tif", "ä#?.tif", "100%25.tif", "a+b&c.tif"])
    @pytest.mark.parametrize("root", ["/data/store", "s3://bucket/prefix"])
    def test_odd_names_come_back(self, root, name):
        addresses = StoreAddresses.of_store(root)
        item = {"assets": {"a": {"href": f"{root}/scenes/p/{name}"}}}
        web_item = addresses.to_web(item, "http://h/stac/")
        assert web_item["assets"]["a"]["href"] == f"http://h/stac/files/scenes/p/{quote(name)}"
        assert addresses.from_web(web_item, "http://h/stac/") == item

    def test_malformed_documents_pass_on(self):
        addresses = StoreAddresses.of_store("/data/store")
        for document in ({"assets": 3, "links": {}}, {"assets": {"a": 1}, "links": [2, {"href": 3}]}, {}):
            assert addresses.from_web(document, "http://h/") == document


class TestReaders:
    def test_xarray_opens_the_cube(self, web, published):
        item = web.get(f"/collections/scenes/items/{published.item['id']}").json()
        with xr.open_zarr(item["assets"]["data"]["href"], consolidated=True) as far:
            local = published.item["assets"]["data"]["href"]
            with xr.open_zarr(local) as near:
                xr.testing.assert_identical(far.load(), near.load())
                assert far["red"].shape == (200, 240)

    def test_gdal_opens_the_preview(self, web, published):
        item = web.get(f"/collections/scenes/items/{published.item['id']}").json()
        local = published.root / published.product / "preview.tif"
        with rasterio.open(local) as near:
            assert far_checksums(f"/vsicurl/{item['assets']['preview']['href']}") == {
                "crs": near.crs.to_string(),
                "transform": list(near.transform),
                "sums": [near.checksum(band) for band in near.indexes],
            }

    def test_gdal_opens_a_search(self, web):
        mosaic = far_checksums(f'STACIT:"{web.base_url}/search?collections=scenes":asset=preview')
        assert mosaic["crs"] == "EPSG:32633"
        assert len(mosaic["sums"]) == 3
        assert all(mosaic["sums"])

    def test_pystac_client_finds_what_opens(self, web, published):
        (item,) = pystac_client.Client.open(str(web.base_url)).search(collections=["scenes"]).items()
        thumbnail = httpx.get(item.assets["thumbnail"].href)
        assert thumbnail.content == published.data("thumbnail.png")


class TestBucket:
    @pytest.fixture
    def bucket_web(self, s3_environment, tmp_path):
        client = boto3.client("s3")
        data = bytes(range(256)) * 40
        for name in ("scenes/p/preview.tif", "catalogue.sqlite"):
            client.put_object(Bucket=urlsplit(s3_environment).netloc, Key=f"pre/{name}", Body=data)
        store = open_storage(f"{s3_environment}/pre")
        app = create_app(tmp_path / "c.sqlite", token=None, store=store)
        with serving(app) as url, httpx.Client(base_url=url) as web:
            yield web, data

    def test_objects_are_passed_on(self, bucket_web):
        web, data = bucket_web
        whole = web.get("/files/scenes/p/preview.tif")
        assert (whole.status_code, whole.content) == (200, data)
        assert whole.headers["Content-Type"] == COG_TYPE
        head = web.head("/files/scenes/p/preview.tif")
        assert (head.headers["Content-Length"], head.content) == (str(len(data)), b"")
        part = web.get("/files/scenes/p/preview.tif", headers={"Range": "bytes=-16"})
        assert (part.status_code, part.content) == (206, data[-16:])
        assert part.headers["Content-Range"] == f"bytes {len(data) - 16}-{len(data) - 1}/{len(data)}"
        beyond = web.get("/files/scenes/p/preview.tif", headers={"Range": f"bytes={len(data)}-"})
        assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
        again = web.get("/files/scenes/p/preview.tif", headers={"If-None-Match": whole.headers["ETag"]})
        assert again.status_code == 304

    def test_nothing_else_is(self, bucket_web):
        web, _ = bucket_web
        for name in ("catalogue.sqlite", "scenes/p/none.tif", "scenes/p/../../catalogue.sqlite"):
            assert web.get(f"/files/{name}").status_code == 404

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("bytes=0-0", (0, 1)),
            ("bytes=5-", (5, 100)),
            ("bytes=-5", (95, 100)),
            ("bytes=-500", (0, 100)),
            ("bytes=90-500", (90, 100)),
            ("bytes=100-", (100, 100)),
            ("bytes=9-3", None),
            ("bytes=-", None),
            ("bytes=0-1,4-5", None),
            ("items=0-1", None),
            ("", None),
        ],
    )
    def test_ranges(self, text, expected):
        assert parse_range(text, 100) == expected


def test_without_a_store_nothing_is_served(published):
    app = create_app(published.catalogue, token=None)
    with serving(app) as url:
        item = httpx.get(f"{url}/search").json()["features"][0]
        assert item["assets"] == json.loads(json.dumps(published.item["assets"]))
        assert httpx.get(f"{url}/files/{published.product}/thumbnail.png").status_code == 404
