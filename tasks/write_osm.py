"""Make the product of an area of OpenStreetMap: features, graph, street network, pictures."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prefect import task

from catalog.osm.extract import check_unchanged
from catalog.osm.labels import label_tags
from catalog.osm.plan import NetworkKind, OsmPlan
from catalog.osm.product import OsmExtras, write_product
from catalog.osm.reading import read_features
from catalog.osm.records import OsmFeatures
from catalog.osm.repair import unwrap_area
from catalog.products import ProductOutcome
from infra.storage import open_storage
from tasks.policies import PIXELS

if TYPE_CHECKING:
    from models.osm_graph.schema import OsmGraph

GRAPH_NAME = "graph.safetensors"


@task(task_run_name="write-{plan.id}", **PIXELS)
def write_osm(store_uri: str, plan: OsmPlan) -> ProductOutcome:
    """Make an area of OpenStreetMap stand: every file, then the receipt.

    Returns:
        What was done.

    Raises:
        InputError: the area holds nothing, or too much.
        DataError: the extract is broken, or has changed since it was planned.
        ConfigError: the store is full or may not be written.
    """
    started = time.perf_counter()
    storage = open_storage(store_uri)
    reading = read_features(plan.extract, plan.clip, max_features=plan.options.max_features)
    files: dict[str, bytes] = {}
    counts: dict[str, int] = {}
    if plan.options.graph:
        from models.osm_graph.serial import save_graph

        graph = make_graph(reading.features, plan)
        files[GRAPH_NAME] = save_graph(graph)
        counts = graph.counts()
    if plan.options.network is not None:
        files[f"network.{plan.options.network_form}"] = make_network(plan, plan.options.network)
    check_unchanged(plan.extract)  # the file is opened several times, and a mirror may replace it meanwhile
    receipt = write_product(storage, plan, reading, OsmExtras(files=files, graph=counts))
    return ProductOutcome(
        id=plan.id,
        tiles_read=1,
        bytes_written=receipt.total_bytes,
        seconds=time.perf_counter() - started,
    )


def make_network(plan: OsmPlan, kind: NetworkKind) -> bytes:
    """Make the street network of an area, in the plan's file format."""
    from catalog.osm.streets.network import encode_network, read_street_network  # osmnx: a second and more

    return encode_network(read_street_network(plan.extract, plan.clip, kind), plan.options.network_form)


def make_graph(features: OsmFeatures, plan: OsmPlan) -> OsmGraph:
    """Build the graph of an area's features; its box reaches beyond 180° where the area crosses it."""
    from models.osm_graph.build import build_graph  # scipy: half a second that no other command should pay

    tags = [label_tags(tags) for tags in features.tags]
    geometries, box = unwrap_area(features.geometries, plan.area)
    return build_graph(geometries, tags, box)
