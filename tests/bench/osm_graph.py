"""Measure the graph of map features beside the published way: a scalar ``relate`` for every pair.

The baseline relates each unordered pair once and tries patterns on the matrix in turn; both sides give the
same edges, which is checked. *Relations* are all nine edge types; shaping and cutting the features is not
counted. *Whole* is everything: features and tags in, nodes, edges and text vectors out, where the baseline
encodes each tag of each feature by itself. Features are those nearest to the middle of Vaduz, all types. A
pause of the machine makes one round slow, so the best of several rounds counts, on both sides.

Run: ``TERRALOOM_REAL_DATA=… python -m tests.bench.osm_graph``.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely
from scipy.spatial import Delaunay

from catalog.osm.extract import describe_extract
from catalog.osm.labels import label_tags
from catalog.osm.reading import read_features
from models.osm_graph.build import build_graph, make_edges
from models.osm_graph.features import shape_features
from models.osm_graph.schema import EDGE_TYPES, RELATIONS, GraphOptions, OsmGraph
from models.osm_graph.text import node_text
from models.tag_text.clip import ClipTextEncoder
from models.tag_text.hashed import HashedTextEncoder
from models.tag_text.protocol import TextEncoder
from tests.bench.osm_tag_text import _CLIP_B16, encode_single
from tests.support.clip_text import write_clip_folder
from tests.support.geometry_pairs import pairwise_edges

_VADUZ = (9.5215, 47.141)
_POINTS = ("point", "to", "point")
_SAMPLE = 60
_WHOLE = GraphOptions(clip=False)


class Places(NamedTuple):
    """The n features nearest to Vaduz."""

    geometries: np.ndarray
    tags: list[Mapping[str, str]]
    box: tuple[float, float, float, float]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--features", type=int, nargs="+", default=[300, 1000, 5000, 20_000])
    options.add_argument("--baseline-up-to", type=int, default=5000, help="most features for the loop")
    options.add_argument(
        "--whole", type=int, default=1000, help="features of the whole converter; 0 leaves it out"
    )
    options.add_argument("--rounds", type=int, default=5)
    asked = options.parse_args()
    if "TERRALOOM_REAL_DATA" not in os.environ:
        print("graph of map features: left out, TERRALOOM_REAL_DATA names no folder of real data")
        return
    every = read_places(Path(os.environ["TERRALOOM_REAL_DATA"]) / "osm/liechtenstein-latest.osm.pbf")
    print_relations(every, asked)
    if asked.whole:
        print_whole(nearest(every, asked.whole), asked.rounds)


def read_places(extract: Path) -> Places:
    features = read_features(describe_extract(extract)).features
    order = np.argsort(shapely.distance(features.geometries, shapely.Point(_VADUZ)), kind="stable")
    tags = [label_tags(features.tags[row]) for row in order]
    return nearest(Places(features.geometries[order], tags, (0, 0, 1, 1)), len(order))


def nearest(places: Places, count: int) -> Places:
    chosen = places.geometries[:count]
    return Places(chosen, places.tags[:count], tuple(shapely.total_bounds(chosen).tolist()))


def print_relations(every: Places, asked: argparse.Namespace) -> None:
    print("| features | edges | loop, s | relations, s | one thread, s | ratio | whole graph, s |")
    print("|---|---|---|---|---|---|---|")
    took = {}
    for count in asked.features:
        places = nearest(every, count)
        took[len(places.geometries)] = print_relations_row(places, asked)
    print_growth(took)


def print_relations_row(places: Places, asked: argparse.Namespace) -> float:
    count = len(places.geometries)
    loop, fast, alone, whole = [], [], [], []
    for turn in range(asked.rounds):
        if count <= asked.baseline_up_to and (count < 2000 or turn == 0):  # the longest loop runs once
            loop.append(seconds(lambda: pairwise_edges(list(places.geometries), equals=True))[0])
        fast.append(time_relations(places, threads=2))
        alone.append(time_relations(places, threads=1))
        whole.append(seconds(lambda: build_graph(*places, options=_WHOLE))[0])
    if count <= 1000:
        check_equal(places)
    edges = sum(len(kind) for kind in build_graph(*places, options=_WHOLE).edges.values())
    print(
        f"| {count} | {edges} | {f'{min(loop):.2f}' if loop else '–'} | {min(fast):.4f} "
        f"| {min(alone):.4f} | {f'{min(loop) / min(fast):.0f} ×' if loop else '–'} | {min(whole):.3f} |",
        flush=True,
    )
    return min(fast)


def time_relations(places: Places, *, threads: int) -> float:
    shapes = shape_features(places.geometries, places.box, clip=False)  # fresh: nothing is prepared yet
    chosen = GraphOptions(clip=False, threads=threads)
    return seconds(lambda: make_edges(shapes, places.box, chosen))[0]


def print_growth(took: dict[int, float]) -> None:
    large = {count: spent for count, spent in took.items() if count >= 1000}
    if len(large) > 1:
        low, high = min(large), max(large)
        power = math.log(large[high] / large[low]) / math.log(high / low)
        print(f"growth of the relations from {low} to {high} features: n^{power:.2f}")


def check_equal(places: Places) -> None:
    graph = build_graph(*places, options=_WHOLE)
    expected = pairwise_edges(list(places.geometries), equals=True)
    for kind in EDGE_TYPES:
        edges = graph.edges[kind]
        words = [RELATIONS[kind][code] for code in edges.relation]
        found = dict(zip(map(tuple, edges.index.T.tolist()), words, strict=True))
        if kind != _POINTS and found != expected[kind]:
            raise SystemExit(f"edges {kind} differ from the loop's")


def print_whole(places: Places, rounds: int) -> None:
    print("\n| features | encoder | tags | distinct | loop, s | ours, s | ratio |")
    print("|---|---|---|---|---|---|---|")
    texts = [f"{key}:{value}" for tags in places.tags for key, value in tags.items()]
    with tempfile.TemporaryDirectory() as folder:
        words = sorted({word for text in texts for word in re.findall(r"[a-z]+", text)})
        clip = ClipTextEncoder(write_clip_folder(Path(folder) / "clip", words, longest=8, **_CLIP_B16))
        for name, encoder in (("hashed", HashedTextEncoder()), ("CLIP B/16 size", clip)):
            print_whole_row(name, encoder, places, texts, rounds)


def print_whole_row(name: str, encoder: TextEncoder, places: Places, texts: list[str], rounds: int) -> None:
    # Each round measures both sides beside each other; CLIP's single texts are a sample, multiplied.
    sample = texts if name == "hashed" else texts[:: max(1, len(texts) // _SAMPLE)]
    loops, ours = [], []
    for _ in range(rounds):
        graph, tagging = (
            seconds(lambda: loop_graph(places)),
            seconds(lambda: [encode_single(encoder, t) for t in sample]),
        )
        loops.append(graph[0] + tagging[0] * len(texts) / len(sample))
        ours.append(seconds(lambda: convert(places, encoder))[0])
    print(
        f"| {len(places.geometries)} | {name} | {len(texts)} | {len(set(texts))} | {min(loops):.2f} "
        f"| {min(ours):.4f} | {min(loops) / min(ours):.0f} × |",
        flush=True,
    )


def convert(places: Places, encoder: TextEncoder) -> tuple[OsmGraph, dict[str, np.ndarray]]:
    """Features and tags in, graph and text vectors out."""
    graph = build_graph(*places, options=_WHOLE)
    return graph, node_text(graph, encoder)


def loop_graph(places: Places) -> None:
    """Do what the published converter does but for the text: pairs, places one by one, Delaunay."""
    pairwise_edges(list(places.geometries), equals=False)
    west, south, east, north = places.box
    for shape in places.geometries:
        centre = shape.centroid
        spots = [(centre.x, centre.y)]
        if shape.geom_type == "Polygon":
            reach = [centre.distance(shapely.Point(spot)) for spot in shape.exterior.coords]
            spots += [_anchor(shape, centre, angle, max(reach) / 2) for angle in (0.0, 2.09, 4.19)]
        [((x - west) / (east - west), 1 - (y - south) / (north - south)) for x, y in spots]
    Delaunay(shapely.get_coordinates(places.geometries[shapely.get_dimensions(places.geometries) == 0]))


def _anchor(
    shape: shapely.Polygon, centre: shapely.Point, angle: float, radius: float
) -> tuple[float, float]:
    for reach in np.linspace(radius, 0, 10):
        spot = (centre.x + reach * math.cos(angle), centre.y + reach * math.sin(angle))
        if shape.contains(shapely.Point(spot)):
            return spot
    return centre.x, centre.y


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


if __name__ == "__main__":
    main()
