"""Searches of the SQLite catalogue: space, time, paging, and equality with a brute-force filter."""

import datetime as dt

import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalog.database import searching
from catalog.database.backend import SearchQuery, SqliteCatalogue
from infra.errors import InputError

DAY_0 = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def make_collection(name="scenes"):
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": name,
        "description": "Scenes.",
        "license": "CC0-1.0",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }


def make_item(item_id, *, geometry=None, bbox=None, when="2024-05-01T10:00:00Z", collection="scenes"):
    geometry = geometry or shapely.box(10, 50, 11, 51)
    start, _, end = when.partition("/")
    times = {"datetime": None, "start_datetime": start, "end_datetime": end} if end else {"datetime": start}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": collection,
        "geometry": shapely.geometry.mapping(geometry),
        "bbox": list(bbox or geometry.bounds),
        "properties": times,
        "links": [],
        "assets": {},
    }


@pytest.fixture
def catalogue(tmp_path):
    made = SqliteCatalogue(tmp_path / "catalogue.sqlite")
    made.upsert_collection(make_collection())
    made.upsert_collection(make_collection("osm"))
    yield made
    made.close()


def find(catalogue, **query):
    return {item["id"] for item in catalogue.search(SearchQuery(limit=10_000, **query)).items}


class TestSpace:
    def test_touching_counts_and_a_hair_beside_does_not(self, catalogue):
        catalogue.upsert_items([make_item("a", geometry=shapely.box(10, 50, 11.1, 51))])
        assert find(catalogue, bbox=(11.1, 50, 12, 51)) == {"a"}
        # 1e-9 degrees is far below what the R*Tree's float32 can tell
        assert find(catalogue, bbox=(11.1 + 1e-9, 50, 12, 51)) == set()

    def test_the_shape_counts_not_its_bounds(self, catalogue):
        triangle = shapely.Polygon([(0, 0), (10, 0), (0, 10)])
        catalogue.upsert_items([make_item("a", geometry=triangle)])
        assert find(catalogue, bbox=(8, 8, 9, 9)) == set()
        assert find(catalogue, bbox=(4, 4, 9, 9)) == {"a"}
        assert find(catalogue, intersects={"type": "Point", "coordinates": [6, 6]}) == set()
        assert find(catalogue, intersects={"type": "Point", "coordinates": [4, 4]}) == {"a"}
        line = {"type": "LineString", "coordinates": [[20, 20], [5, 5]]}
        assert find(catalogue, intersects=line) == {"a"}

    @pytest.mark.parametrize(
        ("geometry", "bbox"),
        [
            (
                shapely.MultiPolygon([shapely.box(175, -20, 180, -15), shapely.box(-180, -20, -175, -15)]),
                None,
            ),
            (
                shapely.MultiPolygon([shapely.box(175, -20, 180, -15), shapely.box(-180, -20, -175, -15)]),
                (175, -20, -175, -15),
            ),
            (shapely.Polygon([(175, -20), (-175, -20), (-175, -15), (175, -15)]), (175, -20, -175, -15)),
        ],
        ids=["cut, bbox of the whole world", "cut", "not cut"],
    )
    def test_items_across_the_antimeridian(self, catalogue, geometry, bbox):
        catalogue.upsert_items([make_item("a", geometry=geometry, bbox=bbox)])
        for hit in [(170, -30, 176, 0), (-176, -30, -170, 0), (179, -18, -179, -17), (-180, -90, 180, 90)]:
            assert find(catalogue, bbox=hit) == {"a"}, hit
        for miss in [(0, -30, 170, 0), (-174, -30, 0, 0), (170, -30, 174, 0), (170, 0, -170, 5)]:
            assert find(catalogue, bbox=miss) == set(), miss

    def test_a_box_across_the_antimeridian(self, catalogue):
        places = {"fiji": 178, "samoa": -172, "rome": 12}
        catalogue.upsert_items(
            [make_item(n, geometry=shapely.box(x, 0, x + 1, 1)) for n, x in places.items()]
        )
        assert find(catalogue, bbox=(170, -10, -170, 10)) == {"fiji", "samoa"}

    def test_elevations(self, catalogue):
        low = make_item("low", bbox=(10, 50, 0, 11, 51, 100))
        high = make_item("high", bbox=(10, 50, 500, 11, 51, 600))
        catalogue.upsert_items([low, high, make_item("flat")])
        assert find(catalogue, bbox=(10, 50, 50, 11, 51, 200)) == {"low", "flat"}
        assert find(catalogue, bbox=(10, 50, 11, 51)) == {"low", "high", "flat"}

    def test_items_without_geometry_are_found_by_all_but_place(self, catalogue):
        catalogue.upsert_items([{**make_item("a"), "geometry": None}])
        assert find(catalogue) == {"a"}
        assert find(catalogue, bbox=(-180, -90, 180, 90)) == set()

    def test_a_footprint_that_crosses_itself_is_refused(self, catalogue):
        bow_tie = shapely.Polygon([(0, 0), (2, 2), (2, 0), (0, 2)])
        with pytest.raises(InputError, match=r"item 'a': geometry is not valid \(Self-intersection"):
            catalogue.upsert_items([make_item("a", geometry=bow_tie)])
        assert catalogue.count() == 0

    def test_every_kind_of_geometry(self, catalogue):
        shapes = [
            shapely.Point(1, 1),
            shapely.MultiPoint([(1, 1), (5, 5)]),
            shapely.LineString([(0, 0), (2, 2)]),
            shapely.MultiLineString([[(0, 0), (2, 2)]]),
            shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(3, 3, 4, 4)]),
            shapely.Polygon([(0, 0), (3, 0), (3, 3), (0, 3)], [[(1.5, 1.5), (2, 1.5), (2, 2)]]),
        ]
        catalogue.upsert_items([make_item(s.geom_type, geometry=s) for s in shapes])
        names = {shape.geom_type for shape in shapes}
        assert find(catalogue, bbox=(1, 1, 1, 1)) == names
        for shape in shapes:
            assert find(catalogue, intersects=shapely.geometry.mapping(shape)) == names

    @pytest.mark.parametrize(
        "bbox", [(1, 2, 3), (0, 2, 1, 1), (float("nan"), 0, 1, 1), (0, 0, 1, 91), (0, 0, 181, 1)]
    )
    def test_malformed_boxes(self, catalogue, bbox):
        with pytest.raises(InputError, match="bbox"):
            find(catalogue, bbox=bbox)

    @pytest.mark.parametrize(
        "geometry",
        [
            {},
            {"type": "Feature"},
            {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]},
            {"type": "Point", "coordinates": [0, "x"]},
            {"type": "GeometryCollection", "geometries": [{"type": "Nonsense"}]},
        ],
    )
    def test_malformed_geometries(self, catalogue, geometry):
        with pytest.raises(InputError, match="intersects"):
            find(catalogue, intersects=geometry)

    def test_box_and_geometry_exclude_each_other(self, catalogue):
        with pytest.raises(InputError, match="exclude"):
            find(catalogue, bbox=(0, 0, 1, 1), intersects={"type": "Point", "coordinates": [0, 0]})


