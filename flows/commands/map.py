"""Hold the commands that make cubes: map, ingest, plan.

Each command imports what it needs when it is called: ``--help`` answers at once, and Dask workers, which
import the main module again, start without the weight of commands they never run.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from infra.errors import InputError
from infra.settings import data_home, load_settings

if TYPE_CHECKING:
    from flows.params import MapAreaParams
    from flows.summary import RunSummary

EXIT_QUARANTINED = 3
Params = TypeVar("Params")
Summary = TypeVar("Summary")

Source = Annotated[
    str, typer.Option(help="Preset (earth-search, planetary-computer), STAC API URL or catalogue path")
]
Collections = Annotated[str, typer.Option(help="Collection ids, comma-separated")]
Bbox = Annotated[str, typer.Option(metavar="W,S,E,N", help="Degrees; W > E crosses the antimeridian")]
Datetime = Annotated[str, typer.Option(metavar="A/B", help="ISO 8601 interval, e.g. 2024-06-01/2024-06-30")]
Store = Annotated[str | None, typer.Option(help="Path or s3://bucket/prefix  [default: setting store]")]
Bands = Annotated[
    str | None, typer.Option(help="Variables, comma-separated  [default: the collection's own]")
]
Resolution = Annotated[float, typer.Option(help="Pixel edge, metres")]
Crs = Annotated[str | None, typer.Option(help="CRS of the grid  [default: the UTM zone of the area]")]
Loader = Annotated[str, typer.Option(help="odc or stackstac")]
Resampling = Annotated[str, typer.Option(help="Resampling of data bands")]
Mask = Annotated[str, typer.Option(help="none, or clouds: cloud, shadow and fill classes become nodata")]
Osm = Annotated[
    str | None, typer.Option(help="Also publish OpenStreetMap data of the area: an extract, or overpass")
]
Matcher = Annotated[str, typer.Option(help="What finds tie points when scenes are registered")]
Encoder = Annotated[str, typer.Option(help="Model that gives vectors where step encode is asked for")]
RegisterToMap = Annotated[
    bool, typer.Option("--register-to-map", help="Also register optical cubes to the drawn map")
]
Steps = Annotated[str, typer.Option(help="Steps to run, comma-separated; ingest alone registers nothing")]
MaxQuarantined = Annotated[float, typer.Option(help="Share of cubes that may fail before the exit code is 3")]
BrokenAssets = Annotated[str, typer.Option(help="refuse, or quarantine cubes whose local files are broken")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan; read and write no pixels")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]


def map_command(  # noqa: PLR0913 - the options are the command's contract
    source: Source,
    collections: Collections,
    bbox: Bbox,
    datetime: Datetime,
    store: Store = None,
    bands: Bands = None,
    resolution_m: Resolution = 10.0,
    crs: Crs = None,
    loader: Loader = "odc",
    resampling: Resampling = "nearest",
    mask: Mask = "none",
    osm: Osm = None,
    steps: Steps = "ingest,register",
    matcher: Matcher = "phase",
    encoder: Encoder = "mars-tiny",
    register_to_map: RegisterToMap = False,
    max_quarantined: MaxQuarantined = 0.0,
    broken_assets: BrokenAssets = "refuse",
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Map an area: map data, search, read, write cubes, register radar to optical, publish.

    Example: terraloom map --source earth-search --collections sentinel-2-l2a --bbox 13.3,52.4,13.5,52.6
    --datetime 2024-06-01/2024-06-10 --bands red,green,blue,nir --store ./store
    """
    params = _to_params(locals())
    if dry_run:
        return _plan(params, as_json=as_json)
    # Only now: what Prefect takes to import is not spent on a request that is refused.
    from flows.map_area import map_area

    return run_flow(map_area, params, as_json=as_json, max_quarantined=max_quarantined)


def ingest(  # noqa: PLR0913 - the options are the command's contract
    source: Source,
    collections: Collections,
    bbox: Bbox,
    datetime: Datetime,
    store: Store = None,
    bands: Bands = None,
    resolution_m: Resolution = 10.0,
    crs: Crs = None,
    loader: Loader = "odc",
    resampling: Resampling = "nearest",
    mask: Mask = "none",
    max_quarantined: MaxQuarantined = 0.0,
    broken_assets: BrokenAssets = "refuse",
    as_json: Json = False,
) -> int:
    """Only turn scenes into published cubes; no later step.

    Example: terraloom ingest --source ./catalogue --collections scenes --bbox 13.3,52.4,13.5,52.6
    --datetime 2024-06-01/.. --store ./store
    """
    params = _to_params(locals() | {"steps": "ingest"})
    from flows.ingest_scenes import ingest_scenes

    return run_flow(ingest_scenes, params, as_json=as_json, max_quarantined=max_quarantined)


