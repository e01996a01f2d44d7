"""What SQL finds of a filter, checked on the documents where it must be, is what the documents alone say."""

import collections
import random
import sqlite3

import cql2
import pytest
import shapely

from catalog.database.backend import SqliteCatalogue
from catalog.database.expressions.evaluate import compile_filter
from catalog.database.expressions.parse import parse_filter, read_filter_text
from catalog.database.expressions.pushdown import push_down
from catalog.database.expressions.spatial import item_shape
from catalog.database.filters import SearchQuery
from catalog.database.footprints import read_search_geometry
from catalog.database.registry import Property
from catalog.database.values import Kind

EXPRESSIONS, SEARCHES, PAIRS = 20_000, 1_000, 4_000
NUMBERS = [0, -0.0, 1, 2.5, -3, 7, 1e308, -1e308, 2**53, 0.1]
LONG = "long " * 40
TEXTS = ["", "a", "ab", "abc", "A", "á", "b%c", "b_c", "[x]*?", "ba", "😀", "2024", "z" * 160, "\uffff"]
MOMENTS = [
    "2024-05-01",
    "2024-05-01T00:00:00Z",
    "2024-05-01T02:00:00+02:00",
    "2024-05-02T10:00:00.5Z",
    "1969-12-31T23:59:59Z",
    "2030-01-01T00:00:00Z",
    "2024-05-01t00:00:00z",
]
STRANGE = [None, 10**400, ["a", 1], {"a": 1}, LONG, f"{LONG}!", "a\0b", [], [True, "2024-05-01"]]
NAMES = ["number", "text", "when", "flag", "mixed", "tags", "plain", "unslotted"]
PATTERNS = [
    "%",
    "a%",
    "%b",
    "_",
    "__",
    "b\\%c",
    "%[x]%",
    "2024%",
    "%:00Z",
    "a_c",
    "",
    "😀",
    "á%",
    "%a%b%",
    "long%",
]
ORDERS = ["=", "<>", "<", "<=", ">", ">="]
BOXES = [
    [0, 0, 10, 10],
    [5, 5, 6, 6],
    [170, -10, -170, 10],
    [-180, -90, 180, 90],
    [10, 0, 12, 2],
    [3, 3, 3, 3],
]
PLACES = [
    *[
        (shapely.geometry.mapping(shapely.box(*box)), box)
        for box in ([0, 0, 4, 4], [8, 0, 10, 2], [5, 5, 6, 6])
    ],
    (shapely.geometry.mapping(shapely.Polygon([(0, 0), (10, 0), (0, 10)])), [0, 0, 10, 10]),
    (
        shapely.geometry.mapping(shapely.Polygon([(175, 0), (-175, 0), (-175, 5), (175, 5)])),
        [175, 0, -175, 5],
    ),
    ({"type": "Point", "coordinates": [3, 3]}, [3, 3, 3, 3]),
]


def make_items(draw, count=50):
    pools = {
        "number": NUMBERS,
        "text": [*TEXTS, LONG],
        "when": MOMENTS,
        "flag": [True, False],
        "mixed": [*NUMBERS, *TEXTS, *MOMENTS, True, False, *STRANGE],
        "tags": [["a"], ["a", "b"], [1, 2.0], [], ["2024-05-01"], [["a"]]],
        "plain": ["a", "ab", "abc", "A", "b%c", "zz"],
        "unslotted": [*NUMBERS, *TEXTS[:4]],
    }
    items = []
    for number in range(count):
        properties = {name: draw.choice(pool) for name, pool in pools.items() if draw.random() < 0.85}
        geometry, bbox = draw.choice(PLACES) if number % 4 == 0 else (None, None)
        items.append(
            {
                "type": "Feature",
                "stac_version": "1.1.0",
                "id": f"item-{number:02}" if number % 10 else f"2024-05-{number + 1:02}",
                "collection": draw.choice(["one", "two"]),
                "geometry": geometry,
                **({} if geometry is None else {"bbox": bbox}),
                "properties": {"datetime": draw.choice(MOMENTS[1:6]), **properties},
                "assets": {},
                "links": [],
            }
        )
    return items