class TestTime:
    @pytest.fixture
    def dated(self, catalogue):
        catalogue.upsert_items(
            [
                make_item("may", when="2024-05-01T10:00:00Z"),
                make_item("june", when="2024-06-01T12:00:00.25+02:00"),
                make_item("spring", when="2024-03-01T00:00:00Z/2024-05-31T23:59:59Z"),
                make_item("decade", when="2015-01-01T00:00:00Z/2024-12-31T00:00:00Z"),
            ]
        )
        return catalogue

    @pytest.mark.parametrize(
        ("datetime", "found"),
        [
            ("2024-05-01T10:00:00Z", {"may", "spring", "decade"}),
            ("2024-05-01T12:00:00+02:00", {"may", "spring", "decade"}),
            ("2024-05-01T10:00:00.000001Z", {"spring", "decade"}),
            ("2024-06-01T10:00:00.25z", {"june", "decade"}),
            ("2024-05-01T10:00:00Z/2024-06-01T10:00:00.25Z", {"may", "june", "spring", "decade"}),
            ("2024-06-01T00:00:00Z/..", {"june", "decade"}),
            ("2024-06-01T00:00:00Z/", {"june", "decade"}),
            ("../2024-03-01T00:00:00Z", {"spring", "decade"}),
            ("/2024-02-29t23:59:59Z", {"decade"}),
            ("2018-01-01T00:00:00Z", {"decade"}),
            ("2025-01-01T00:00:00Z/..", set()),
        ],
    )
    def test_instants_and_intervals(self, dated, datetime, found):
        assert find(dated, datetime=datetime) == found
        assert find(dated, datetime=datetime, collections=["scenes"]) == found
        assert find(dated, datetime=datetime, bbox=(0, 0, 90, 90)) == found

    @pytest.mark.parametrize(
        "datetime",
        [
            "",
            "..",
            "/",
            "../..",
            "2024",
            "2024-05-01",
            "2024-05-01T10:00:00",
            "2024-05-01T10:00:00Z/2024-04-01T10:00:00Z",
            "2024-05-01T10:00:00Z/2024-05-01T10:00:00Z/..",
            "2024-13-01T10:00:00Z",
            "2024-05-01T10:00:00+25:00",
            "2024-05-01T10:00:00,5Z",
            "２０２４-05-01T10:00:00Z",
        ],
    )
    def test_malformed_datetimes(self, dated, datetime):
        with pytest.raises(InputError, match="date"):
            find(dated, datetime=datetime)


