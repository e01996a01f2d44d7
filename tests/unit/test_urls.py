"""What a foreign catalogue may make us read, as tables of addresses."""

import pickle

import pytest

from infra.errors import InputError
from infra.grants import grant_roots, granted_roots
from infra.urls import Reach, UrlPolicy, check_id, reach_of_host

HTTPS = "https://stac.example.org/v1"
HTTP = "http://stac.example.org/v1"
LOOPBACK = "http://127.0.0.1:8081"
PRIVATE = "http://10.1.2.3:8000/stac"


@pytest.fixture
def catalogue(tmp_path):
    root = tmp_path / "catalogue"
    (root / "items").mkdir(parents=True)
    (root / "catalog.json").write_text("{}")
    (root / "items" / "b04.tif").write_text("")
    (tmp_path / "secret.tif").write_text("")
    return root


@pytest.mark.parametrize(
    ("location", "href", "expected"),
    [
        (HTTPS, "https://data.example.com/b04.tif", "https://data.example.com/b04.tif"),
        (HTTPS, "HTTPS://Data.Example.COM./b04.tif", "https://data.example.com/b04.tif"),
        (HTTPS, "https://data.example.com:8443/b.tif?x=1#part", "https://data.example.com:8443/b.tif?x=1"),
        (HTTPS, "items/b04.tif", "https://stac.example.org/items/b04.tif"),
        (HTTPS, "/items/b04.tif", "https://stac.example.org/items/b04.tif"),
        (HTTPS, "s3://bucket.name/a/b04.tif", "s3://bucket.name/a/b04.tif"),
        (HTTP, "http://data.example.com/b04.tif", "http://data.example.com/b04.tif"),
        (LOOPBACK, "http://127.0.0.1:9000/b04.tif", "http://127.0.0.1:9000/b04.tif"),
        (LOOPBACK, "http://localhost:9000/b04.tif", "http://localhost:9000/b04.tif"),
        (LOOPBACK, "http://[::1]/b04.tif", "http://[::1]/b04.tif"),
        (LOOPBACK, "https://data.example.com/b04.tif", "https://data.example.com/b04.tif"),
        (PRIVATE, "http://10.1.2.3:9000/b04.tif", "http://10.1.2.3:9000/b04.tif"),
        ("https://stac.intranet/", "https://stac.intranet/b.tif", "https://stac.intranet/b.tif"),
        ("https://bücher.example/", "https://bücher.example/b.tif", "https://xn--bcher-kva.example/b.tif"),
    ],
)
def test_a_catalogue_may_name(location, href, expected):
    assert UrlPolicy.for_catalogue(location).check(href) == expected


