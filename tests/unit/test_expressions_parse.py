"""Filters that are wrong are refused in one line; nothing that a client sends can hang or end the process."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from catalog.database.expressions.limits import MAX_NODES, MAX_PARSE_STEPS, MAX_TERMS, MAX_TEXT_BYTES
from catalog.database.expressions.nodes import And, Comparison, Constant, Instant, Literal, Moment, Name
from catalog.database.expressions.parse import check_properties, parse_filter, read_filter_text
from infra.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
A = {"property": "a"}
PLACE = {"property": "geometry"}


def parse(text):
    return parse_filter(read_filter_text(text))


def nest(op, depth, inner):
    for _ in range(depth):
        inner = {"op": op, "args": [inner]}
    return inner


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1"),
        ("a =", "filter is not CQL2 text: line 1, column 4: expected"),
        ("a = 1;", "line 1, column 6"),
        ("a = 'open", "line 1, column 5"),
        ("1", "is a value, not a condition"),
        ("a + 1", "'+' gives a value, not a condition"),
        ("casei(a)", "'casei' gives a value, not a condition"),
        ("id", "'id' is text, not a condition"),
        ("foo(a) = 1", "operator or function 'foo' is not known"),
        ("s_intersect(geometry, POINT(1 1))", "did you mean 's_intersects'? expected one of and, or, not,"),
        ("a = null", "'=' cannot take null, which equals nothing: use IS NULL"),
        ("a in (1, null)", "in cannot take null"),
        (
            "a = TIMESTAMP('2024-13-01T00:00:00Z')",
            "timestamp '2024-13-01T00:00:00Z' is not an RFC 3339 date-time",
        ),
        ("a = TIMESTAMP('2024-01-01')", "timestamp '2024-01-01' is not an RFC 3339 date-time"),
        ("a = DATE('2024-02-30')", "date '2024-02-30' is not a date: expected e.g. '2024-05-01'"),
        ("t_after(a, INTERVAL('x', '..'))", "t_after takes moments and intervals: 'x' is neither"),
        ("t_after(a, INTERVAL('2025-01-01', '2024-01-01'))", "ends before it starts: swap the two"),
        ("t_after(a, 1)", "t_after takes moments and intervals: 1.0 is neither"),
        ("t_after(id, '2024-01-01')", "t_after takes moments: 'id' is text"),
        ("s_intersects(geometry, BBOX(0, 5, 1, 4))", "needs -90 <= south <= north <= 90"),
        ("s_intersects(geometry, BBOX(0, 0, 1, 1, 2))", "must have 4 or 6 finite numbers"),
        ("s_intersects(geometry, POINT(200 0))", "leaves longitude [-180, 180]"),
        (
            "s_intersects(geometry, POLYGON((0 0, 1 1, 0 1, 1 0, 0 0)))",
            "geometry is not valid: Self-intersection",
        ),
        ("s_intersects(a, POINT(1 1))", "relates the property geometry to one shape"),
        ("s_intersects(geometry, geometry)", "relates the property geometry to one shape"),
        ("s_intersects(geometry, 'x')", "to a GeoJSON geometry or a bbox: 'x' is neither"),
        ("geometry = 'x'", "'=' cannot take geometry: use s_intersects and its kin"),
        ("a = ('x', 'y')", "an array: arrays are compared by a_equals"),
        ("a = INTERVAL('2024-01-01', '..')", "an interval: intervals are compared by t_intersects"),
        ("a = BBOX(1, 2, 3, 4)", "a shape: shapes are compared by s_intersects"),
        ("(a = 1) = (a = 2)", "takes single values"),
        ("a + 'x' = 1", "'+' calculates with numbers: 'x' is not one"),
        ("a + id = 1", "'+' calculates with numbers"),
        ("casei(1) = 'x'", "casei takes text: 1.0 is not text"),
        ("a like 5", "the pattern of like must be text, e.g. 'S2%'"),
        ("5 like 'a'", "like matches text: 5.0 is not text"),
        ("a_equals(a, id)", "a_equals takes arrays: {'property': 'id'} is neither a list nor a property"),
        ("a = 1e400", "'=': number inf is out of range: expected a finite double"),
    ],
)
def test_text_that_is_wrong_is_refused_in_one_line(text, message):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (None, "None is a value, not a condition"),
        ([], "is a value, not a condition"),
        ({"op": "="}, "'=' has no list of arguments"),
        ({"op": "=", "args": "ab"}, "'=' has no list of arguments"),
        ({"op": "=", "args": [A]}, "'=' has 1 arguments: expected 2"),
        ({"op": "and", "args": []}, "'and' has 0 arguments: expected 1 or more"),
        ({"op": "between", "args": [A, 1]}, "'between' has 2 arguments: expected 3"),
        ({"op": ["="], "args": [A, 1]}, "operator or function ['='] is not known"),
        ({"op": "eq", "args": [A, 1]}, "operator or function 'eq' is not known"),
        ({"op": "in", "args": [A, []]}, "in needs a list of one or more values"),
        ({"op": "in", "args": [A, "x"]}, "in needs a list of one or more values"),
        ({"op": "=", "args": [A, 10**400]}, "is out of range: expected a finite double"),
        ({"op": "=", "args": [A, "\ud800"]}, "text that UTF-8 cannot spell"),
        ({"op": "=", "args": [A, {"timestamp": 5}]}, "timestamp '5' is not an RFC 3339 date-time"),
        ({"op": "=", "args": [A, {"date": 5}]}, "date 5 is not a date"),
        ({"op": "=", "args": [A, {}]}, "{} is not a value of CQL2"),
        ({"op": "=", "args": [{"property": 3}, 1]}, "property name 3 is not text"),
        ({"op": "=", "args": [{"property": "properties."}, 1]}, "is not text, or empty"),
        ({"op": "t_after", "args": [A, {"interval": ["2024-01-01"]}]}, "needs two ends"),
        ({"op": "s_within", "args": [PLACE, {"type": "Circle"}]}, "is not a GeoJSON geometry"),
        (
            {"op": "s_within", "args": [PLACE, {"type": "Point", "coordinates": ["x"]}]},
            "is a malformed Point",
        ),
        ({"op": "s_within", "args": [PLACE, {"bbox": [1, 2, 3]}]}, "must have 4 or 6 finite numbers"),
        ({"op": "s_within", "args": [PLACE, {}]}, "{} is neither"),
    ],
)
def test_json_that_is_wrong_is_refused_in_one_line(node, message):
    with pytest.raises(InputError) as caught:
        parse_filter(node)
    assert message in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "(" * 16_000,
        "not " * 4_000 + "a",
        "a = " + "-" * 16_000 + "1",
        " and ".join(["a"] * 2_700),
        "a+" * 8_000 + "a = 1",
        "f(" * 8_000,
        "a and (" * 2_000,
        "(" * 25 + "a = 1",
        "(" * 25 + "a = = 1" + ")" * 25,
        "a in (" * 25 + "1 = = 1" + ")" * 25,
        "((((((((((((" + "a = 1 and " * 60 + "= " + "))))))))))))",
        "'" * 16_001,
        '"' * 16_001,
        "a = '" + "x" * 20_000 + "'",
    ],
    ids=lambda text: f"{text[:12]}x{len(text)}",
)
def test_text_made_to_exhaust_the_parser_is_refused_at_once(text):
    start = time.perf_counter()
    with pytest.raises(InputError):
        read_filter_text(text)
    assert time.perf_counter() - start < 2


SMALL_STACK = """
import threading
from catalog.database.expressions.parse import parse_filter, read_filter_text
from infra.errors import InputError