class TestNames:
    def test_ids_and_collections(self, catalogue):
        catalogue.upsert_items([make_item("a"), make_item("b"), make_item("a", collection="osm")])
        assert catalogue.count(SearchQuery(ids=["a"])) == 2
        assert catalogue.count(SearchQuery(ids=["a", "a", "zzz"], collections=["osm", "nowhere"])) == 1
        assert catalogue.count(SearchQuery(collections=["osm", "scenes"])) == 3
        assert catalogue.count(SearchQuery(ids=[])) == catalogue.count(SearchQuery(collections=[])) == 0
        assert catalogue.count(SearchQuery(ids=[f"i{n}" for n in range(50_000)])) == 0

    def test_names_are_not_sql(self, catalogue):
        catalogue.upsert_items([make_item("a")])
        assert find(catalogue, ids=["' OR 1=1 --"], collections=['"; DROP TABLE items; --']) == set()
        assert catalogue.count() == 1


class TestPaging:
    def walk(self, catalogue, limit, between=lambda: None, **query):
        seen, token = [], None
        while True:
            page = catalogue.search(SearchQuery(limit=limit, token=token, **query))
            seen += [(item["collection"], item["id"]) for item in page.items]
            if page.next_token is None:
                return seen
            token = page.next_token
            assert len(seen) < 10_000, "paging does not come to an end"
            between()

    @pytest.mark.parametrize("limit", [1, 3, 7, 100])
    @pytest.mark.parametrize(
        "query", [{}, {"bbox": (0, 0, 90, 90)}, {"collections": ["scenes"]}, {"ids": ["i1", "i2"]}]
    )
    def test_every_item_once_newest_first(self, catalogue, limit, query):
        when = [f"2024-05-0{1 + n % 3}T00:00:00Z" for n in range(20)]  # many share a moment
        catalogue.upsert_items([make_item(f"i{n}", when=when[n]) for n in range(20)])
        catalogue.upsert_items([make_item(f"i{n}", when=when[n], collection="osm") for n in range(20)])
        everything = self.walk(catalogue, 10_000, **query)
        assert self.walk(catalogue, limit, **query) == everything
        assert len(set(everything)) == len(everything) > 1
        moments = [when[int(item_id[1:])] for _, item_id in everything]
        assert moments == sorted(moments, reverse=True)

    def test_exact_while_items_come_change_and_go(self, catalogue):
        first = [make_item(f"i{n:02}", when=f"2024-05-{1 + n:02}T00:00:00Z") for n in range(30)]
        catalogue.upsert_items(first)
        catalogue.upsert_items([make_item(f"gone{n}", when="2024-05-15T12:00:00Z") for n in range(3)])
        count = iter(range(1000))

        def disturb():
            n = next(count)
            when = f"2024-05-{1 + n * 7 % 28:02}T06:00:00Z"
            catalogue.upsert_items(
                [make_item(f"new{n}", when=when), {**first[n % 30], "description": f"{n}"}]
            )
            if n < 3:
                catalogue.delete_item("scenes", f"gone{n}")

        seen = [item_id for _, item_id in self.walk(catalogue, 4, disturb)]
        assert len(seen) == len(set(seen))
        assert [item_id for item_id in seen if item_id.startswith("i")] == [
            f"i{n:02}" for n in reversed(range(30))
        ]

    def test_tokens_belong_to_one_search_and_cannot_be_bent(self, catalogue):
        catalogue.upsert_items([make_item(f"i{n}") for n in range(5)])
        token = catalogue.search(SearchQuery(limit=2)).next_token
        assert catalogue.search(SearchQuery(limit=3, token=token)).next_token is None  # the limit may change
        bent = [
            token[:k] + ("A" if token[k] != "A" else "B") + token[k + 1 :] for k in range(0, len(token), 3)
        ]
        for bad in ["", "x", "é", token[:-4], token + "AAAA", "A" * 5000, "bnVsbA", "WzEsMiwzLDRd", *bent]:
            with pytest.raises(InputError, match="token"):
                catalogue.search(SearchQuery(limit=2, token=bad))
        with pytest.raises(InputError, match="token"):
            catalogue.search(SearchQuery(limit=2, token=token, bbox=(0, 0, 90, 90)))

    def test_limits(self, catalogue):
        for limit in (0, -1):
            with pytest.raises(InputError, match="limit"):
                catalogue.search(SearchQuery(limit=limit))
        assert catalogue.search(SearchQuery(limit=10**30)).items == []


