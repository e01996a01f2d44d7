"""Turn OpenStreetMap data into a published product: fetch, plan, write, publish, reconcile."""

from __future__ import annotations

import logging

from prefect import flow

from catalog.osm.overpass.options import OverpassOptions
from catalog.osm.plan import OsmOptions, OsmPlan, OsmReceipt, plan_osm
from catalog.osm.records import ExtractFacts
from catalog.products import receipt_of
from catalog.report.facts import RequestFacts, hide_secrets
from flows.closing import publish_and_reconcile, summarise
from flows.journal import Journal
from flows.params import OsmParams
from flows.run_report import keep_report
from flows.runs import RunFolder, RunPlaces, find_places, new_run
from flows.summary import FeatureCounts, RunSummary
from infra.errors import AppError, DataError, InputError, InternalError
from infra.logging import log_progress
from infra.settings import OsmSettings
from infra.storage import Storage, open_storage
from tasks.fetch_osm import fetch_osm
from tasks.write_osm import write_osm

logger = logging.getLogger(__name__)


@flow(name="ingest-osm", log_prints=False)
def ingest_osm(params: OsmParams) -> RunSummary:
    """Fetch, plan, write, publish and reconcile one area of OpenStreetMap.

    Args:
        params: The request.

    Returns:
        Counts and the item's id; also kept as ``runs/<run>/summary.json`` in the store.

    Raises:
        InputError: the request is wrong, or the area holds nothing; nothing is written.
        NotFoundError, DataError: the extract is absent or broken; nothing is written.
        ConfigError: store or catalogue cannot be used.
        TransientError: no Overpass server answered, or the catalogue did not.
    """
    journal: Journal[OsmPlan] = Journal()
    places = find_places(params.store)
    storage = open_storage(params.store)
    with journal.stage("fetch"):
        extract = fetch_osm(params.source, area=params.bbox, options=_overpass(params, places.settings.osm))
    with journal.stage("plan"):
        plan = plan_request(params, extract)
        journal.plans.append(plan)
        if receipt_of(storage, plan) is not None:
            journal.reused.add(plan.id)
            storage.sweep_leftovers(plan.path)
    request = _describe_request(params, plan)
    with new_run(storage, params) as run:
        try:
            _write(storage, plan, journal)
            publish_and_reconcile(run, places, journal)
        except (InputError, DataError):
            run.discard()
            raise
        except AppError as exc:
            keep_report(request, places, run, journal, failure=exc)
            raise
        return run.finish(_sum_up(run, places, journal, keep_report(request, places, run, journal)))


def plan_request(params: OsmParams, extract: ExtractFacts) -> OsmPlan:
    """Plan the product of a request; the same request and extract give the same plan."""
    options = OsmOptions(
        graph=params.graph,
        network=params.network,
        network_form=params.network_form,
        max_features=params.max_features,
    )
    return plan_osm(
        extract,
        source=hide_secrets(extract.server or extract.path),
        clip=params.bbox,
        options=options,
        resolution_m=params.resolution_m,
        crs=params.crs,
    )


def _overpass(params: OsmParams, settings: OsmSettings) -> OverpassOptions:
    return OverpassOptions(
        urls=settings.overpass_urls,
        date=params.as_of,
        timeout_s=settings.overpass_timeout_s,
        first_pause_s=settings.overpass_pause_s,
        max_query_area_m2=settings.overpass_max_area_km2 * 1e6,
        max_cache_age_s=None if params.as_of else settings.overpass_cache_days * 86_400,
    )


def _write(storage: Storage, plan: OsmPlan, journal: Journal[OsmPlan]) -> None:
    """Write the product; one that cannot be made has written nothing."""
    log_progress("reused" if plan.id in journal.reused else "planned", plan.id)
    if plan.id in journal.reused:
        return
    with journal.stage("write"):
        journal.outcomes.append(write_osm(storage.uri, plan))
    log_progress("cube", plan.id)


def _sum_up(run: RunFolder, places: RunPlaces, journal: Journal[OsmPlan], report: str | None) -> RunSummary:
    (plan,) = journal.plans
    receipt = receipt_of(run.storage, plan)
    if not isinstance(receipt, OsmReceipt):
        raise InternalError(f"product {plan.id} was reconciled, but has no receipt")
    return summarise(run, places, journal, report).model_copy(
        update={"product": "area", "features": FeatureCounts.of(receipt)}
    )


def _describe_request(params: OsmParams, plan: OsmPlan) -> RequestFacts:
    timestamp = plan.extract.timestamp
    options = {
        "Area": "as asked for" if params.bbox else "the whole extract",
        "Pixel edge": f"{plan.grid.transform[0]:g} CRS units",
        "Grid's CRS": plan.grid.crs,
        "Graph": "kept" if params.graph else "left out",
        "Street network": f"{params.network}, {params.network_form}" if params.network else "left out",
        "Written by": plan.extract.generator or "not stated",
        "Most features": f"{params.max_features:,}",
    }
    return RequestFacts(
        bbox=plan.area,
        dates="no date stated" if timestamp is None else f"state of {timestamp:%Y-%m-%d %H:%M} UTC",
        source=plan.source,
        collections=("osm",),
        options=tuple(options.items()),
        product="area",
        unit="extract",
    )
