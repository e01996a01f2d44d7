"""The graph of map features: every relation once, every odd feature, storage, and torch_geometric."""

import subprocess
import sys

import numpy as np
import pytest
import shapely
from safetensors.numpy import load, save
from shapely import wkt

from infra.errors import ConfigError, DataError, InputError
from models.osm_graph.build import build_graph, build_graphs
from models.osm_graph.hetero import to_hetero
from models.osm_graph.labels import number_tags, read_labels
from models.osm_graph.relations import classify_matrices
from models.osm_graph.schema import EDGE_TYPES, NODE_TYPES, NODE_WIDTHS, RELATIONS, GraphOptions
from models.osm_graph.serial import load_graph, save_graph

BOX = (0.0, 0.0, 10.0, 10.0)
COMPAT = GraphOptions(reference_compat=True)
SQUARE = "POLYGON((2 2,6 2,6 6,2 6,2 2))"
STREET = "LINESTRING(2 2,6 2,6 6)"
RING = "LINESTRING(2 2,6 2,6 6,2 2)"

# One type, earlier and later feature → what the earlier is to the later; the later is the reverse.
ALIKE = [
    (SQUARE, "POLYGON((7 7,8 7,8 8,7 7))", None),
    (SQUARE, "POLYGON((6 2,8 2,8 6,6 6,6 2))", "touches"),  # a whole edge
    (SQUARE, "POLYGON((6 3,8 3,8 4,6 4,6 3))", "touches"),  # a part of an edge
    (SQUARE, "POLYGON((6 6,8 6,8 8,6 6))", "touches"),  # a corner
    (SQUARE, "POLYGON((4 4,8 4,8 8,4 8,4 4))", "overlaps"),
    (SQUARE, "POLYGON((3 1,4 1,4 9,3 9,3 1))", "overlaps"),  # right across
    (SQUARE, "POLYGON((3 3,4 3,4 4,3 3))", "covers"),  # well inside
    (SQUARE, "POLYGON((2 2,4 2,4 4,2 2))", "covers"),  # inside, on the edge
    ("POLYGON((3 3,4 3,4 4,3 3))", SQUARE, "covered_by"),
    (SQUARE, "POLYGON((6 6,2 6,2 2,6 2,6 6))", "equals"),  # other start
    (SQUARE, "POLYGON((2 2,4 2,6 2,6 6,2 6,2 2))", "equals"),  # one vertex more
    ("POLYGON((2 2,6 2,6 6,2 6,2 2),(3 3,5 3,5 5,3 5,3 3))", "POLYGON((3 3,5 3,5 5,3 5,3 3))", "touches"),
    ("POLYGON((2 2,6 2,6 6,2 6,2 2),(3 3,5 3,5 5,3 5,3 3))", "POLYGON((3.5 3.5,4 4,4 3.5,3.5 3.5))", None),
    (STREET, "LINESTRING(0 9,1 9)", None),
    (STREET, "LINESTRING(6 6,9 9)", "touches"),  # end on end
    (STREET, "LINESTRING(4 2,4 0)", "touches"),  # end on the way
    (STREET, "LINESTRING(4 0,4 4)", "overlaps"),  # crosses
    (STREET, "LINESTRING(4 2,8 2)", "overlaps"),  # shares a stretch
    (STREET, "LINESTRING(3 2,5 2)", "covers"),
    ("LINESTRING(3 2,5 2)", STREET, "covered_by"),
    (STREET, "LINESTRING(6 6,6 2,2 2)", "equals"),  # other way round
    (RING, "LINESTRING(6 6,2 2,6 2,6 6)", "equals"),  # other start
    (RING, "LINESTRING(2 2,0 2)", "touches"),
    (STREET, "MULTILINESTRING((2 2,4 2),(4 2,6 2,6 6))", "equals"),
]
# Lower dimension first → (its word, the word back).
ACROSS = [
    ("LINESTRING(0 0,1 0)", SQUARE, None, None),
    ("LINESTRING(2 2,6 2)", SQUARE, "touches", "touches"),  # along the edge
    ("LINESTRING(0 2,8 2)", SQUARE, "touches", "touches"),  # beyond the edge
    ("LINESTRING(0 4,2 4)", SQUARE, "touches", "touches"),
    ("LINESTRING(0 4,4 4)", SQUARE, "crosses", "crosses"),
    ("LINESTRING(0 4,8 4)", SQUARE, "crosses", "crosses"),
    ("LINESTRING(3 3,5 5)", SQUARE, "covered_by", "covers"),
    ("LINESTRING(2 2,4 2,4 4)", SQUARE, "covered_by", "covers"),  # starts along the edge
    ("LINESTRING(2 4,6 4)", SQUARE, "covered_by", "covers"),
    ("POINT(1 1)", SQUARE, None, None),
    ("POINT(2 4)", SQUARE, "touches", "touches"),
    ("POINT(2 2)", SQUARE, "touches", "touches"),
    ("POINT(3 3)", SQUARE, "within", "contains"),
    ("POINT(1 1)", STREET, None, None),
    ("POINT(2 2)", STREET, "touches", "touches"),
    ("POINT(6 6)", STREET, "touches", "touches"),
    ("POINT(4 2)", STREET, "within", "contains"),
    ("POINT(6 2)", STREET, "within", "contains"),  # a vertex between
    ("POINT(2 2)", RING, "within", "contains"),  # a ring has no ends
]
REVERSE = {"covers": "covered_by", "covered_by": "covers"}