@pytest.mark.parametrize(
    ("location", "href", "rule"),
    [
        (HTTPS, "http://data.example.com/b04.tif", "plain http"),
        (HTTPS, "http://stac.example.org/b04.tif", "plain http"),
        (HTTPS, "https://127.0.0.1/b04.tif", "loopback"),
        (HTTPS, "https://localhost/b04.tif", "loopback"),
        (HTTPS, "https://evil.localhost/b04.tif", "loopback"),
        (HTTPS, "https://LOCALHOST./b04.tif", "loopback"),
        (HTTPS, "https://2130706433/b04.tif", "loopback"),
        (HTTPS, "https://0x7f000001/b04.tif", "loopback"),
        (HTTPS, "https://0x7f.1/b04.tif", "loopback"),
        (HTTPS, "https://0177.0.0.1/b04.tif", "loopback"),
        (HTTPS, "https://127.1/b04.tif", "loopback"),
        (HTTPS, "https://0.0.0.0/b04.tif", "loopback"),
        (HTTPS, "https://[::1]/b04.tif", "loopback"),
        (HTTPS, "https://[::ffff:127.0.0.1]/b04.tif", "loopback"),
        (HTTPS, "https://[64:ff9b::7f00:1]/b04.tif", "loopback"),
        (HTTPS, "https://１２７.０.０.１/b04.tif", "loopback"),
        (HTTPS, "https://127。0。0。1/b04.tif", "loopback"),
        (HTTPS, "https://10.0.0.1/b04.tif", "private"),
        (HTTPS, "https://192.168.1.1/b04.tif", "private"),
        (HTTPS, "https://172.16.0.9/b04.tif", "private"),
        (HTTPS, "https://100.64.0.1/b04.tif", "private"),
        (HTTPS, "https://[fd00::1]/b04.tif", "private"),
        (HTTPS, "https://minio/b04.tif", "private"),
        (HTTPS, "https://metadata.google.internal/computeMetadata/v1", "private"),
        (HTTPS, "https://169.254.169.254/latest/meta-data", "link-local"),
        (HTTPS, "https://2852039166/latest/meta-data", "link-local"),
        (HTTPS, "https://[fe80::1%25eth0]/b04.tif", "percent-encoded"),
        (HTTPS, "https://224.0.0.1/b04.tif", "reserved"),
        (HTTPS, "https://127%2e0.0.1/b04.tif", "percent-encoded"),
        (HTTPS, "https://user:secret@data.example.com/b04.tif", "user name or password"),
        (HTTPS, "https://stac.example.org@127.0.0.1/b04.tif", "user name or password"),
        (HTTPS, "https:///b04.tif", "host is missing"),
        (HTTPS, "https://data.example.com:99999/b04.tif", "cannot be read as a URL"),
        (HTTPS, "//127.0.0.1/b04.tif", "names no scheme"),
        (HTTPS, "https:\\\\127.0.0.1/b04.tif", "backslash"),
        (HTTPS, "file:///etc/passwd", "local file"),
        (HTTPS, "ftp://data.example.com/b04.tif", "scheme 'ftp'"),
        (HTTPS, "gs://bucket/b04.tif", "scheme 'gs'"),
        (HTTPS, "zip+https://data.example.com/a.zip!b.tif", "scheme 'zip+https'"),
        (HTTPS, "/vsicurl/http://127.0.0.1/b04.tif", "GDAL"),
        (HTTPS, "/VSIZIP/a.zip/b.tif", "GDAL"),
        (HTTPS, "%2Fvsicurl/http://127.0.0.1/b.tif", "GDAL"),
        (HTTPS, "https://data.example.com/?vsicurl=http://127.0.0.1", "GDAL"),
        (HTTPS, "GTIFF_DIR:1:/etc/x.tif", "scheme 'gtiff_dir'"),
        (HTTPS, 'NETCDF:"/etc/x.nc":band', "scheme 'netcdf'"),
        (HTTPS, "https://data.example.com/b04.tif\nHost: x", "control characters"),
        (HTTPS, "https://data.example.com/b 04.tif", "white space"),
        (HTTPS, "https://data.example.com/mosaic.vrt", "VRT"),
        (HTTPS, "", "empty"),
        (HTTPS, "s3://Bucket_/b.tif", "s3://bucket/key"),
        (HTTPS, "s3://bucket/../other/b.tif", "climbs"),
        (HTTPS, "s3://bucket", "s3://bucket/key"),
        (HTTP, "http://127.0.0.1/b04.tif", "loopback"),
        (LOOPBACK, "http://10.0.0.1/b04.tif", "private"),
        (LOOPBACK, "http://169.254.169.254/latest", "link-local"),
        (PRIVATE, "http://10.1.2.4/b04.tif", "private"),
        (PRIVATE, "http://127.0.0.1/b04.tif", "loopback"),
    ],
)
def test_a_catalogue_may_not_name(location, href, rule):
    with pytest.raises(InputError, match="refused to read") as refused:
        UrlPolicy.for_catalogue(location).check(href)
    assert rule in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "href",
    ["items/b04.tif", "./items/b04.tif", "items/../items/b04.tif", "items/b%3004.tif".replace("%30", "0")],
)
def test_a_local_catalogue_may_name_files_below_it(catalogue, href):
    (catalogue / "items" / "b004.tif").write_text("")
    found = UrlPolicy.for_catalogue(str(catalogue)).check(href)
    assert found.startswith(str(catalogue / "items"))


def test_a_local_catalogue_reads_file_urls_spaces_and_encoded_names(catalogue):
    (catalogue / "a b.tif").write_text("")
    policy = UrlPolicy.for_catalogue(str(catalogue / "catalog.json"))
    expected = str(catalogue / "a b.tif")
    assert policy.check("a b.tif") == expected
    assert policy.check("a%20b.tif") == expected
    assert policy.check(f"file://{catalogue}/a%20b.tif") == expected
    assert policy.check(expected) == expected
    assert policy.check("b04.tif", base=str(catalogue / "items" / "i.json")).endswith("items/b04.tif")
    assert policy.check("https://data.example.com/b.tif") == "https://data.example.com/b.tif"


