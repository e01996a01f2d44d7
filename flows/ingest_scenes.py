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
from catalog.records import CubePlan, Scene
from catalog.report.facts import hide_secrets
from catalog.sources.presets import Source, resolve_source
from flows.artifacts import announce_items, announce_plan, follow_cubes
from flows.journal import Journal
from flows.params import MapAreaParams
from flows.planning import plan_request
from flows.run_report import keep_report
from flows.runners import make_task_runner
from flows.runs import RunFolder, RunPlaces, find_places, new_run
from flows.summary import Quarantine, RunSummary
from infra.cluster import reach_scheduler, running_cluster
from infra.errors import AppError, ConfigError, InputError
from infra.storage import Storage, open_storage
from tasks.publish_items import publish_items
from tasks.reconcile_run import reconcile_run
from tasks.search_scenes import search_scenes
from tasks.write_cube import CubeOutcome, write_cube

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
    journal = Journal()
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
            _publish(params, places, journal)
        except AppError as exc:
            keep_report(params, places, run, journal, failure=exc)
            raise
        return run.finish(_summarise(places, run, journal, keep_report(params, places, run, journal)))


def _plan(params: MapAreaParams, storage: Storage, scenes: Sequence[Scene], journal: Journal) -> None:
    journal.plans.extend(plan_request(params, scenes))
    journal.reused.update(plan.id for plan in journal.plans if read_cube_receipt(storage, plan) is not None)


def refuse_early(storage: Storage, params: MapAreaParams, todo: Sequence[CubePlan]) -> list[CubeOutcome]:
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
        CubeOutcome(id=plan.id, quarantined=complaints[bad[0]].message)
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


def _make_cubes(params: MapAreaParams, places: RunPlaces, run: RunFolder, journal: Journal) -> None:
    """Write what is missing; after a failure, see to what stands before passing it on."""
    failure = _write_cubes(params, places, run, journal)
    if failure is not None:
        _keep_what_stands(params, places, journal, failure)
        raise failure


def _write_cubes(
    params: MapAreaParams, places: RunPlaces, run: RunFolder, journal: Journal
) -> AppError | None:
    todo = journal.unfinished()
    if not todo:
        return None
    with run.report() as report, ExitStack() as stack:
        with journal.stage("cluster"):
            cluster = stack.enter_context(running_cluster(places.settings.dask, report=report))
        with journal.stage("write"):
            futures: list[PrefectFuture[CubeOutcome]] = [
                write_cube.submit(params.store, plan, cluster) for plan in todo
            ]
            outcomes, failure = follow_cubes(futures)
    journal.outcomes.extend(outcomes)
    return failure


def _keep_what_stands(params: MapAreaParams, places: RunPlaces, journal: Journal, failure: AppError) -> None:
    """Publish the cubes that stand after a failure; leave no half-written ones on a store that is full."""
    storage = open_storage(params.store)
    unfinished = [plan for plan in journal.plans if read_cube_receipt(storage, plan) is None]
    if isinstance(failure, ConfigError):
        for plan in unfinished:
            if read_cube_receipt(storage, plan) is None:  # another run may have sealed it meanwhile
                storage.delete_folder(plan.path)
        return
    standing = [plan for plan in journal.plans if plan not in unfinished]
    if standing:
        _publish_standing(params, places, standing, journal)


def _target(places: RunPlaces) -> dict[str, Any]:
    return {"catalogue": places.catalogue, "token": places.settings.catalogue.token}


def _publish_standing(
    params: MapAreaParams, places: RunPlaces, standing: Sequence[CubePlan], journal: Journal
) -> None:
    with journal.stage("publish"):
        publish_items(params.store, standing, **_target(places), execution_href=places.execution_href)
    journal.catalogued.update(plan.id for plan in standing)


def _publish(params: MapAreaParams, places: RunPlaces, journal: Journal) -> None:
    bad = [outcome.id for outcome in journal.quarantined]
    standing = [plan for plan in journal.plans if plan.id not in bad]
    if standing:
        _publish_standing(params, places, standing, journal)
    with journal.stage("reconcile"):
        reconcile_run(params.store, journal.plans, quarantined=bad, **_target(places))
    announce_items(standing, catalogue=places.catalogue)


def _summarise(places: RunPlaces, run: RunFolder, journal: Journal, report: str | None) -> RunSummary:
    return RunSummary(
        run=run.name,
        store=run.storage.uri,
        catalogue=places.catalogue,
        planned=len(journal.plans),
        written=len(journal.made),
        reused=len(journal.reused),
        catalogued=len(journal.catalogued),
        quarantined=len(journal.quarantined),
        quarantine=tuple(
            Quarantine(id=o.id, reason=hide_secrets(o.quarantined or "")) for o in journal.quarantined
        ),
        tiles_read=sum(outcome.tiles_read for outcome in journal.made),
        bytes_written=journal.bytes_written,
        seconds=journal.seconds,
        stage_seconds=journal.stage_seconds,
        report=report,
        item_ids=tuple(sorted(journal.catalogued)),
    )