def build(*shapes, box=BOX, **options):
    geometries = np.array(
        [wkt.loads(shape) if isinstance(shape, str) else shape for shape in shapes], dtype=object
    )
    return build_graph(geometries, [{} for _ in shapes], box, options=GraphOptions(**options))


def words(graph, source, target):
    kind = (source, "to", target)
    edges = graph.edges[kind]
    return {
        (int(a), int(b)): RELATIONS[kind][code]
        for (a, b), code in zip(edges.index.T, edges.relation, strict=True)
    }


def type_of(shape):
    return NODE_TYPES[2 - int(shapely.get_dimensions(wkt.loads(shape)))]


@pytest.mark.parametrize(("one", "other", "word"), ALIKE)
def test_relations_of_one_type(one, other, word):
    name = type_of(one)
    loops = {(0, 0): "self", (1, 1): "self"}
    pair = {(0, 1): word, (1, 0): REVERSE.get(word, word)} if word else {}
    assert words(build(one, other), name, name) == loops | pair
    if word == "equals":
        pair = {(0, 1): "covered_by", (1, 0): "covers"}
    assert words(build(one, other, reference_compat=True), name, name) == loops | pair


@pytest.mark.parametrize(("low", "high", "word", "back"), ACROSS)
@pytest.mark.parametrize("swapped", [False, True])
def test_relations_across_types(low, high, word, back, swapped):
    graph = build(high, low) if swapped else build(low, high)
    one, other = type_of(low), type_of(high)
    assert words(graph, one, other) == ({(0, 0): word} if word else {})
    assert words(graph, other, one) == ({(0, 0): back} if word else {})


def test_every_matrix_has_one_answer():
    letters = np.array(np.meshgrid(*[["F", "1"]] * 8)).reshape(8, -1).T
    matrices = np.array(["".join(row) + "2" for row in letters], dtype=object)
    for matrix, kind in zip(matrices, classify_matrices(matrices), strict=True):
        ii, ib, ie, bi, bb, be, ei, eb, _ = (letter != "F" for letter in matrix)
        meets = ii or ib or bi or bb
        whole, part = not (ei or eb), not (ie or be)
        expected = (
            0 if not meets else 1 if not ii else 5 if whole and part else 3 if whole else 4 if part else 2
        )
        assert kind == expected, matrix


