"""Turn found scenes into published cubes: plan, write, publish, reconcile."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from catalog.cubes.preflight import check_hosts, check_local_files, check_space
from catalog.cubes.receipts import read_cube_receipt
from catalog.items.assets import cube_bands
from catalog.products import ProductOutcome
from catalog.receipts import discard_unsealed
from catalog.records import Band, CubePlan, Scene
from catalog.report.facts import RequestFacts
from catalog.sources.presets import Source, resolve_source
from flows.artifacts import announce_plan, follow_cubes
from flows.closing import publish_and_reconcile, publish_standing, summarise
from flows.journal import Journal
from flows.pairing import explain_no_pairs
from flows.params import MapAreaParams
from flows.planning import plan_request
from flows.run_report import describe_request, keep_report
from flows.runners import make_task_runner
from flows.runs import RunFolder, RunPlaces, find_places, new_run
from flows.summary import RunSummary
from infra.cluster import reach_scheduler, running_cluster
from infra.errors import AppError, ConfigError, InputError
from infra.storage import Storage, open_storage
from tasks.search_scenes import search_scenes
from tasks.write_cube import write_cube

logger = logging.getLogger(__name__)


@flow(name="ingest-scenes", task_runner=make_task_runner(), log_prints=False)
def ingest_scenes(params: MapAreaParams) -> RunSummary:
    """Search, plan, write, publish and reconcile the cubes of one request.

    Args:
        params: The request.

    Returns:
        Counts and item ids; also kept as ``runs/<run>/summary.json`` in the store.

    Raises:
        InputError: the request is wrong, or a local file it names is broken; nothing is written.
        ConfigError: store, catalogue or cluster cannot be used.
        TransientError: network or cluster failed more often than retries allow; what is done is kept.
    """
    journal: Journal[CubePlan] = Journal()
    request = describe_request(params)
    places = find_places(params.store)
    trusted = places.settings.sources
    source = resolve_source(params.source, extra_roots=trusted.extra_roots, extra_hosts=trusted.extra_hosts)
    with journal.stage("search"):
        scenes = search_scenes(**_search_arguments(params, source))
    storage = open_storage(params.store)
    with journal.stage("plan"):
        _plan(params, storage, scenes, journal)
    with journal.stage("check"):
        check_hosts(source.policy(), journal.unfinished())
        journal.outcomes.extend(refuse_early(storage, params, journal.unfinished()))
        if len(journal.reused) < len(journal.plans):
            reach_scheduler(places.settings.dask)
    run = new_run(storage, params)
    announce_plan(journal.plans, reused=journal.reused)
    _tidy(storage, [plan for plan in journal.plans if plan.id in journal.reused])
    with run:
        try:
            _make_cubes(params, places, run, journal)
            publish_and_reconcile(run, places, journal)
        except AppError as exc:
            keep_report(request, places, run, journal, failure=exc)
            raise
        unpaired = explain_no_pairs(_list_variables(journal)) if "register" in params.steps else None
        report = keep_report(_tell_registration(params, unpaired), places, run, journal)
        summary = summarise(run, places, journal, report)
        return run.finish(summary.model_copy(update={"unpaired": unpaired}))


def _list_variables(journal: Journal[CubePlan]) -> list[list[Band]]:
    """List the variables of each cube that stands."""
    bad = {outcome.id for outcome in journal.quarantined}
    return [cube_bands(plan) for plan in journal.plans if plan.id not in bad]


def _tell_registration(params: MapAreaParams, unpaired: str | None) -> RequestFacts:
    told = "radar to optical cubes, after this run" if "register" in params.steps else None
    return describe_request(params, unpaired or told)


def _plan(
    params: MapAreaParams, storage: Storage, scenes: Sequence[Scene], journal: Journal[CubePlan]
) -> None:
    journal.plans.extend(plan_request(params, scenes))
    journal.reused.update(plan.id for plan in journal.plans if read_cube_receipt(storage, plan) is not None)


def refuse_early(storage: Storage, params: MapAreaParams, todo: Sequence[CubePlan]) -> list[ProductOutcome]:
    """Check files and space before anything is written.

    Returns:
        Outcomes of cubes that broken files put in quarantine, when the request says so.

    Raises:
        InputError: a local file is broken and the request says to refuse.
        ConfigError: the store has no room.
    """
    complaints = check_local_files(todo)
    if complaints and params.broken_assets == "refuse":
        first = min(complaints)
        more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
        raise InputError(f"{complaints[first].message}{more}; or go on with --broken-assets quarantine")
    check_space(storage, todo)
    return [
        ProductOutcome(id=plan.id, quarantined=complaints[bad[0]].message)
        for plan in todo
        if (bad := [b.href for scene in plan.group.scenes for b in scene.bands if b.href in complaints])
    ]


def _tidy(storage: Storage, standing: Sequence[CubePlan]) -> None:
    """Remove what a run that was killed in the very act of sealing left beside a receipt."""
    for plan in standing:
        storage.sweep_leftovers(plan.path)


def _search_arguments(params: MapAreaParams, source: Source) -> dict[str, Any]:
    return {
        "source": source,
        "collections": params.collections,
        "bbox": params.bbox,
        "datetime_range": params.datetime,
        "bands": params.bands,
        "max_scenes": params.max_scenes,
    }


def _make_cubes(params: MapAreaParams, places: RunPlaces, run: RunFolder, journal: Journal[CubePlan]) -> None:
    """Write what is missing; after a failure, see to what stands before passing it on."""
    failure = _write_cubes(params, places, run, journal)
    if failure is not None:
        _keep_what_stands(places, run, journal, failure)
        raise failure


def _write_cubes(
    params: MapAreaParams, places: RunPlaces, run: RunFolder, journal: Journal[CubePlan]
) -> AppError | None:
    todo = journal.unfinished()
    if not todo:
        return None
    with run.report() as report, ExitStack() as stack:
        with journal.stage("cluster"):
            cluster = stack.enter_context(running_cluster(places.settings.dask, report=report))
        with journal.stage("write"):
            futures: list[PrefectFuture[ProductOutcome]] = [
                write_cube.submit(params.store, plan, cluster) for plan in todo
            ]
            outcomes, failure = follow_cubes(futures)
    journal.outcomes.extend(outcomes)
    return failure


def _keep_what_stands(
    places: RunPlaces, run: RunFolder, journal: Journal[CubePlan], failure: AppError
) -> None:
    """Publish the cubes that stand after a failure; leave no half-written ones on a store that is full."""
    storage = run.storage
    unfinished = [plan for plan in journal.plans if read_cube_receipt(storage, plan) is None]
    if isinstance(failure, ConfigError):
        for plan in unfinished:
            discard_unsealed(storage, plan.path)  # another run may have sealed it meanwhile
        return
    standing = [plan for plan in journal.plans if plan not in unfinished]
    if standing:
        publish_standing(run, places, standing, journal)