# few values, so that touching is common; no float32 holds them exactly, which is what the R*Tree stores
LONGITUDES = st.integers(-18, 18).map(lambda n: n * 9.9) | st.sampled_from([-180.0, 180.0])
LATITUDES = st.integers(-18, 18).map(lambda n: n * 4.9)


def lon_lat_boxes(draw):
    west, east = sorted(draw(st.tuples(LONGITUDES, LONGITUDES)))
    south, north = sorted(draw(st.tuples(LATITUDES, LATITUDES)))
    return west, south, east, north


@st.composite
def geometries(draw):
    """Boxes, triangles and points."""
    west, south, east, north = lon_lat_boxes(draw)
    if west == east or south == north:
        return shapely.Point(west, south)
    if draw(st.booleans()):
        return shapely.box(west, south, east, north)
    return shapely.Polygon([(west, south), (east, south), (west, north)])


@st.composite
def footprints(draw):
    """An item's shape and bbox; some cross the antimeridian, cut there or not."""
    west, south, east, north = lon_lat_boxes(draw)
    if draw(st.integers(0, 3)) or not -180 < west < 0 < east < 180 or south == north or east - west <= 180:
        shape = draw(geometries())
        return shape, shape, shape.bounds
    halves = shapely.MultiPolygon(
        [shapely.box(east, south, 180, north), shapely.box(-180, south, west, north)]
    )
    whole = shapely.box(west, south, east, north)  # as some publish it: the wrong way round the world
    return halves, draw(st.sampled_from([halves, whole])), (east, south, west, north)


@st.composite
def moments(draw):
    start = draw(st.integers(0, 20))
    return start, start + draw(st.sampled_from([0, 0, 0, 1, 10]))


def spell(day):
    return (DAY_0 + dt.timedelta(days=day)).strftime("%Y-%m-%dT%H:%M:%SZ")


