"""Whatever is sent, the catalogue answers or refuses; its clock, extents and patches by closed form."""

import datetime as dt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalog.database.documents import check_collection, check_item, merge_patch
from catalog.database.extents import join_bounds
from catalog.database.filters import SearchQuery, check_query
from catalog.database.times import format_moment, parse_interval, parse_moment
from catalog.server.requests import query_from_text
from infra.errors import InputError

ITEM = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "a",
    "collection": "c",
    "geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]},
    "bbox": [0, 0, 1, 1],
    "properties": {"datetime": "2024-05-01T10:00:00Z"},
    "links": [{"rel": "self", "href": "x"}],
    "assets": {},
}
COLLECTION = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "c",
    "description": "d",
    "license": "CC0-1.0",
    "links": [],
    "extent": {
        "spatial": {"bbox": [[0, 0, 1, 1]]},
        "temporal": {"interval": [["2024-01-01T00:00:00Z", None]]},
    },
}
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=6)
    | st.sampled_from(
        ["Point", "Polygon", "MultiPolygon", "GeometryCollection", "2024-05-01T10:00:00Z", "a/b"]
    )
)
KEYS = st.sampled_from(
    ["type", "coordinates", "geometries", "rel", "href", "bbox", "spatial", "temporal", "datetime"]
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


def paths(document, prefix=()):
    """List every place in a document."""
    yield prefix
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from paths(value, (*prefix, key))


def refusal(*calls):
    """Return why a call was refused, or nothing; any other failure is the test's."""
    try:
        for call in calls:
            call()
    except InputError as exc:
        return str(exc)
    return ""


def put(document, path, value):
    """Return the document with one place exchanged."""
    if not path:
        return value
    copy = dict(document) if isinstance(document, dict) else list(document)
    copy[path[0]] = put(document[path[0]], path[1:], value)
    return copy


@pytest.mark.parametrize(("check", "document"), [(check_item, ITEM), (check_collection, COLLECTION)])
@given(data=st.data())
@settings(max_examples=400, deadline=None)
def test_a_document_with_anything_anywhere_is_taken_or_refused(check, document, data):
    path = data.draw(st.sampled_from(list(paths(document))))
    broken = put(document, path, data.draw(JSON))
    assert "\n" not in refusal(lambda: check(broken))


@given(
    query=st.fixed_dictionaries(
        {},
        optional={
            "bbox": st.lists(st.floats() | st.integers(), max_size=7),
            "intersects": st.dictionaries(KEYS, JSON, max_size=3),
            "datetime": st.text(st.sampled_from("0123456789-:TZ./+"), max_size=45) | st.text(max_size=5),
            "ids": st.lists(st.text(st.characters(), max_size=4), max_size=3),
            "limit": st.integers(),
        },
    )
)
@settings(max_examples=400, deadline=None)
def test_any_search_is_taken_or_refused(query):
    asked = SearchQuery(**query)
    assert "\n" not in refusal(lambda: check_query(asked), asked.digest)


@given(text=st.fixed_dictionaries({}, optional={name: st.text() for name in ("bbox", "intersects", "ids")}))
def test_any_address_is_taken_or_refused(text):
    refusal(lambda: check_query(query_from_text(text)))


class TestMoments:
    @given(st.datetimes(timezones=st.just(dt.UTC)))
    def test_round_trip(self, moment):
        moment_us = parse_moment(moment.isoformat(), where="test")
        assert moment_us == (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
        assert parse_moment(format_moment(moment_us), where="test") == moment_us

    @pytest.mark.parametrize(
        ("text", "moment_us"),
        [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T00:00:00.1234567891z", 123_456),
            ("1969-12-31t23:59:59.999999Z", -1),
            ("1970-01-01T02:00:00+02:00", 0),
            ("1969-12-31T22:30:00-01:30", 0),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000_000),
        ],
    )
    def test_by_hand(self, text, moment_us):
        assert parse_moment(text, where="test") == moment_us

    def test_intervals(self):
        assert parse_interval("1970-01-01T00:00:00Z") == (0, 0)
        assert parse_interval("1970-01-01T00:00:00Z/..") == (0, None)
        assert parse_interval("/1970-01-01T00:00:00Z") == (None, 0)


BOUNDS = st.tuples(*[st.integers(-180, 180)] * 2, *[st.integers(-90, 90)] * 2).map(
    lambda v: (float(v[0]), float(min(v[2:])), float(v[1]), float(max(v[2:])))
)


@given(held=BOUNDS, boxes=st.permutations([]) | st.lists(BOUNDS, max_size=5))
def test_joined_bounds_hold_all_in_any_order(held, boxes):
    def fold(sequence):
        joined = held
        for box in sequence:
            joined = join_bounds(joined, box)
        return joined

    def holds(outer, lon, lat):
        west, south, east, north = outer
        inside = west <= lon <= east if west <= east else lon >= west or lon <= east
        return inside and south <= lat <= north

    joined = fold(boxes)
    assert joined == fold(boxes[::-1])
    for box in [held, *boxes]:
        assert holds(joined, box[0], box[1])
        assert holds(joined, box[2], box[3])


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(target, patch, merged):
    assert merge_patch(target, patch) == merged
