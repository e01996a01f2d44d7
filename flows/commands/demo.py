"""Hold the command that shows everything on the sample world."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.commands.map import EXIT_QUARANTINED, show
from flows.commands.serve import find_browser, mount_browser, prepare_app, until_stopped
from infra.settings import Settings, data_home, load_settings

if TYPE_CHECKING:
    from flows.params import MapAreaParams
    from flows.summary import RunSummary


def demo(
    folder: Annotated[Path, typer.Option(help="Folder for the sample world and its store")] = Path(
        "var/demo"
    ),
    port: Annotated[int, typer.Option(help="Port of the STAC API; 0 takes a free one")] = 8081,
    serve: Annotated[bool, typer.Option("--serve/--no-serve", help="Keep serving until Ctrl-C")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object")] = False,
) -> int:
    """Draw the sample world, map it, and serve what came out.

    Example: terraloom demo --no-serve
    """
    from flows.map_area import map_area
    from flows.prefect_server import prefect_api
    from flows.terminal import watching_progress
    from infra.logging import configure_logging

    settings = load_settings(os.environ)
    configure_logging(settings.log_level)
    named = settings.prefect_api_url or os.environ.get("PREFECT_API_URL")
    with prefect_api(named, home=data_home(os.environ) / "prefect") as server:
        params = _sample_request(folder)
        with watching_progress(quiet=as_json):
            if server is not None:
                server.wait_ready()
            summary = map_area(params)
        show(summary, as_json=as_json)
        if serve:
            _keep_serving(summary, port=port, settings=settings)
    return EXIT_QUARANTINED if summary.quarantined else 0


def _sample_request(folder: Path) -> MapAreaParams:
    from catalog.sample.publish import SampleWorldConfig, write_sample_world
    from flows.params import parse_params

    world = write_sample_world(folder / "world", SampleWorldConfig())
    return parse_params(
        {
            "source": str(world.catalog),
            "collections": world.collections,
            "bbox": world.bbox,
            "datetime": world.datetime,
            "osm": str(world.osm),
            "store": str(folder / "store"),
        }
    )


def _keep_serving(summary: RunSummary, *, port: int, settings: Settings) -> None:
    from catalog.server.app import serving
    from infra.cluster import dashboard_link, running_cluster

    app = prepare_app(settings, summary.store, read_only=True)
    browser = mount_browser(app, find_browser())
    with (
        until_stopped() as stopped,
        serving(app, port=port) as stac_url,
        running_cluster(settings.dask) as cluster,
    ):
        prefect_url = os.environ["PREFECT_API_URL"].removesuffix("/api")
        pages = f"{stac_url}/{browser}/" if browser else f"terraloom browse --store {summary.store}"
        for name, url in (
            ("catalogue", stac_url),
            ("browser", pages),
            ("Prefect", prefect_url),
            ("Dask", dashboard_link(cluster)),
        ):
            sys.stdout.write(f"{name:<10} {url}\n")
        sys.stdout.write("Ctrl-C stops\n")
        sys.stdout.flush()
        stopped.wait()