def make_literal(draw, name=None):
    pools = {
        "number": NUMBERS,
        "unslotted": NUMBERS,
        "flag": [True, False],
        "text": [*TEXTS, LONG],
        "plain": ["a", "ab", "b", "zz", "zzz"],
        "when": MOMENTS,
        "id": ["item-11", "2024-05-01", "item-3", "2024-05-01T00:00:00Z"],
    }
    kinds = [NUMBERS, TEXTS, MOMENTS, [True, False], [LONG]]
    value = draw.choice(pools[name] if name in pools and draw.random() < 0.8 else draw.choice(kinds))
    if isinstance(value, str) and value in MOMENTS[1:6] and draw.random() < 0.5:
        return {"timestamp": value}
    return {"date": value} if value == "2024-05-01" and draw.random() < 0.5 else value


def make_leaf(draw):
    name = draw.choice([*NAMES, "mixed", "id"])
    named = {"property": name if draw.random() < 0.9 or name == "id" else f"properties.{name}"}
    kind = draw.random()
    if kind < 0.35:
        args = [named, make_literal(draw, name)]
        return {"op": draw.choice(ORDERS), "args": args if draw.random() < 0.8 else args[::-1]}
    if kind < 0.47:
        return {"op": "between", "args": [named, make_literal(draw, name), make_literal(draw, name)]}
    if kind < 0.6:
        return {"op": "in", "args": [named, [make_literal(draw, name) for _ in range(draw.randint(1, 4))]]}
    if kind < 0.73:
        folded = {"op": "casei", "args": [named]} if draw.random() < 0.2 else named
        return {"op": "like", "args": [folded, draw.choice(PATTERNS)]}
    if kind < 0.8:
        return {"op": "isNull", "args": [{"property": draw.choice([*NAMES, "geometry", "id"])}]}
    return make_rare_leaf(draw, named)


def make_rare_leaf(draw, named):
    kind = draw.random()
    if kind < 0.15:
        return {"property": draw.choice(["flag", "mixed"])}
    if kind < 0.25:
        relation = draw.choice(["s_intersects"] * 3 + ["s_within", "s_disjoint", "s_contains", "s_touches"])
        args = [{"property": "geometry"}, {"bbox": draw.choice(BOXES)}]
        return {"op": relation, "args": args if draw.random() < 0.8 else args[::-1]}
    if kind < 0.45:
        relation = draw.choice(["t_after", "t_before", "t_during", "t_equals", "t_intersects", "t_disjoint"])
        ends = [draw.choice(["..", *MOMENTS[1:3]]), draw.choice(["..", *MOMENTS[3:6:2]])]
        other = {"interval": ends} if draw.random() < 0.7 else {"timestamp": draw.choice(MOMENTS[1:6])}
        return {"op": relation, "args": [{"property": draw.choice(["when", "mixed", "datetime"])}, other]}
    if kind < 0.6:
        relation = draw.choice(["a_equals", "a_contains", "a_containedby", "a_overlaps"])
        return {
            "op": relation,
            "args": [{"property": draw.choice(["tags", "mixed"])}, draw.choice([["a"], ["a", 1]])],
        }
    if kind < 0.8:
        left = {"op": draw.choice("+-*/%^"), "args": [{"property": "number"}, draw.choice(NUMBERS[:6])]}
        return {"op": draw.choice(ORDERS), "args": [left, draw.choice(NUMBERS)]}
    return {"op": draw.choice(ORDERS), "args": [named, {"property": draw.choice([*NAMES, "id"])}]}


