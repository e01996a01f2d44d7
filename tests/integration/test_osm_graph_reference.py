"""GeoLink's own converter examples: our graph beside a plain pairwise one, in ``reference_compat``."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import shapely
from scipy.spatial import Delaunay

from catalog.osm.extract import describe_extract
from catalog.osm.reading import read_features
from models.osm_graph.build import build_graph
from models.osm_graph.labels import read_labels
from models.osm_graph.schema import EDGE_TYPES, NODE_TYPES, RELATIONS, GraphOptions
from tests.support.geometry_pairs import pairwise_edges

pytestmark = pytest.mark.real

SITES = {
    "a1085095888_S2_20": {"polygon": 10, "line": 0, "point": 0},
    "a472140250_FI_21": {"polygon": 8, "line": 9, "point": 1},
    "w221548378_US_21": {"polygon": 12, "line": 7, "point": 0},
}
"""Site → its nodes, counted in the GeoJSON files."""
POINTS = ("point", "to", "point")


@pytest.fixture(scope="module", params=SITES)
def site(request, real_data):
    """A site's name, geometries, tags and box."""
    folder = real_data / "imagery_osm/geolink_osm2graph" / request.param
    shapes, tags = [], []
    for name in NODE_TYPES:
        file = folder / f"{request.param}_{name}.geojson"
        for feature in json.loads(file.read_text())["features"] if file.exists() else []:
            shapes.append(shapely.from_geojson(json.dumps(feature["geometry"])))
            tags.append(read_labels(feature["properties"]["label"]))
    box = tuple(json.loads((folder / f"{request.param}_meta.json").read_text())["bbox"])
    return request.param, shapes, tags, box


def build(site, **options):
    _, shapes, tags, box = site
    return build_graph(np.array(shapes, dtype=object), tags, box, options=GraphOptions(**options))


def plain_places(shape, box):
    """Return the positions that no draw decides, as the published converter lists them."""
    west, south, east, north = box
    centroid = (shape.centroid.x, shape.centroid.y)
    if shape.geom_type == "Polygon":
        pairs = [centroid]
    elif shape.geom_type == "LineString":
        pairs = [centroid, shape.coords[0], shape.coords[-1]]
    else:
        pairs = [shape.coords[0]]
    return list(
        itertools.chain(*(((x - west) / (east - west), 1 - (y - south) / (north - south)) for x, y in pairs))
    )


def plain_neighbours(points):
    edges = {(i, i): "self" for i in range(len(points))}
    if len(points) > 3:
        for triangle in Delaunay([(point.x, point.y) for point in points]).simplices.tolist():
            edges |= dict.fromkeys(itertools.permutations(triangle, 2), "neighbour")
    return edges


def words(graph, kind):
    edges = graph.edges[kind]
    columns = edges.edge_attr()
    assert columns.shape == (len(edges), len(RELATIONS[kind]))
    assert (columns.sum(axis=1) == 1).all()
    found = {}
    for (source, target), row in zip(edges.index.T.tolist(), columns, strict=True):
        found[source, target] = RELATIONS[kind][int(row.argmax())]
    assert len(found) == len(edges)
    return found


def test_node_counts(site):
    assert {name: len(nodes) for name, nodes in build(site, reference_compat=True).nodes.items()} == SITES[
        site[0]
    ]


def test_places_that_no_draw_decides(site):
    graph = build(site, reference_compat=True)
    _, shapes, _, box = site
    for name, nodes in graph.nodes.items():
        expected = [plain_places(shapes[row], box) for row in nodes.rows]
        fixed = nodes.coordinates[:, 6:] if name == "polygon" else nodes.coordinates
        if expected:
            np.testing.assert_allclose(fixed, np.array(expected), rtol=0, atol=2e-6)
        assert nodes.coordinates.dtype == np.float32


def test_edges_and_their_attributes_uncut(site):
    graph = build(site, reference_compat=True, clip=False)
    _, shapes, _, _ = site
    expected = pairwise_edges(shapes, equals=False)
    expected[POINTS] = plain_neighbours([shape for shape in shapes if shape.geom_type == "Point"])
    for kind in EDGE_TYPES:
        assert words(graph, kind) == expected[kind], kind
    assert sum(len(edges) for edges in graph.edges.values()) > len(shapes)


def test_the_examples_were_cut_to_their_box_already(site):
    # Cutting again moves nothing by more than the last digits that the GeoJSON files keep.
    cut, uncut = build(site, reference_compat=True), build(site, reference_compat=True, clip=False)
    for name in NODE_TYPES:
        np.testing.assert_array_equal(cut.nodes[name].rows, uncut.nodes[name].rows)
        fixed = slice(6, None) if name == "polygon" else slice(None)
        np.testing.assert_allclose(
            cut.nodes[name].coordinates[:, fixed], uncut.nodes[name].coordinates[:, fixed], rtol=0, atol=1e-5
        )


def test_tags_are_the_labels(site):
    graph = build(site)
    _, _, tags, _ = site
    for nodes in graph.nodes.values():
        for place, row in enumerate(nodes.rows):
            ids = nodes.tag_ids[nodes.tag_offsets[place] : nodes.tag_offsets[place + 1]]
            assert sorted(graph.tag_names[i] for i in ids) == sorted(f"{k}:{v}" for k, v in tags[row].items())


def test_a_real_town_is_related_as_pair_by_pair(real_data):
    box = (7.4195, 43.7345, 7.4225, 43.7365)
    features = read_features(describe_extract(real_data / "osm/monaco-latest.osm.pbf"), box).features
    graph = build_graph(features.geometries, features.tags, box, options=GraphOptions(clip=False))
    expected = pairwise_edges(list(features.geometries), equals=True)
    assert 100 < len(features) < 600
    for kind in EDGE_TYPES:
        if kind != POINTS:
            assert words(graph, kind) == expected[kind], kind