def read():
    for text in (
        "not " * 59 + "a", "a" + "+a" * 58 + "=1", "f(" * 59 + "a" + ")" * 59,
        "not f(" * 29 + "a" + ")" * 29,
        " and ".join(["a"] * 500), " or ".join(["a=1"] * 250), " and ".join(["a or b"] * 250),
        "a=" * 58 + "1",
        "a between " * 500, "a in " * 500, "not " * 500 + "a", "f(" * 500, "a" + "^a" * 499, "a" + "=a" * 499,
    ):
        try:
            parse_filter(read_filter_text(text))
        except InputError:
            pass
    print("alive")

threading.stack_size(512 * 1024)
thread = threading.Thread(target=read)
thread.start()
thread.join()
"""


def test_what_passes_the_guards_fits_a_small_stack():
    done = subprocess.run(
        [sys.executable, "-c", SMALL_STACK], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr


def test_what_passes_the_guards_is_parsed_in_bounded_time():
    # as dear as the guard allows: malformed at the end of what nested parentheses hold
    for depth in range(4, 15):
        text = "(" * depth + "a = 1 and " * max(0, MAX_PARSE_STEPS // 2**depth // 4 - 1) + "= " + ")" * depth
        start = time.perf_counter()
        with pytest.raises(InputError):
            read_filter_text(text[:MAX_TEXT_BYTES])
        assert time.perf_counter() - start < 5


def test_sizes_at_the_limits_are_read():
    assert parse(" and ".join(["a"] * (MAX_TERMS // 2)))
    assert parse("a in (" + ",".join(["1"] * 4_900) + ")")
    assert parse("((((((a = 1 and b = 2) or c = 3) and d = 4) or e = 5) and f = 6) or g = 7)")
    assert parse_filter(nest("not", 40, A))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nest("not", 60, A), "nested more than 100 deep"),
        (nest("not", 50_000, A), "nested more than 100 deep"),
        ({"op": "in", "args": [A, list(range(MAX_NODES))]}, "filter is too large"),
        (
            {"op": "s_within", "args": [PLACE, {"type": "MultiPoint", "coordinates": [[0, 0]] * 20_000}]},
            "too large",
        ),
    ],
    ids=["deep", "very deep", "wide", "coordinates"],
)
def test_json_that_is_too_large_is_refused(node, message):
    with pytest.raises(InputError, match=message):
        parse_filter(node)


def test_large_shapes_are_read():
    ring = [[index / 1000, index % 2 / 1000] for index in range(8_000)]
    shape = {"type": "LineString", "coordinates": ring}
    assert parse_filter({"op": "s_intersects", "args": [PLACE, shape]})


def test_text_becomes_the_json_that_says_the_same():
    assert read_filter_text("a = 1 and not b like 'x%'") == {
        "op": "and",
        "args": [
            {"op": "=", "args": [A, 1.0]},
            {"op": "not", "args": [{"op": "like", "args": [{"property": "b"}, "x%"]}]},
        ],
    }
    assert parse("TRUE").root == And((Constant(True), Constant(True)))
    assert parse("A_CONTAINEDBY(a, ('x'))") == parse_filter({"op": "a_containedBy", "args": [A, ["x"]]})


def test_names_are_collected_without_their_prefix():
    found = parse(
        "properties.a = 1 and (b is null or s_within(geometry, POINT(1 1))) and casei(id) = 'x' and c + d > 1"
    )
    assert found.properties == {"a", "b", "geometry", "id", "c", "d"}
    assert parse("properties.a = 1") == parse("a = 1")


def test_temporal_relations_are_comparisons_of_ends():
    root = parse("t_during(a, INTERVAL('1970-01-01', '..'))").root
    a = Instant(Name("a"))
    assert root == And((Comparison(">", a, Moment(0)), Comparison("<", a, Moment(2**63 - 1))))


def test_literals_keep_their_kind():
    assert parse("a = '1970-01-01'").root == Comparison("=", Name("a"), Literal("1970-01-01"))
    assert parse("a = DATE('1970-01-02')").root == Comparison("=", Name("a"), Moment(86_400_000_000))
    (left, right) = (parse_filter({"op": "=", "args": [A, value]}).root for value in (True, 1))
    assert (type(left.right.value), type(right.right.value)) == (bool, float)


def test_unknown_properties_are_named_with_the_nearest_known():
    expression = parse("eo:cloud_covr < 10 and id = 'x' and s_intersects(geometry, POINT(1 1))")
    with pytest.raises(InputError, match=r"property 'eo:cloud_covr': did you mean 'eo:cloud_cover'\?"):
        check_properties(expression, ["eo:cloud_cover", "gsd"])
    with pytest.raises(InputError, match="no item has a property 'zzz': the queryables list those there are"):
        check_properties(parse("zzz = 1"), ["gsd"])
    check_properties(parse("gsd = 1 and collection = 'c'"), ["gsd"])