def plan(  # noqa: PLR0913 - the options are the command's contract
    source: Source,
    collections: Collections,
    bbox: Bbox,
    datetime: Datetime,
    store: Store = None,
    bands: Bands = None,
    resolution_m: Resolution = 10.0,
    crs: Crs = None,
    mask: Mask = "none",
    as_json: Json = False,
) -> int:
    """Print what a request would make, and what of it stands already.

    Example: terraloom plan --source earth-search --collections sentinel-2-l2a --bbox 13.3,52.4,13.5,52.6
    --datetime 2024-06-01/2024-06-10
    """
    return _plan(_to_params(locals()), as_json=as_json)


def run_flow(
    flow: Callable[[Params], RunSummary], params: Params, *, as_json: bool, max_quarantined: float = 0.0
) -> int:
    """Run a flow against a Prefect API, show it, and return the exit code.

    Args:
        flow: What to run.
        params: The request.
        as_json: Print one JSON object.
        max_quarantined: Share of the products that may be in quarantine before the exit code is 3.
    """
    from flows.terminal import watching_progress

    summary = call_flow(flow, params, watching=watching_progress(quiet=as_json))
    show(summary, as_json=as_json)
    return EXIT_QUARANTINED if summary.quarantined_share > max_quarantined else 0


def call_flow(
    flow: Callable[[Params], Summary], params: Params, *, watching: AbstractContextManager[None]
) -> Summary:
    """Run a flow against a Prefect API, the one that settings name or one for as long as it lasts.

    Args:
        flow: What to run.
        params: The request.
        watching: Shows progress meanwhile.
    """
    from flows.prefect_server import prefect_api
    from infra.logging import configure_logging

    settings = load_settings(os.environ)
    configure_logging(settings.log_level)
    home = data_home(os.environ) / "prefect"
    named = settings.prefect_api_url or os.environ.get("PREFECT_API_URL")
    with prefect_api(named, home=home) as server, watching:
        if server is not None:
            server.wait_ready()
        return flow(params)


def show(summary: RunSummary, *, as_json: bool) -> None:
    """Print a summary for a script or for a person."""
    from flows.terminal import print_summary

    if as_json:
        sys.stdout.write(json.dumps(summary.model_dump(mode="json")) + "\n")
    else:
        print_summary(summary)


def _plan(params: MapAreaParams, *, as_json: bool) -> int:
    from catalog.cubes.receipts import read_cube_receipt
    from catalog.search.find import search_scenes
    from catalog.sources.presets import resolve_source
    from flows.plan_table import plan_rows
    from flows.planning import plan_request
    from flows.terminal import print_rows
    from infra.storage import open_storage

    trusted = load_settings(os.environ).sources
    scenes = search_scenes(
        resolve_source(params.source, extra_roots=trusted.extra_roots, extra_hosts=trusted.extra_hosts),
        collections=params.collections,
        bbox=params.bbox,
        datetime_range=params.datetime,
        bands=params.bands,
        max_items=params.max_scenes,
    )
    plans = plan_request(params, scenes)
    storage = open_storage(params.store)
    standing = {plan.id for plan in plans if read_cube_receipt(storage, plan) is not None}
    rows = plan_rows(plans, reused=standing)
    if as_json:
        grid = dataclasses.asdict(plans[0].grid) if plans else None
        counts = {"planned": len(plans), "written": 0, "reused": len(standing), "grid": grid, "plan": rows}
        sys.stdout.write(json.dumps(counts) + "\n")
    else:
        shown = [{name: row[name] for name in ("cube", "scenes", "bands", "tiles", "state")} for row in rows]
        size = f", each {rows[0]['size']} in {rows[0]['crs']}" if rows else ""
        print_rows(f"{len(plans)} cubes, {len(standing)} of them stand already{size}", shown)
    return 0


def _to_params(values: dict[str, Any]) -> MapAreaParams:
    """Turn a command's options into run parameters; refuse what is not well formed."""
    from flows.params import MapAreaParams, parse_params

    chosen = {name: value for name, value in values.items() if name in MapAreaParams.model_fields}
    chosen["bbox"] = numbers(chosen["bbox"])
    for name in ("collections", "bands", "steps"):
        if isinstance(chosen.get(name), str):
            chosen[name] = [word.strip() for word in chosen[name].split(",") if word.strip()]
    return parse_params(chosen | {"store": chosen_store(chosen.get("store"))})


def chosen_store(store: str | None) -> str:
    """Return the store that is named, else the one of the settings."""
    return load_settings(os.environ).store if store is None else store


def numbers(text: str) -> list[float]:
    """Parse W,S,E,N.

    Raises:
        InputError: not four numbers.
    """
    words = text.split(",")
    try:
        found = [float(word) for word in words]
    except ValueError as exc:
        raise InputError(
            f"bbox {text!r} is not four numbers; give W,S,E,N, e.g. 13.0,52.3,13.2,52.5"
        ) from exc
    if len(found) != 4:
        raise InputError(f"bbox {text!r} has {len(found)} numbers, not four; give W,S,E,N")
    return found