@st.composite
def queries(draw):
    query, cut = {}, None
    where = draw(st.sampled_from(["none", "box", "crossing", "shape"]))
    if where in ("box", "crossing"):
        west, south, east, north = lon_lat_boxes(draw)
        if where == "crossing" and west < east:
            west, east = east, west
        query["bbox"] = (west, south, east, north)
        cut = [(west, south, east, north)]
        if west > east:
            cut = [(west, south, 180, north), (-180, south, east, north)]
    if where == "shape":
        shape = draw(geometries())
        query["intersects"] = shapely.geometry.mapping(shape)
        cut = [shape]
    days = [None, None]
    if draw(st.booleans()):
        days = sorted(draw(st.tuples(*[st.integers(0, 30)] * 2)))
        open_end = draw(st.sampled_from([0, 1, 2]))
        if open_end < 2:
            days[open_end] = None
        query["datetime"] = "/".join(".." if day is None else spell(day) for day in days)
    if draw(st.booleans()):
        query["collections"] = draw(st.lists(st.sampled_from(["scenes", "osm", "none"]), max_size=3))
    if draw(st.integers(0, 4)) == 0:
        query["ids"] = [f"i{n}" for n in draw(st.lists(st.integers(0, 12), max_size=6))]
    return query, cut, days


def is_wanted(item, query, cut, days):
    if "collections" in query and item["collection"] not in query["collections"]:
        return False
    if "ids" in query and item["id"] not in query["ids"]:
        return False
    first, last = item["days"]
    if days[0] is not None and last < days[0]:
        return False
    if days[1] is not None and first > days[1]:
        return False
    if cut is None:
        return True
    return any(meets(item["shape"], part) for part in cut)


def meets(shape, part):
    if not isinstance(part, tuple):
        return shapely.intersects(part, shape)
    west, south, east, north = part
    if west == east and south == north:
        return shapely.intersects(shapely.Point(west, south), shape)
    if west == east or south == north:
        return shapely.intersects(shapely.LineString([(west, south), (east, north)]), shape)
    return shapely.intersects(shapely.box(*part), shape)


@pytest.mark.parametrize("region_cap", [0, 10**9], ids=["walking time", "walking the region"])
@given(
    items=st.lists(
        st.tuples(footprints(), moments(), st.sampled_from(["scenes", "osm"])), min_size=1, max_size=12
    ),
    asked=st.lists(queries(), min_size=1, max_size=4),
    limit=st.integers(1, 6),
)
@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_searches_equal_a_brute_force_filter(tmp_path_factory, monkeypatch, region_cap, items, asked, limit):
    monkeypatch.setattr(searching, "CANDIDATES_CAP", region_cap)
    catalogue = brute_catalogue(tmp_path_factory)
    known = []
    for n, ((shape, published, bbox), days, collection) in enumerate(items):
        place = {"shape": shape, "published": published, "bbox": bbox}
        known.append({"id": f"i{n}", "collection": collection, "days": days, **place})
    catalogue.upsert_items(
        make_item(
            k["id"],
            geometry=k["published"],
            bbox=k["bbox"],
            when=spell(k["days"][0]) if len(set(k["days"])) == 1 else "/".join(map(spell, k["days"])),
            collection=k["collection"],
        )
        for k in known
    )
    try:
        for query, cut, days in asked:
            wanted = {k["id"] for k in known if is_wanted(k, query, cut, days)}
            found = [item_id for _, item_id in TestPaging().walk(catalogue, limit, **query)]
            assert sorted(found) == sorted(wanted), query
            assert catalogue.count(SearchQuery(**query)) == len(wanted)
    finally:
        for k in known:
            catalogue.delete_item(k["collection"], k["id"])


_BRUTE = {}


def brute_catalogue(tmp_path_factory):
    """Keep one file for all examples: making a file costs more than a search."""
    if "catalogue" not in _BRUTE:
        _BRUTE["catalogue"] = SqliteCatalogue(tmp_path_factory.mktemp("brute") / "catalogue.sqlite")
        for name in ("scenes", "osm"):
            _BRUTE["catalogue"].upsert_collection(make_collection(name))
    return _BRUTE["catalogue"]
