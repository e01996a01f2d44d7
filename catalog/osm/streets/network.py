"""Make a street network of an extract with osmnx, and encode it."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Mapping
from pathlib import Path

import networkx as nx
import osmnx
import pyogrio
import shapely

from catalog.grid import BoundsLonLat
from catalog.osm.osmnx_session import osmnx_session
from catalog.osm.plan import NetworkForm, NetworkKind
from catalog.osm.records import ExtractFacts
from catalog.osm.streets.ways import write_streets
from infra.errors import InputError

_UNKNOWN_DATE = "1970-01-01T00:00:00Z"


def read_street_network(
    extract: ExtractFacts, area: BoundsLonLat | None, kind: NetworkKind
) -> nx.MultiDiGraph:
    """Build the simplified network of streets, every connected part of it.

    Streets that leave the area end at their first node outside. Nodes are junctions and ends, edges carry
    ``length`` (metres), geometry (lon/lat degrees) and the usual street tags; where several ways make one
    edge, their differing values are sorted lists.

    Args:
        extract: File to read.
        area: Degrees, west > east crosses the antimeridian; None takes the whole extract.
        kind: Who goes there; in ``walk`` every street leads both ways.

    Returns:
        Nodes are OSM ids with ``x``, ``y`` and ``street_count``; same extract, same graph.

    Raises:
        InputError: there is no such street.
        DataError: the extract cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="terraloom-streets-") as folder:
        file = Path(folder) / "streets.osm"
        if write_streets(extract, area, kind, file) == 0:
            raise _empty(extract, area, kind)
        with osmnx_session(cache_only_mode=False, all_oneway=False, default_crs="epsg:4326"):
            graph = osmnx.graph_from_xml(file, bidirectional=kind == "walk", simplify=False, retain_all=True)
            return _finish(graph, area, extract)


def _finish(graph: nx.MultiDiGraph, area: BoundsLonLat | None, extract: ExtractFacts) -> nx.MultiDiGraph:
    # Streets at each junction are counted while the streets that leave the area are still whole.
    counts = osmnx.stats.count_streets_per_node(graph)
    if area is not None:
        graph = osmnx.truncate.truncate_graph_polygon(graph, _polygon(area), truncate_by_edge=True)
    graph = osmnx.simplify_graph(graph, remove_rings=False)
    nx.set_node_attributes(graph, {node: counts[node] for node in graph}, "street_count")
    for _, _, edge in graph.edges(data=True):
        for name, value in edge.items():
            if isinstance(value, list):  # osmnx takes them from sets, whose order changes between processes
                edge[name] = sorted(value, key=lambda entry: (str(type(entry)), entry))
    # The moment of the map, not of this run.
    graph.graph["created_date"] = _date(extract.timestamp)
    return graph


def encode_network(graph: nx.MultiDiGraph, form: NetworkForm) -> bytes:
    """Encode a network as GraphML, or as GeoPackage with the layers ``nodes`` and ``edges`` (undirected).

    Same graph, same bytes: GeoPackage's own clock is set to the graph's ``created_date``.
    """
    with tempfile.TemporaryDirectory(prefix="terraloom-streets-") as folder:
        file = Path(folder) / f"streets.{form}"
        if form == "graphml":
            osmnx.save_graphml(graph, file)
        else:
            _save_geopackage(graph, file)
        return file.read_bytes()


def _save_geopackage(graph: nx.MultiDiGraph, file: Path) -> None:
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    date = str(graph.graph.get("created_date", _UNKNOWN_DATE)).replace("Z", ".000Z")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": date})
    try:
        osmnx.save_graph_geopackage(graph, file)
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})


def _polygon(area: BoundsLonLat) -> shapely.Polygon | shapely.MultiPolygon:
    west, south, east, north = area
    if west < east:
        return shapely.box(*area)
    return shapely.MultiPolygon([shapely.box(west, south, 180, north), shapely.box(-180, south, east, north)])


def _date(moment: dt.datetime | None) -> str:
    return _UNKNOWN_DATE if moment is None else f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _empty(extract: ExtractFacts, area: BoundsLonLat | None, kind: NetworkKind) -> InputError:
    place = (
        extract.path if area is None else f"{extract.path} within {','.join(f'{edge:g}' for edge in area)}"
    )
    streets: Mapping[str, str] = {"drive": "for cars", "walk": "to walk", "bike": "to cycle", "all": "at all"}
    return InputError(f"no street {streets[kind]} in {place}; choose another area or network kind")
