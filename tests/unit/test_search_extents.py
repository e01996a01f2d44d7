"""Area and time, compared as STAC item search does."""

import datetime as dt

import pytest

from catalog.search.find import make_query
from catalog.sources.extents import check_bbox, check_period, is_inside, parse_period
from infra.errors import DataError, InputError


def utc(*parts):
    return dt.datetime(*parts, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2020-06-01/2020-06-30", utc(2020, 6, 1), utc(2020, 6, 30, 23, 59, 59, 999999)),
        ("2020-06", utc(2020, 6, 1), utc(2020, 6, 30, 23, 59, 59, 999999)),
        ("2020-02/2020-02", utc(2020, 2, 1), utc(2020, 2, 29, 23, 59, 59, 999999)),
        ("2019/2020", utc(2019, 1, 1), utc(2020, 12, 31, 23, 59, 59, 999999)),
        ("2020-06-01/..", utc(2020, 6, 1), None),
        ("../2020-06-01", None, utc(2020, 6, 1, 23, 59, 59, 999999)),
        ("2020-06-01/", utc(2020, 6, 1), None),
        ("2020-06-01T10:00:00Z/2020-06-01T12:00:00+02:00", utc(2020, 6, 1, 10), utc(2020, 6, 1, 10)),
        ("2020-06-01T10:00:00Z", utc(2020, 6, 1, 10), utc(2020, 6, 1, 10)),
    ],
)
def test_periods(text, start, end):
    assert parse_period(text) == (start, end)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2020-06-30/2020-06-01", "the end is before the start"),
        ("2020-13-01/2020-14-01", "not a date of the calendar"),
        ("2020-02-30", "not a date of the calendar"),
        ("2020-13", "not a date of the calendar"),
        ("june", "neither a date nor an RFC 3339 time"),
        ("../..", "open on both sides"),
        ("a/b/c", "is not A/B"),
        ("", "is not A/B"),
    ],
)
def test_wrong_periods(text, message):
    with pytest.raises(InputError) as refused:
        parse_period(text)
    assert message in str(refused.value)


def test_swapped_instants_are_refused():
    with pytest.raises(InputError, match="the end is before the start"):
        check_period((utc(2021, 1, 1), utc(2020, 1, 1)))
    assert check_period((dt.datetime(2020, 1, 1), None)) == (utc(2020, 1, 1), None)


@pytest.mark.parametrize(
    ("bbox", "message"),
    [
        ((1, 2, 3), "four numbers"),
        ((1, 2, float("nan"), 4), "four numbers"),
        ((200, 2, 210, 4), "longitudes"),
        ((1, 4, 3, 2), "latitudes"),
        ((1, -91, 3, 2), "latitudes"),
        ((1, 2, 1, 4), "is a line"),
    ],
)
def test_wrong_boxes(bbox, message):
    with pytest.raises(InputError) as refused:
        check_bbox(bbox)
    assert message in str(refused.value)


def test_queries_are_checked():
    query = make_query(["b", "a", "b"], (1, 2, 3, 4), "2020", 5)
    assert (query.collections, query.bbox, query.max_items) == (("b", "a"), (1.0, 2.0, 3.0, 4.0), 5)
    assert make_query([], None, None).period == (None, None)
    with pytest.raises(InputError, match="at least 1"):
        make_query([], None, None, 0)


def box_item(west, south, east, north, *, bbox=None, **properties):
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {
        "id": "x",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": bbox or [west, south, east, north],
        "properties": {"datetime": "2020-06-15T00:00:00Z", **properties},
    }


CROSSING = {**box_item(179, -5, -179, 5), "geometry": None}
JUMPING = box_item(179, -5, -179, 5)  # one ring over the antimeridian, bbox W > E
BEYOND = box_item(179, -5, 181, 5)
SPLIT = {
    **JUMPING,
    "geometry": {
        "type": "MultiPolygon",
        "coordinates": [
            [[[179, -5], [180, -5], [180, 5], [179, 5], [179, -5]]],
            [[[-180, -5], [-179, -5], [-179, 5], [-180, 5], [-180, -5]]],
        ],
    },
}


@pytest.mark.parametrize(
    ("item", "bbox", "inside"),
    [
        (box_item(10, 50, 11, 51), (10.5, 50.5, 12, 52), True),
        (box_item(10, 50, 11, 51), (11, 51, 12, 52), True),  # touching counts, as in the API
        (box_item(10, 50, 11, 51), (11.1, 50, 12, 51), False),
        (box_item(10, 50, 11, 51), (170, 50, -170, 51), False),
        (box_item(175, 0, 176, 1), (170, -1, -170, 2), True),
        (box_item(-176, 0, -175, 1), (170, -1, -170, 2), True),
        (box_item(0, 0, 1, 1), (170, -1, -170, 2), False),
        *((item, (-179.5, -1, -179.2, 1), True) for item in (CROSSING, JUMPING, BEYOND, SPLIT)),
        *((item, (179.2, -1, 179.5, 1), True) for item in (CROSSING, JUMPING, BEYOND, SPLIT)),
        *((item, (179.2, -1, -179.5, 1), True) for item in (CROSSING, JUMPING, BEYOND, SPLIT)),
        *((item, (0, -1, 1, 1), False) for item in (CROSSING, JUMPING, BEYOND, SPLIT)),
        (box_item(-180, -90, 180, 90), (5, 5, 6, 6), True),
        ({**box_item(10, 50, 11, 51), "bbox": [10, 50, 0, 11, 51, 100]}, (10.5, 50.5, 12, 52), True),
    ],
)
def test_areas(item, bbox, inside):
    assert is_inside(item, bbox, (None, None)) is inside


def interval(end):
    return {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": end}


@pytest.mark.parametrize(
    ("properties", "inside"),
    [
        ({"datetime": "2020-06-01T00:00:00Z"}, True),
        ({"datetime": "2020-06-30T23:59:59Z"}, True),
        ({"datetime": "2020-05-31T23:59:59Z"}, False),
        ({"datetime": "2020-07-01T00:00:00Z"}, False),
        (interval("2020-06-02T00:00:00Z"), True),
        (interval("2020-02-02T00:00:00Z"), False),
    ],
)
def test_periods_of_items(properties, inside):
    item = box_item(10, 50, 11, 51, **properties)
    assert is_inside(item, None, parse_period("2020-06-01/2020-06-30")) is inside


@pytest.mark.parametrize(
    "broken",
    [
        {"properties": {"datetime": None}},
        {"properties": {"datetime": "never"}},
        {"geometry": {"type": "Polygon", "coordinates": "?"}},
        {"geometry": {"type": "Blob"}},
    ],
)
def test_items_that_cannot_be_compared(broken):
    with pytest.raises(DataError, match="item 'x'"):
        is_inside({**box_item(10, 50, 11, 51), **broken}, (0, 0, 1, 1), (None, None))