def test_edges_are_sorted_and_one_hot():
    graph = build(SQUARE, "POLYGON((6 2,8 2,8 6,6 6,6 2))", "POLYGON((3 3,4 3,4 4,3 3))")
    edges = graph.edges["polygon", "to", "polygon"]
    assert edges.index.T.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [2, 0], [2, 2]]
    assert edges.edge_attr().argmax(1).tolist() == [0, 1, 3, 1, 0, 4, 0]
    assert edges.edge_attr().sum(1).tolist() == [1.0] * 7
    assert edges.edge_attr().shape == (7, 6)


def test_no_features_make_an_empty_graph():
    graph = build()
    assert set(graph.edges) == set(EDGE_TYPES)
    assert [nodes.coordinates.shape for nodes in graph.nodes.values()] == [(0, 8), (0, 6), (0, 2)]
    assert all(edges.index.shape == (2, 0) for edges in graph.edges.values())
    assert graph.tag_names == ()
    assert save_graph(load_graph(save_graph(graph))) == save_graph(graph)


def test_features_out_of_the_box_are_left_out():
    shapes = [
        "POINT(20 20)",
        SQUARE,
        "POLYGON((10 0,12 0,12 5,10 5,10 0))",
        "LINESTRING(10 10,12 12)",
        "POINT(10 10)",
    ]
    graph = build(*shapes)
    assert {name: nodes.rows.tolist() for name, nodes in graph.nodes.items()} == {
        "polygon": [1],
        "line": [],
        "point": [4],
    }
    assert sum(len(nodes) for nodes in build(*shapes, clip=False).nodes.values()) == 5


def test_places_are_fractions_of_the_box_with_y_downwards():
    graph = build("POINT(1 8)", "LINESTRING(0 0,4 0,4 4)", SQUARE)
    assert graph.nodes["point"].coordinates.tolist() == [[np.float32(0.1), np.float32(0.2)]]
    np.testing.assert_allclose(graph.nodes["line"].coordinates, [[0.3, 0.9, 0, 1, 0.4, 0.6]], atol=1e-7)
    np.testing.assert_allclose(graph.nodes["polygon"].coordinates[:, 6:], [[0.4, 0.6]], atol=1e-7)


def test_a_cut_line_keeps_its_direction():
    graph = build("LINESTRING(-5 1,15 1,15 3,-5 3)", "LINESTRING(-5 3,15 3,15 1,-5 1)")
    np.testing.assert_allclose(
        graph.nodes["line"].coordinates[:, 2:], [[0, 0.9, 0, 0.7], [0, 0.7, 0, 0.9]], atol=1e-7
    )


@pytest.mark.parametrize("compat", [False, True])
def test_anchors_lie_inside_and_are_the_same_every_time(compat):
    shapes = [
        SQUARE,
        "POLYGON((0 0,9 0,9 1,1 1,1 9,0 9,0 0))",  # the centroid is outside
        "POLYGON((1 1,9 1,9 9,1 9,1 1),(2 2,8 2,8 8,2 8,2 2))",
        "MULTIPOLYGON(((0 0,1 0,1 1,0 0)),((2 2,7 2,7 7,2 2)))",
        "POLYGON((2 2,6 2,6 6,2 6,2 2.5,2 2))",
    ]
    graph = build(*shapes, reference_compat=compat)
    assert save_graph(graph) == save_graph(build(*shapes, reference_compat=compat))
    for row, inside in ((0, True), (3, None), (4, True)):
        anchors = graph.nodes["polygon"].coordinates[row, :6].reshape(-1, 2) * (10, -10) + (0, 10)
        assert len(np.unique(anchors, axis=0)) == 3
        if inside:
            assert shapely.contains_xy(wkt.loads(shapes[row]), *anchors.T).all()
    # Where nothing on the way to the centroid is inside, an anchor stays right beside the centroid.
    bent = graph.nodes["polygon"].coordinates[2].reshape(-1, 2)
    assert np.hypot(*(bent[:3] - bent[3]).T).max() < 0.5


