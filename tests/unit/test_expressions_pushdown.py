"""What is pushed into SQL: bounded index ranges, each kind in its own, every literal a parameter."""

import sqlite3
import time

import pytest

from catalog.database.expressions.parse import parse_filter, read_filter_text
from catalog.database.expressions.pushdown import push_down
from catalog.database.registry import Property
from catalog.database.values import MAX_TEXT_CHARS, Kind, encode_moment

EVERY = Kind(511)
PROPERTIES = {
    "n": Property(slot=0, indexed=True, kinds=Kind.NUMBER),
    "t": Property(slot=1, indexed=True, kinds=Kind.TEXT),
    "w": Property(slot=2, indexed=False, kinds=Kind.MOMENT),
    "x": Property(slot=3, indexed=True, kinds=EVERY),
    "far": Property(slot=None, indexed=False, kinds=EVERY),
}


def push(text):
    return push_down(parse_filter(read_filter_text(text)), PROPERTIES)


def spell(pushdown):
    """Write the parameters into the SQL, for reading only."""
    sql = pushdown.sql
    for name, value in sorted(pushdown.parameters.items(), reverse=True):
        sql = sql.replace(f":{name}", repr(value))
    return sql


@pytest.mark.parametrize(
    ("text", "sql", "exact"),
    [
        ("n = 1", "v.p0 = 1.0", True),
        ("1 < n", "v.p0 > 1.0 AND v.p0 < ''", True),
        ("not n >= 1", "v.p0 < 1.0", True),
        ("n <> 1", "v.p0 <> 1.0 AND v.p0 < ''", True),
        ("t < 'b'", "v.p1 < 'b' AND v.p1 >= ''", True),
        ("t > 'b'", "v.p1 > 'b' AND v.p1 < x''", True),
        ("n between 1 and 2", "v.p0 >= 1.0 AND v.p0 <= 2.0", True),
        ("n > 1 and n < 2", "v.p0 > 1.0 AND v.p0 < 2.0", True),
        ("not (n < 1 or n > 2)", "v.p0 >= 1.0 AND v.p0 <= 2.0", True),
        ("n = 1 or t = 'a'", "(v.p0 = 1.0 OR v.p1 = 'a')", True),
        ("n in (1, 2)", "v.p0 IN (1.0, 2.0)", True),
        ("n not in (1, 'a')", "FALSE", True),
        ("n = 1 and n / 0 = 1", "v.p0 = 1.0", False),
        ("n = 1 / 0", "FALSE", True),
        ("n = 2 ^ 3", "v.p0 = 8.0", True),
        ("t = casei('AB')", "v.p1 = 'ab'", True),
        ("n is null", "v.p0 IS NULL", True),
        ("n is not null", "v.p0 IS NOT NULL", True),
        ("n = TRUE", r"v.p0 = b'\x01'", True),
        ("n < TRUE", "FALSE", True),
        ("n", r"v.p0 = b'\x01'", True),
        ("not n", r"v.p0 = b'\x00'", True),
        ("t like 'ab%'", "v.p1 GLOB 'ab*' AND v.p1 >= 'ab' AND v.p1 < 'ac'", True),
        ("t like '%*?[]'", "v.p1 GLOB '*[*][?][[]]' AND v.p1 >= '' AND v.p1 < x''", True),
        ("t not like 'ab%'", "v.p1 NOT GLOB 'ab*' AND v.p1 >= '' AND v.p1 < x''", True),
        ("x = 'a'", "v.p3 = 'a'", True),
        ("x > 'a'", "(v.p3 > 'a' AND v.p3 < x'' OR v.p3 = x'fe')", False),
        ("x <> 'a'", "(v.p3 <> 'a' AND v.p3 >= '' AND v.p3 < x'' OR v.p3 = x'fe')", True),
        ("a_contains(x, ('a'))", r"v.p3 = b'\xff'", False),
        ("id = 'a'", "items.id = 'a'", True),
        ("id = 5", "FALSE", True),
        ("id in ('a', '2024-05-01')", "items.id IN ('a', '2024-05-01')", True),
        (
            "collection like 'a_'",
            "items.collection GLOB 'a?' AND items.collection >= 'a' AND items.collection < 'b'",
            True,
        ),
        ("id is not null", "TRUE", True),
        ("geometry is null", "items.west IS NULL", True),
        ("not s_intersects(geometry, POINT(1 1))", "items.west IS NOT NULL", False),
        ("far = 1", "TRUE", False),
        ("unheard = 1", "TRUE", False),
        ("far = 1 and n = 1", "v.p0 = 1.0", False),
        ("far = 1 or n = 1", "TRUE", False),
        ("far = 1 and FALSE", "FALSE", True),
        ("casei(t) = 'a'", "TRUE", False),
        ("n + 1 = 2", "TRUE", False),
        ("n = t", "TRUE", False),
        ("TRUE", "TRUE", True),
        ("1 = 1 and n = 1", "v.p0 = 1.0", True),
    ],
)
def test_sql(text, sql, exact):
    pushdown = push(text)
    assert (spell(pushdown), pushdown.exact) == (sql, exact)
    assert pushdown.uses_values is ("v.p" in sql)


