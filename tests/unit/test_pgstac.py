"""An item that PostgreSQL has taken apart and put together again is told from one that changed."""

import json

import pytest
from pydantic import SecretStr

from catalog.pgstac.connections import name_database
from catalog.pgstac.sameness import is_same
from infra.errors import ConfigError


def make_item(**properties):
    return {
        "type": "Feature",
        "id": "a",
        "geometry": {"type": "Point", "coordinates": [10.0, 50.5]},
        "properties": {"datetime": "2024-05-01T10:00:00Z", **properties},
        "links": [{"rel": "derived_from", "href": "https://example.org/a"}],
        "assets": {},
    }


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ({"x": 10.0}, {"x": 10}),
        ({"x": 1e21}, {"x": 10**21}),
        ({"x": [1.0, {"y": -0.0}]}, {"x": [1, {"y": 0}]}),
        ({"created": "2024-01-01T00:00:00Z"}, {"created": "2025-01-01T00:00:00Z", "updated": "now"}),
    ],
)
def test_same(sent, held):
    assert is_same(make_item(**sent), make_item(**held))


@pytest.mark.parametrize(
    ("sent", "held"),
    [
        ({"x": 10.0}, {"x": 10.5}),
        ({"x": True}, {"x": 1}),
        ({"x": "1"}, {"x": 1}),
        ({"x": None}, {}),
        ({"x": [1, 2]}, {"x": [2, 1]}),
        ({"x": float("nan")}, {"x": None}),
        ({"x": 2**60 + 1}, {"x": 2**60}),
    ],
)
def test_different(sent, held):
    assert not is_same(make_item(**sent), make_item(**held))


def test_links_of_servers_do_not_count():
    server = [{"rel": rel, "href": "http://127.0.0.1/"} for rel in ("self", "root", "parent", "collection")]
    assert is_same(make_item(), make_item() | {"links": server + make_item()["links"]})
    assert not is_same(make_item(), make_item() | {"links": server})


@pytest.mark.parametrize(
    "broken", [{}, {"properties": None}, {"links": None}, {"links": [3]}, {"properties": 3}]
)
def test_malformed_items_differ_from_sound_ones(broken):
    assert not is_same({**make_item(), "properties": [], **broken}, make_item())


def test_spelling_survives_json():
    item = make_item(x=0.1 + 0.2, y=1e-9)
    assert is_same(item, json.loads(json.dumps(item)))


class TestNames:
    @pytest.mark.parametrize(
        ("address", "name"),
        [
            ("postgresql://ann:pa55word@db.example.org:5433/stac", "db.example.org:5433/stac"),
            ("postgres://ann@db/stac?sslmode=require", "db:5432/stac"),
        ],
    )
    def test_a_database_is_named_without_its_account(self, address, name):
        assert name_database(SecretStr(address)) == name

    @pytest.mark.parametrize(
        "address",
        [
            "",
            "host=db password=pa55word",
            "mysql://ann:pa55word@db/stac",
            "postgresql://ann:pa55word@db:x y/%zz",
        ],
    )
    def test_what_is_no_address_is_refused_without_its_password(self, address):
        with pytest.raises(ConfigError) as caught:
            name_database(SecretStr(address))
        assert "pa55word" not in str(caught.value)
        assert caught.value.__cause__ is None