def test_compass_anchors_lie_at_thirds_of_a_turn():
    anchors = build(SQUARE, reference_compat=True).nodes["polygon"].coordinates.reshape(-1, 2).astype(float)
    offsets = (anchors[:3] - anchors[3]) * (10, -10)
    np.testing.assert_allclose(np.degrees(np.arctan2(*offsets.T[::-1])) % 360, [0, 120, 240], atol=1e-3)
    radius = np.sqrt(8)
    assert (np.hypot(*offsets.T) <= radius / 2 + 1e-6).all()


def test_multi_geometries_and_collections_are_one_node_each():
    graph = build(
        "MULTIPOINT(1 1,3 3)",
        "MULTILINESTRING((0 0,1 0),(5 5,6 6))",
        "GEOMETRYCOLLECTION(LINESTRING(0 0,2 0),GEOMETRYCOLLECTION(POLYGON((2 2,6 2,6 6,2 6,2 2))))",
        "GEOMETRYCOLLECTION(POINT(9 9),MULTILINESTRING((1 1,2 2),(3 3,4 4)))",
        "GEOMETRYCOLLECTION(POINT(2 4))",
        "POINT Z (4 4 7)",
    )
    assert [len(graph.nodes[name]) for name in NODE_TYPES] == [1, 2, 3]
    np.testing.assert_allclose(
        graph.nodes["point"].coordinates, [[0.2, 0.8], [0.2, 0.6], [0.4, 0.6]], atol=1e-7
    )
    np.testing.assert_allclose(graph.nodes["line"].coordinates[0, 2:], [0, 1, 0.6, 0.4], atol=1e-7)
    assert words(graph, "point", "polygon") == {(0, 0): "touches", (1, 0): "touches", (2, 0): "within"}


def test_an_invalid_polygon_is_related_as_it_is_and_mended_only_to_be_cut():
    bow = "POLYGON((0 0,4 4,4 0,0 4,0 0))"
    graph = build(bow, "POINT(0.5 2)", "POINT(2 0.5)")
    expected = [wkt.loads(point).within(wkt.loads(bow)) for point in ("POINT(0.5 2)", "POINT(2 0.5)")]
    assert [(i, 0) in words(graph, "point", "polygon") for i in (0, 1)] == expected
    assert len(build(bow, box=(1.0, 0.0, 9.0, 9.0)).nodes["polygon"]) == 1


@pytest.mark.parametrize(
    "places", [[(1, 1)], [(1, 1), (2, 2), (1, 3)], [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]]
)
def test_few_points_or_points_on_a_line_have_themselves_only(places):
    for compat in (False, True):
        graph = build(*(shapely.Point(place) for place in places), reference_compat=compat)
        assert words(graph, "point", "point") == {(i, i): "self" for i in range(len(places))}


def test_neighbours_come_first_and_coincident_points_are_joined_to_the_first():
    places = [(1, 1), (8, 2), (7, 9), (2, 7), (5, 5), (8, 2)]
    shapes = [shapely.Point(place) for place in places]
    graph, compat = build(*shapes), build(*shapes, reference_compat=True)
    pairs = {(0, 1), (0, 3), (0, 4), (1, 2), (1, 4), (2, 3), (2, 4), (3, 4)}
    both = sorted(pairs | {(b, a) for a, b in pairs})
    edges = compat.edges["point", "to", "point"]
    assert edges.index.T.tolist() == [*map(list, both), *([i, i] for i in range(6))]
    assert edges.relation.tolist() == [1] * len(both) + [0] * 6
    assert set(words(graph, "point", "point")) == {*both, (1, 5), (5, 1), *((i, i) for i in range(6))}


def test_diagonals_of_chance_are_left_out():
    corners = [(1, 1), (3, 1), (3, 3), (1, 3)]
    pairs = set(words(build(*(shapely.Point(corner) for corner in corners)), "point", "point"))
    assert {(a, b) for a, b in pairs if a < b} == {(0, 1), (1, 2), (2, 3), (0, 3)}


