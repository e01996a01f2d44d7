"""The graph of map features, whatever they are: the plain answer for every pair, at any place and size."""

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from models.osm_graph.build import build_graph, build_graphs
from models.osm_graph.schema import EDGE_TYPES, NODE_TYPES, RELATIONS, GraphOptions
from models.osm_graph.serial import save_graph
from tests.support.geometry_pairs import pairwise_edges

BOX = (0.0, 0.0, 8.0, 8.0)
WHOLE = GraphOptions(clip=False)
steps = st.integers(0, 8)
spots = st.tuples(steps, steps)
fine_steps = st.integers(0, 8 << 20).map(lambda step: step / (1 << 20))  # 8 less a step is exact
fine_spots = st.tuples(fine_steps, fine_steps)


def _rectangle(corner, size):
    return shapely.box(corner[0], corner[1], corner[0] + size[0], corner[1] + size[1])


sizes = st.tuples(st.integers(1, 4), st.integers(1, 4))
rectangles = st.builds(_rectangle, spots, sizes)
rings = st.builds(shapely.Polygon, st.lists(spots, min_size=3, max_size=6))  # often invalid: bow-ties, spikes
holed = st.builds(
    lambda corner, inner: shapely.Polygon(
        _rectangle(corner, (4, 4)).exterior.coords, [_rectangle(np.add(corner, 1), inner).exterior.coords]
    ),
    spots,
    st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
polygons = st.one_of(
    rectangles, rings, holed, st.builds(shapely.MultiPolygon, st.lists(rectangles, min_size=1, max_size=2))
)
lines = st.builds(shapely.LineString, st.lists(spots, min_size=2, max_size=5))
many_lines = st.builds(
    shapely.MultiLineString, st.lists(st.lists(spots, min_size=2, max_size=3), min_size=1, max_size=2)
)
points = st.builds(shapely.Point, spots)
features = st.lists(st.one_of(polygons, lines, many_lines, points), max_size=14)
sound = features.map(lambda shapes: [shape for shape in shapes if shape.is_valid])
fine_points = st.lists(st.builds(shapely.Point, fine_spots), max_size=14)


def build(shapes, box=BOX, options=WHOLE):
    return build_graph(
        np.array(shapes, dtype=object), [{"name": str(i)} for i in range(len(shapes))], box, options=options
    )


def words_of(graph, kind):
    edges = graph.edges[kind]
    found = {
        (int(a), int(b)): RELATIONS[kind][code]
        for (a, b), code in zip(edges.index.T, edges.relation, strict=True)
    }
    assert len(found) == len(edges), "no edge twice"
    return found


def assert_same(one, other, *, places=0.0):
    assert one.tag_names == other.tag_names
    for name in NODE_TYPES:
        np.testing.assert_array_equal(one.nodes[name].rows, other.nodes[name].rows)
        np.testing.assert_allclose(
            one.nodes[name].coordinates, other.nodes[name].coordinates, rtol=0, atol=places
        )
    for kind in EDGE_TYPES:
        np.testing.assert_array_equal(one.edges[kind].index, other.edges[kind].index, str(kind))
        np.testing.assert_array_equal(one.edges[kind].relation, other.edges[kind].relation, str(kind))


@given(features)
def test_every_relation_is_what_shapely_says_of_the_pair(shapes):
    graph, expected = build(shapes), pairwise_edges(shapes, equals=True)
    for kind in EDGE_TYPES:
        if kind != ("point", "to", "point"):
            assert words_of(graph, kind) == expected[kind], kind


@given(features)
def test_the_published_answers_differ_for_equal_geometries_only(shapes):
    graph, expected = (
        build(shapes, options=GraphOptions(clip=False, reference_compat=True)),
        pairwise_edges(shapes, equals=False),
    )
    for kind in EDGE_TYPES:
        if kind != ("point", "to", "point"):
            assert words_of(graph, kind) == expected[kind], kind


@given(sound)
def test_relations_of_what_the_box_keeps_are_those_of_the_pieces(shapes):
    box, frame = (2.0, 2.0, 7.0, 7.0), shapely.box(2, 2, 7, 7)
    graph = build(shapes, box, GraphOptions())
    pieces = []
    for shape in shapes:
        dimension = shapely.get_dimensions(shape)
        left = [
            part for part in _parts(shape.intersection(frame)) if shapely.get_dimensions(part) == dimension
        ]
        if left:
            pieces.append(
                [shapely.MultiPoint, shapely.MultiLineString, shapely.MultiPolygon][dimension](left)
            )
    pieces = [piece.centroid if shapely.get_dimensions(piece) == 0 else piece for piece in pieces]
    expected = pairwise_edges(pieces, equals=True)
    for kind in EDGE_TYPES:
        if kind != ("point", "to", "point"):
            assert words_of(graph, kind) == expected[kind], kind
    for name in NODE_TYPES:
        coordinates = graph.nodes[name].coordinates
        assert ((coordinates >= -1e-6) & (coordinates <= 1 + 1e-6)).all() or name == "polygon"


def _parts(shape):
    return [part for part in getattr(shape, "geoms", [shape]) if not part.is_empty]


@given(sound, st.lists(st.tuples(spots, sizes), max_size=4))
def test_a_batch_is_its_graphs_one_by_one(shapes, corners):
    boxes = [_rectangle(corner, size).bounds for corner, size in corners]
    tags = [{"name": str(i)} for i in range(len(shapes))]
    array = np.array(shapes, dtype=object)
    batch = build_graphs(array, tags, boxes)
    assert [save_graph(graph) for graph in batch] == [
        save_graph(build_graph(array, tags, box)) for box in boxes
    ]


@given(sound, st.integers(-40, 40), st.integers(-40, 40), st.integers(-8, 8))
def test_moving_and_scaling_box_and_features_changes_nothing(shapes, right, up, power):
    # Of an invalid polygon GEOS's own answer changes with where its self-crossings are rounded to.
    scale = 2.0**power

    def change(xy):
        return (np.asarray(xy) + np.array([right, up])) * scale

    moved = [shapely.transform(shape, change) for shape in shapes]
    corners = change([BOX[:2], BOX[2:]]).ravel()
    assert_same(build(moved, tuple(corners)), build(shapes))


@given(sound, st.sampled_from([(-1, 1), (1, -1), (-1, -1)]))
def test_flipping_flips_coordinates_only(shapes, signs):
    def flip(xy):
        return np.where(np.array(signs) < 0, 8 - xy, xy)

    flipped, straight = build([shapely.transform(shape, flip) for shape in shapes]), build(shapes)
    for name in NODE_TYPES:
        pairs = straight.nodes[name].coordinates.reshape(-1, 2)
        wanted = np.where(np.array(signs) < 0, 1 - pairs, pairs)
        np.testing.assert_allclose(flipped.nodes[name].coordinates.reshape(-1, 2), wanted, rtol=0, atol=1e-5)
    for kind in EDGE_TYPES:
        assert words_of(flipped, kind) == words_of(straight, kind), kind


@given(fine_points, st.sampled_from([(-1, 1), (1, -1), (-1, -1)]))
def test_flipping_points_off_the_grid_keeps_their_neighbours(shapes, signs):
    flipped = [
        shapely.transform(shape, lambda xy: np.where(np.array(signs) < 0, 8 - xy, xy)) for shape in shapes
    ]
    kind = ("point", "to", "point")
    assert words_of(build(flipped), kind) == words_of(build(shapes), kind)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_change_nothing(threads, rng):
    corners, spans = rng.uniform(0, 8, (900, 2)), rng.uniform(0.01, 1.5, (900, 2))
    shapes = list(shapely.box(*corners.T, *(corners + spans).T))
    alone = build(shapes, options=GraphOptions(threads=1))
    assert len(alone.edges["polygon", "to", "polygon"]) > 4000
    assert save_graph(build(shapes, options=GraphOptions(threads=threads))) == save_graph(alone)