def test_moments_stay_among_moments():
    start, end = (encode_moment(moment_us) for moment_us in (0, 86_400_000_000))
    within = push("t_intersects(w, INTERVAL('1970-01-01', '1970-01-02'))")
    assert (within.sql, within.exact) == ("v.p2 <= :f0 AND v.p2 >= :f1", True)
    assert within.parameters == {"f0": end, "f1": start}
    assert push("w > TIMESTAMP('1970-01-01T00:00:00Z')").sql == "v.p2 > :f0 AND v.p2 < x'03'"
    assert push("w < '1970-01-01'").sql == "v.p2 < :f0 AND v.p2 > x'02'"
    assert push("w > '1970'").sql == "v.p2 > :f0 AND v.p2 < x''"
    maybe = push("w like '1970%'")
    assert "v.p2 > x'02' AND v.p2 < x'03'" in maybe.sql
    assert not maybe.exact
    assert push("w like 'S2%'").exact


def test_long_text_is_left_to_the_documents():
    long = "a" * (MAX_TEXT_CHARS + 1)
    assert spell(push(f"x = '{long}'")) == r"v.p3 = b'\xfe'"
    assert not push(f"x = '{long}'").exact
    assert not push(f"x in ('a', '{long}')").exact
    assert not push("x like 'a%'").exact


def test_the_first_shape_at_the_top_becomes_the_region():
    pushdown = push(
        "s_intersects(geometry, BBOX(170, 0, -170, 1)) and n = 1 and s_intersects(geometry, POINT(1 1))"
    )
    assert pushdown.region["type"] == "MultiPolygon"
    assert not pushdown.exact
    assert "items.west <= items.east" in pushdown.sql
    alone = push("s_intersects(POINT(1 1), geometry)")
    assert (alone.sql, alone.exact, alone.region) == (
        "TRUE",
        True,
        {"type": "Point", "coordinates": (1.0, 1.0)},
    )
    assert push("not s_disjoint(geometry, POINT(1 1))").region is not None
    assert push("s_intersects(geometry, POINT(1 1)) or n = 1").region is None
    assert push("s_within(geometry, POINT(1 1))").region is None


def test_probes_are_single_bounded_index_ranges():
    pushdown = push(
        "n > 1 and t like 'ab%' and n < 9 and id in ('a', 'b') and w > '2024-01-01' and (n = 2 or n = 3)"
    )
    assert len(pushdown.probes) == 3
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        "CREATE TABLE items (rowid INTEGER PRIMARY KEY, id TEXT, collection TEXT);"
        "CREATE UNIQUE INDEX items_by_id ON items (id, collection);"
        "CREATE TABLE item_values (rowid INTEGER PRIMARY KEY, p0, p1, p2, p3);"
        "CREATE INDEX item_values_by_p0 ON item_values (p0) WHERE p0 IS NOT NULL;"
        "CREATE INDEX item_values_by_p1 ON item_values (p1) WHERE p1 IS NOT NULL;"
    )
    plans = [
        connection.execute(f"EXPLAIN QUERY PLAN {probe}", pushdown.parameters).fetchall()[0][3]
        for probe in pushdown.probes
    ]
    connection.close()
    assert [plan.split(" USING ")[1] for plan in plans] == [
        "COVERING INDEX item_values_by_p0 (p0>? AND p0<?)",
        "COVERING INDEX item_values_by_p1 (p1>? AND p1<?)",
        "COVERING INDEX items_by_id (id=?)",
    ]


@pytest.mark.parametrize(
    "text", ["n <> 1", "n is not null", "x > 'a'", "n not in (1)", "w = '2024-01-01'", "n = 1 or n = 2"]
)
def test_no_probe_where_no_index_narrows(text):
    assert push(text).probes == ()


def test_the_largest_filters_run_in_sqlite():
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE items (rowid INTEGER PRIMARY KEY, west, south, east, north)")
    connection.execute("CREATE TABLE item_values (rowid INTEGER PRIMARY KEY, p0, p1, p2, p3)")
    source = "items CROSS JOIN item_values AS v ON v.rowid = items.rowid"
    x, n = {"property": "x"}, {"property": "n"}
    wide = {"op": "or", "args": [{"op": "<>", "args": [x, f"a{index}"]} for index in range(800)]}
    many = {"op": "in", "args": [n, list(range(4_900))]}
    for node in [wide, many, *map(nest_deep, range(45))]:
        pushdown = push_down(parse_filter(node), PROPERTIES)
        where = f"items.rowid IN (SELECT 1) AND west > 0 AND {pushdown.sql}"
        found = connection.execute(f"SELECT 1 FROM {source} WHERE {where} ORDER BY west", pushdown.parameters)
        assert found.fetchall() == []
    connection.close()
    assert push_down(parse_filter(nest_deep(6)), PROPERTIES).sql != "TRUE"


def nest_deep(levels):
    far_west = {"bbox": [179, 0, -179, 1]}
    node = {"op": "s_within", "args": [{"property": "geometry"}, far_west]}
    for level in range(levels):
        more = {"op": "<>", "args": [{"property": "x"}, f"a{level}"]}
        node = {"op": ["and", "or"][level % 2], "args": [node, *[more] * 12]}
    return node


def test_globs_cannot_take_long():
    connection = sqlite3.connect(":memory:")
    start = time.perf_counter()
    glob = push("t like '" + "%a" * 79 + "b'")
    sql = glob.sql.replace("v.p1", ":value")
    assert connection.execute(f"SELECT {sql}", {**glob.parameters, "value": "a" * 160}).fetchone() == (0,)
    assert time.perf_counter() - start < 1
    connection.close()


def test_no_literal_is_spelt_into_sql():
    hostile = "x''); DROP TABLE items; --"
    pushdown = push_down(parse_filter({"op": "like", "args": [{"property": "t"}, f"{hostile}%"]}), PROPERTIES)
    assert "DROP" not in pushdown.sql + "".join(pushdown.probes)
    assert all(name.startswith("f") for name in pushdown.parameters)