def make_filter(draw, depth, leaf=make_leaf):
    kind = draw.random()
    if depth == 0 or kind < 0.3:
        return leaf(draw)
    if kind < 0.45:
        return {"op": "not", "args": [make_filter(draw, depth - 1, leaf)]}
    op, members = draw.choice(["and", "or"]), []
    for _ in range(draw.randint(2, 3)):
        member = make_filter(draw, depth - 1, leaf)
        members += member["args"] if member.get("op") == op else [member]  # as cql2 writes it
    return {"op": op, "args": members}


def spell(node):
    """Write CQL2 JSON as CQL2 text."""
    if isinstance(node, bool):
        return str(node).upper()
    if isinstance(node, int | float):
        return repr(float(node))
    if isinstance(node, str):
        return "'" + node.replace("'", "''") + "'"
    if isinstance(node, list):
        return f"({', '.join(map(spell, node))})"
    if "property" in node:
        return f'"{node["property"]}"'
    if "op" in node:
        return spell_operator(node["op"], [spell(arg) for arg in node["args"]])
    ((name, value),) = node.items()
    return f"{name.upper()}{spell(value)}" if isinstance(value, list) else f"{name.upper()}({spell(value)})"


def spell_operator(op, args):
    forms = {"not": "NOT ({})", "isNull": "{} IS NULL", "between": "{} BETWEEN {} AND {}"}
    if op in forms:
        return forms[op].format(*args)
    if op in ("and", "or"):
        return f"({f' {op} '.join(args)})"
    if op[:2] in ("s_", "t_", "a_") or op == "casei":
        return f"{op}({', '.join(args)})"
    spelt = f"{args[0]} {op} {args[1]}"
    return f"({spelt})" if op in set("+-*/%^") else spelt


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    path = tmp_path_factory.mktemp("filters") / "catalogue.sqlite"
    catalogue = SqliteCatalogue(path)
    for name in ("one", "two"):
        catalogue.upsert_collection(
            {
                "type": "Collection",
                "stac_version": "1.1.0",
                "id": name,
                "description": "made",
                "license": "other",
                "links": [],
                "extent": {
                    "spatial": {"bbox": [[-180, -90, 180, 90]]},
                    "temporal": {"interval": [["1960-01-01T00:00:00Z", None]]},
                },
            }
        )
    catalogue.upsert_items(make_items(random.Random(7)))
    yield catalogue
    catalogue.close()


def read_properties(connection):
    found = {}
    for name, slot, kinds in connection.execute(
        "SELECT name, slot, kinds FROM properties JOIN property_kinds USING (name)"
    ).fetchall():
        seen = found[name].kinds if name in found else Kind(0)
        known = None if name == "unslotted" else slot
        found[name] = Property(slot=known, indexed=known is not None, kinds=seen | Kind(kinds))
    return found


def find(connection, pushdown, documents):
    """Give what SQL and the region leave over."""
    joined = "items CROSS JOIN item_values AS v ON v.rowid = items.rowid" if pushdown.uses_values else "items"
    sql = f"SELECT items.rowid FROM {joined} WHERE {pushdown.sql}"
    found = {rowid for (rowid,) in connection.execute(sql, pushdown.parameters).fetchall()}
    for probe in pushdown.probes:
        probed = {rowid for (rowid,) in connection.execute(probe, pushdown.parameters).fetchall()}
        assert found <= probed, probe
    if pushdown.region is not None:
        region = read_search_geometry(pushdown.region)
        shapes = {rowid: item_shape(documents[rowid]) for rowid in found}
        found = {rowid for rowid in found if shapes[rowid] is not None and region.intersects(shapes[rowid])}
    return found


