"""Hold the command that makes a product of OpenStreetMap data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.map import Json, Store, chosen_store, numbers, run_flow

if TYPE_CHECKING:
    from flows.params import OsmParams

Source = Annotated[
    str, typer.Option(help="Extract (.osm, .osm.gz, .osm.bz2, .osm.pbf), or overpass to ask a server")
]
Bbox = Annotated[
    str | None,
    typer.Option(
        metavar="W,S,E,N", help="Degrees; W > E crosses the antimeridian  [default: the whole extract]"
    ),
]
Resolution = Annotated[
    float | None, typer.Option(help="Pixel edge of the drawn map, metres  [default: to fit 4096 pixels]")
]
Crs = Annotated[str | None, typer.Option(help="CRS of the drawn map  [default: the UTM zone of the area]")]
Graph = Annotated[bool, typer.Option("--graph/--no-graph", help="Keep the graph of the features")]
Network = Annotated[str | None, typer.Option(help="Also keep a street network: drive, walk, bike or all")]
NetworkForm = Annotated[str, typer.Option(help="Its file format: graphml or gpkg")]
AsOf = Annotated[str | None, typer.Option(help="Ask Overpass for older data, e.g. 2024-06-01T00:00:00Z")]
MaxFeatures = Annotated[int, typer.Option(help="Refuse areas that hold more")]


def osm(  # noqa: PLR0913 - the options are the command's contract
    source: Source,
    bbox: Bbox = None,
    store: Store = None,
    resolution_m: Resolution = None,
    crs: Crs = None,
    graph: Graph = True,
    network: Network = None,
    network_form: NetworkForm = "graphml",
    as_of: AsOf = None,
    max_features: MaxFeatures = 2_000_000,
    as_json: Json = False,
) -> int:
    """Publish OpenStreetMap data: features, graph, drawn map.

    Example: terraloom osm --source liechtenstein-latest.osm.pbf --bbox 9.50,47.12,9.54,47.16 --store ./store
    """
    params = _to_params(locals())
    from flows.ingest_osm import ingest_osm

    return run_flow(ingest_osm, params, as_json=as_json)


def _to_params(values: dict[str, Any]) -> OsmParams:
    from flows.params import OsmParams, parse_as

    chosen = {name: value for name, value in values.items() if name in OsmParams.model_fields}
    if chosen["bbox"] is not None:
        chosen["bbox"] = numbers(chosen["bbox"])
    return parse_as(OsmParams, chosen | {"store": chosen_store(chosen["store"])})