@pytest.mark.parametrize(
    "box",
    [(0, 0, 0, 1), (0, 0, 1, 0), (1, 0, 0, 1), (0, 0, np.nan, 1), (0, -np.inf, 1, 1), (179, 0, -179, 1)],
)
def test_a_box_without_extent_is_refused(box):
    with pytest.raises(InputError, match="no extent"):
        build(SQUARE, box=box)
    with pytest.raises(InputError, match="no extent"):
        build_graphs(np.array([wkt.loads(SQUARE)], dtype=object), [{}], [BOX, box])


@pytest.mark.parametrize(
    ("shape", "what"),
    [
        (None, "no geometry"),
        (shapely.Point(), "empty"),
        (shapely.GeometryCollection(), "empty"),
        (shapely.MultiPolygon([shapely.Polygon()]), "empty"),
        (shapely.LineString([(0, 0), (1, np.inf)]), "not finite"),
        ("a text", "no geometry"),
    ],
)
def test_a_feature_without_place_is_named(shape, what):
    array = np.empty(2, dtype=object)
    array[:] = [shapely.Point(1, 1), shape]
    for make in (lambda: build_graph(array, [{}, {}], BOX), lambda: build_graphs(array, [{}, {}], [BOX])):
        with pytest.raises(InputError, match=f"feature 1 .*{what}"):
            make()


def test_tags_must_match_the_features():
    with pytest.raises(InputError, match="1 geometries came with tags of 2"):
        build_graph(np.array([shapely.Point(1, 1)], dtype=object), [{}, {}], BOX)


def test_the_callers_geometries_stay_as_they_are():
    shape = wkt.loads(SQUARE)
    build_graph(np.array([shape, shape], dtype=object), [{}, {}], BOX)
    assert not shapely.is_prepared(shape)


def test_tags_are_numbered_once_and_go_with_their_nodes():
    shapes = np.array(
        [wkt.loads(SQUARE), shapely.Point(50, 50), shapely.Point(1, 1), shapely.Point(2, 1)], dtype=object
    )
    tags = [{"building": "yes", "a:b": "c:d"}, {"far": "away"}, {}, {"building": "yes"}]
    graph = build_graph(shapes, tags, BOX)
    assert graph.tag_names == ("a:b:c:d", "building:yes")
    assert graph.nodes["polygon"].tag_ids.tolist() == [0, 1]
    assert graph.nodes["point"].tag_offsets.tolist() == [0, 0, 1]
    assert graph.nodes["point"].tag_ids.tolist() == [1]
    assert graph.nodes["line"].tag_offsets.tolist() == [0]


def test_numbering_no_tags():
    names, offsets, ids = number_tags([{}, {}])
    assert (names, offsets.tolist(), ids.tolist()) == ((), [0, 0, 0], [])


@pytest.mark.parametrize(
    ("label", "tags"),
    [
        ("", {}),
        ("landuse:grass;golf:tee", {"landuse": "grass", "golf": "tee"}),
        ("ref:x:y", {"ref": "x:y"}),
        ("cuisine:pizza;kebab;shop:bakery;", {"cuisine": "pizza;kebab", "shop": "bakery"}),
        ("opening_hours:Mo 08:00; Tu 09:00", {"opening_hours": "Mo 08:00; Tu 09:00"}),
        ("name:", {"name": ""}),
    ],
)
def test_labels_are_read(label, tags):
    assert read_labels(label) == tags


@pytest.mark.parametrize("label", ["no key", ":value", "yes;a:b"])
def test_labels_without_a_key_are_refused(label):
    with pytest.raises(InputError, match="key:value"):
        read_labels(label)


@pytest.fixture
def stored():
    shapes = [SQUARE, STREET, "POINT(3 3)", "POINT(6 2)"]
    tags = [{"name": "Größe \ud800"}, {"highway": "path"}, {}, {"highway": "path"}]
    return save_graph(build_graph(np.array([wkt.loads(s) for s in shapes], dtype=object), tags, BOX))