def test_sql_and_documents_agree(catalogue):
    draw = random.Random(20240501)
    connection = sqlite3.connect(catalogue.path)
    page = catalogue.search(SearchQuery(limit=1000))
    rowids = dict(connection.execute("SELECT id, rowid FROM items").fetchall())
    documents = {rowids[item["id"]]: item for item in page.items}
    properties = read_properties(connection)
    seen = collections.Counter()
    for number in range(EXPRESSIONS):
        written = make_filter(draw, draw.randint(0, 4))
        expression = parse_filter(written)
        if number % 4 == 0:
            assert parse_filter(read_filter_text(spell(written))) == expression, spell(written)
        pushdown, matches = push_down(expression, properties), compile_filter(expression)
        # checked where SQL leaves something over, so equal to this when nothing is lost on the way
        truth = {rowid for rowid, document in documents.items() if matches(document)}
        found = find(connection, pushdown, documents)
        assert (found == truth) if pushdown.exact else (found >= truth), (written, pushdown)
        share = "none" if not truth else "all" if len(truth) == len(documents) else "some"
        seen.update([("exact", pushdown.exact), ("narrows", pushdown.sql != "TRUE"), share])
        seen.update([("probes", len(pushdown.probes) > 0), ("region", pushdown.region is not None)])
    connection.close()
    assert len(documents) == 50
    for kind in (("exact", True), ("exact", False), ("narrows", True), "some", "none", ("probes", True)):
        assert seen[kind] > EXPRESSIONS / 10, seen
    assert seen["all"] > EXPRESSIONS / 200, seen
    assert seen[("region", True)] > EXPRESSIONS / 1000, seen
    assert seen[("narrows", False)] > EXPRESSIONS / 50, seen


def test_searches_find_what_the_documents_say(catalogue):
    draw = random.Random(11)
    items = catalogue.search(SearchQuery(limit=1000)).items
    for _ in range(SEARCHES):
        written = make_filter(draw, draw.randint(0, 3))
        matches = compile_filter(parse_filter(written))
        found = catalogue.search(SearchQuery(filter=written, limit=1000)).items
        assert [item["id"] for item in found] == [item["id"] for item in items if matches(item)], written


def make_sound_leaf(draw):
    """Make a leaf that cql2 decides correctly: one type a property, none absent."""
    name, pool = draw.choice(
        [
            ("number", [-3.0, 0.0, 1.0, 2.5, 7.0]),
            ("plain", ["a", "ab", "b", "A", "zz"]),
            ("when", MOMENTS[1:2] + MOMENTS[4:6]),
        ]
    )
    named, kind = {"property": name}, draw.random()
    if name == "when":
        return {"op": draw.choice(ORDERS), "args": [named, {"timestamp": draw.choice(pool)}]}
    if kind < 0.4:
        return {"op": draw.choice(ORDERS), "args": [named, draw.choice(pool)]}
    if kind < 0.5:
        return {"op": "isNull", "args": [named]}
    if name == "number" and kind < 0.75:
        return {"op": "between", "args": [named, draw.choice(pool), draw.choice(pool)]}
    if kind < 0.75:
        return {"op": "like", "args": [named, draw.choice(["a%", "%b", "_", "a_", "%", "z%z"])]}
    return {"op": "in", "args": [named, [draw.choice(pool) for _ in range(draw.randint(1, 3))]]}


def test_cql2_decides_the_same_where_it_is_sound():
    draw = random.Random(3)
    seen = collections.Counter()
    for _ in range(PAIRS):
        written = make_filter(draw, draw.randint(0, 3), make_sound_leaf)
        item = {
            "type": "Feature",
            "id": "x",
            "geometry": None,
            "properties": {
                "number": draw.choice([-3.0, 0.0, 1.0, 2.5, 7.0]),
                "plain": draw.choice(["a", "ab", "b", "A", "zz", "abz"]),
                "when": draw.choice([MOMENTS[1], *MOMENTS[4:6]]),
            },
        }
        ours = compile_filter(parse_filter(written))(item)
        assert ours is cql2.Expr(written).matches(item), (written, item["properties"])
        seen[ours] += 1
    assert min(seen.values()) > PAIRS / 10