@pytest.mark.parametrize(
    ("href", "rule"),
    [
        ("../secret.tif", "outside the catalogue's folder"),
        ("items/../../secret.tif", "outside the catalogue's folder"),
        ("%2e%2e/secret.tif", "outside the catalogue's folder"),
        ("/etc/passwd", "outside the catalogue's folder"),
        ("file:///etc/passwd", "outside the catalogue's folder"),
        ("file://server/share/b.tif", "another machine"),
        ("link/secret.tif", "outside the catalogue's folder"),
        ("http://127.0.0.1/b.tif", "plain http"),
        ("https://127.0.0.1/b.tif", "loopback"),
        ("items/mosaic.VRT", "VRT"),
        ("a\x00b.tif", "control characters"),
    ],
)
def test_a_local_catalogue_may_not_leave_its_folder(catalogue, href, rule):
    (catalogue / "link").symlink_to(catalogue.parent)
    with pytest.raises(InputError) as refused:
        UrlPolicy.for_catalogue(str(catalogue)).check(href)
    assert rule in str(refused.value)


def test_users_may_allow_more(catalogue):
    policy = UrlPolicy.for_catalogue(
        str(catalogue), extra_hosts=["127.0.0.1:9000", "minio"], extra_roots=[catalogue.parent]
    )
    assert policy.check("../secret.tif") == str(catalogue.parent / "secret.tif")
    assert policy.check("http://127.0.0.1:9000/b.tif") == "http://127.0.0.1:9000/b.tif"
    assert policy.check("http://minio/b.tif") == "http://minio/b.tif"
    with pytest.raises(InputError):
        policy.check("http://127.0.0.1:9001/b.tif")
    assert pickle.loads(pickle.dumps(policy)) == policy


@pytest.mark.parametrize(
    "location", ["ftp://example.org", "s3://bucket/catalog.json", "https://u:p@example.org"]
)
def test_a_catalogue_must_be_somewhere_readable(location):
    with pytest.raises(InputError):
        UrlPolicy.for_catalogue(location)


def test_a_name_that_stands_for_a_private_address_is_refused_before_the_read(monkeypatch):
    answers = {"rebind.example.com": "10.0.0.5", "fine.example.com": "93.184.216.34"}

    def resolve(host, *_args, **_kwargs):
        return [(2, 1, 6, "", (answers[host], 0))]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    policy = UrlPolicy.for_catalogue(HTTPS)
    assert policy.check("https://rebind.example.com/b.tif")
    assert policy.check_resolved("https://fine.example.com/b.tif") == "https://fine.example.com/b.tif"
    with pytest.raises(InputError, match=r"rebind\.example\.com is 10\.0\.0\.5: a private address"):
        policy.check_resolved("https://rebind.example.com/b.tif")
    assert policy.check_resolved("s3://bucket/b.tif") == "s3://bucket/b.tif"


@pytest.mark.parametrize(
    ("host", "reach"),
    [
        ("example.org", Reach.PUBLIC),
        ("8.8.8.8", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("beef.dead", Reach.PUBLIC),
        ("printer.local", Reach.PRIVATE),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("2002:7f00:1::", Reach.LOOPBACK),
    ],
)
def test_reach_is_read_from_the_spelling(host, reach):
    assert reach_of_host(host) is reach


@pytest.mark.parametrize("identifier", ["S2A_28QCH_20200714_0_L2A", "a.b-c:d", "Überflug 3", "x" * 200])
def test_plain_ids_pass(identifier):
    assert check_id(identifier) == identifier


@pytest.mark.parametrize(
    "identifier", ["../x", "a/b", "a\\b", "..", ".", "a..b", "", "  ", None, 7, "a\nb", "a\x00", "x" * 201]
)
def test_ids_that_could_leave_a_folder_are_refused(identifier):
    with pytest.raises(InputError, match="item id"):
        check_id(identifier, what="item id")


def test_permissions_are_kept_with_the_user_not_in_the_catalogue(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    catalogue, images = tmp_path / "catalogue", tmp_path / "images"
    catalogue.mkdir()
    assert granted_roots(catalogue) == ()
    file = grant_roots(catalogue, [images])
    assert granted_roots(catalogue / "collection") == (str(images),)
    assert granted_roots(tmp_path) == ()
    file.write_text(file.read_text().replace(str(catalogue), "/elsewhere"))
    assert granted_roots(catalogue) == ()