def test_a_graph_comes_back_as_it_went(stored):
    graph = load_graph(stored)
    assert save_graph(graph) == stored
    assert graph.box == BOX
    assert graph.tag_names == ("highway:path", "name:Größe \ud800")
    assert words(graph, "point", "line") == {(1, 0): "within"}


def change(stored, **arrays):
    tensors = load(stored)
    for name, value in arrays.items():
        key = name.replace("__", ".")
        if value is None:
            del tensors[key]
        else:
            tensors[key] = np.asarray(value)
    return save(tensors)


@pytest.mark.parametrize(
    ("arrays", "what"),
    [
        ({"format": np.array([9])}, "format 9"),
        ({"box": None}, "lacks 'box'"),
        ({"nodes__line__rows": None}, "lacks 'nodes.line.rows'"),
        ({"nodes__line__rows": np.zeros(3, np.int64)}, "3 line rows"),
        ({"nodes__point__coordinates": np.zeros((2, 3), np.float32)}, r"expected float32\(None, 2\)"),
        ({"nodes__point__tag_ids": np.array([7], np.int32)}, "tags beyond"),
        ({"nodes__point__tag_offsets": np.array([0, 2, 1])}, "broken tag offsets"),
        ({"tag_names": np.frombuffer(b"[1]", np.uint8)}, "no tag names"),
        ({"tag_names": np.frombuffer(b"[", np.uint8)}, "no JSON"),
        ({"tag_names": np.frombuffer(b"[" * 200_000, np.uint8)}, "no JSON"),
        ({"edges__point__to__line__index": np.array([[5], [0]])}, "beyond its 2 points"),
        ({"edges__point__to__line__index": np.array([[-1], [0]])}, "beyond its 2 points"),
        ({"edges__point__to__line__relation": np.array([2], np.uint8)}, "relations"),
        ({"edges__point__to__line__relation": np.array([1, 1], np.uint8)}, "expected uint8"),
    ],
)
def test_an_altered_graph_is_refused(stored, arrays, what):
    with pytest.raises(DataError, match=what):
        load_graph(change(stored, **arrays))


@pytest.mark.parametrize("kept", [0, 7, 8, 100, 1500, -1])
def test_a_cut_graph_is_refused(stored, kept):
    with pytest.raises(DataError, match="safetensors"):
        load_graph(stored[:kept])


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_torch_geometric_reads_the_graph(stored):
    pytest.importorskip("torch_geometric")
    graph = load_graph(stored)
    text = {name: np.full((len(nodes), 5), 0.5, np.float32) for name, nodes in graph.nodes.items()}
    data = to_hetero(graph, text)
    data.validate()
    assert set(data.node_types) == set(NODE_TYPES)
    assert set(data.edge_types) == set(EDGE_TYPES)
    for name in NODE_TYPES:
        assert data[name].x.shape == (len(graph.nodes[name]), 5 + NODE_WIDTHS[name])
        np.testing.assert_array_equal(data[name].x[:, 5:], graph.nodes[name].coordinates)
    for kind in EDGE_TYPES:
        np.testing.assert_array_equal(data[kind].edge_index, graph.edges[kind].index)
        assert data[kind].edge_attr.shape == (len(graph.edges[kind]), len(RELATIONS[kind]))
    assert to_hetero(graph)["line"].x.shape == (1, 6)
    with pytest.raises(InputError, match=r"shape \(1, 5\): expected \(2, d\)"):
        to_hetero(graph, text | {"point": text["point"][:1]})
    with pytest.raises(InputError, match="lack node type 'line'"):
        to_hetero(graph, {"polygon": text["polygon"]})


def test_without_torch_geometric_it_says_what_to_install(stored, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_geometric.data", None)
    with pytest.raises(ConfigError, match="install them"):
        to_hetero(load_graph(stored))


def test_the_graph_itself_needs_no_torch():
    code = "import sys, models.osm_graph.build, models.osm_graph.hetero, models.osm_graph.serial; "
    subprocess.run([sys.executable, "-c", code + "sys.exit('torch' in sys.modules)"], check=True, timeout=60)
