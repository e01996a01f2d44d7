"""Which fields of a document are answered."""

import pytest

from catalog.server.projection import Projection, read_projection
from infra.errors import InputError

ITEM = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "stac_extensions": ["https://example.org/x.json"],
    "id": "a",
    "collection": "scenes",
    "geometry": {"type": "Point", "coordinates": [1, 2]},
    "bbox": [1, 2, 1, 2],
    "properties": {
        "datetime": "2024-05-01T00:00:00Z",
        "eo:cloud_cover": 3,
        "id": 7,
        "processing": {"level": "L2", "version": "1"},
    },
    "links": [{"rel": "self", "href": "https://example.org"}],
    "assets": {"red.tif": {"href": "r", "type": "image/tiff"}, "nir": {"href": "n"}},
}
KEPT = {name: ITEM[name] for name in ("type", "stac_version", "id", "collection")}


def without(document, *names):
    return {name: value for name, value in document.items() if name not in names}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("id", KEPT),
        ("geometry", KEPT | {"geometry": ITEM["geometry"]}),
        ("+geometry,bbox", KEPT | {"geometry": ITEM["geometry"], "bbox": ITEM["bbox"]}),
        (" geometry", KEPT | {"geometry": ITEM["geometry"]}),
        ("properties.eo:cloud_cover", KEPT | {"properties": {"eo:cloud_cover": 3}}),
        ("eo:cloud_cover", KEPT | {"properties": {"eo:cloud_cover": 3}}),
        ("properties.processing.level", KEPT | {"properties": {"processing": {"level": "L2"}}}),
        ("assets.red.tif.href", KEPT | {"assets": {"red.tif": {"href": "r"}}}),
        ("nothing,assets.green", KEPT),
        ("-geometry,-assets", without(ITEM, "geometry", "assets")),
        ("-id,-collection", ITEM),
        (
            "-eo:cloud_cover,-properties.processing.version",
            ITEM
            | {"properties": without(ITEM["properties"], "eo:cloud_cover") | {"processing": {"level": "L2"}}},
        ),
        (
            "properties,-properties.datetime",
            KEPT | {"properties": without(ITEM["properties"], "datetime")},
        ),
        ("-properties,+properties.eo:cloud_cover", KEPT | {"properties": {"eo:cloud_cover": 3}}),
        ("bbox,-bbox", KEPT | {"bbox": ITEM["bbox"]}),
    ],
)
def test_fields_of_an_item(fields, expected):
    assert read_projection(fields).of_item(ITEM) == expected


def test_no_fields_are_what_makes_an_item_valid():
    least = without(ITEM, "stac_extensions") | {"properties": {"datetime": ITEM["properties"]["datetime"]}}
    assert read_projection("").of_item(ITEM) == read_projection(" ").of_item(ITEM) == least
    assert Projection(include=[]).of_item(ITEM) == least
    assert Projection(include=[], exclude=["assets"]).of_item(ITEM) == without(least, "assets")
    assert Projection(include=[], exclude=["properties"]).of_item(ITEM) == without(least, "properties")


def test_leaving_include_out_is_not_the_same_as_an_empty_one():
    assert Projection(exclude=["assets"]).of_item(ITEM) == without(ITEM, "assets")


def test_the_document_itself_stays_whole():
    before = repr(ITEM)
    trimmed = read_projection("properties,-properties.processing.level").of_item(ITEM)
    trimmed["properties"]["processing"]["more"] = 1
    assert repr(ITEM) == before


def test_fields_of_a_collection():
    collection = {"type": "Collection", "stac_version": "1.1.0", "id": "scenes", "title": "T", "keywords": []}
    assert set(read_projection("title").of_collection(collection)) == {"type", "stac_version", "id", "title"}
    assert read_projection("").of_collection(collection) == without(collection, "keywords")
    assert read_projection("-title").of_collection(collection) == without(collection, "title")


@pytest.mark.parametrize(
    "fields", [",", "a,", "-", "+", "a,,b", "a..b", ".a", "a.", ".".join("a" * 40), ",".join("a" * 1001)]
)
def test_malformed_fields(fields):
    with pytest.raises(InputError, match="fields"):
        read_projection(fields)
