"""Turn found scenes into published cubes: plan, write, publish, reconcile."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from catalog.cubes.preflight import check_hosts, check_local_files, check_space
from catalog.cubes.receipts import read_cube_receipt
from catalog.records import CubePlan
from catalog.sources.presets import Source, resolve_source
from flows.artifacts import announce_items, announce_plan, follow_cubes
from flows.params import MapAreaParams
from flows.planning import plan_request
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
    started = time.perf_counter()
    places = find_places(params.store)
    trusted = places.settings.sources
    source = resolve_source(params.source, extra_roots=trusted.extra_roots, extra_hosts=trusted.extra_hosts)
    plans = plan_request(params, search_scenes(**_search_arguments(params, source)))
    storage = open_storage(params.store)
    todo = [plan for plan in plans if read_cube_receipt(storage, plan) is None]
    check_hosts(source.policy(), todo)
    broken = refuse_early(storage, params, todo)
    if todo:
        reach_scheduler(places.settings.dask)
    run = new_run(storage, params)
    announce_plan(plans, reused={plan.id for plan in plans} - {plan.id for plan in todo})
    _tidy(storage, [plan for plan in plans if plan not in todo])
    with run:
        made, failure = _write_cubes(params, places, run, _without(todo, broken))
        if failure is not None:
            _keep_what_stands(params, places, plans, failure)
            raise failure
        summary = _publish(params, places, run, plans, [*broken, *made])
        return run.finish(summary.model_copy(update={"seconds": time.perf_counter() - started}))


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


def _without(todo: Sequence[CubePlan], broken: Sequence[CubeOutcome]) -> list[CubePlan]:
    skipped = {outcome.id for outcome in broken}
    return [plan for plan in todo if plan.id not in skipped]


def _write_cubes(
    params: MapAreaParams, places: RunPlaces, run: RunFolder, todo: Sequence[CubePlan]
) -> tuple[list[CubeOutcome], AppError | None]:
    if not todo:
        return [], None
    with run.report() as report, running_cluster(places.settings.dask, report=report) as cluster:
        futures: list[PrefectFuture[CubeOutcome]] = [
            write_cube.submit(params.store, plan, cluster) for plan in todo
        ]
        return follow_cubes(futures)


def _keep_what_stands(
    params: MapAreaParams, places: RunPlaces, plans: Sequence[CubePlan], failure: AppError
) -> None:
    """Publish the cubes that stand after a failure; leave no half-written ones on a store that is full."""
    storage = open_storage(params.store)
    unfinished = [plan for plan in plans if read_cube_receipt(storage, plan) is None]
    if isinstance(failure, ConfigError):
        for plan in unfinished:
            storage.delete_folder(plan.path)
        return
    standing = [plan for plan in plans if plan not in unfinished]
    if standing:
        publish_items(params.store, standing, **_target(places), execution_href=places.execution_href)


def _target(places: RunPlaces) -> dict[str, Any]:
    return {"catalogue": places.catalogue, "token": places.settings.catalogue.token}


def _publish(
    params: MapAreaParams,
    places: RunPlaces,
    run: RunFolder,
    plans: Sequence[CubePlan],
    outcomes: Sequence[CubeOutcome],
) -> RunSummary:
    bad = [outcome for outcome in outcomes if outcome.quarantined]
    made = [outcome for outcome in outcomes if not outcome.quarantined]
    standing = [plan for plan in plans if plan.id not in {outcome.id for outcome in bad}]
    target = _target(places)
    if standing:
        publish_items(params.store, standing, **target, execution_href=places.execution_href)
    catalogued = reconcile_run(params.store, plans, quarantined=[outcome.id for outcome in bad], **target)
    announce_items(standing, catalogue=places.catalogue)
    return RunSummary(
        run=run.name,
        store=run.storage.uri,
        catalogue=places.catalogue,
        planned=len(plans),
        written=len(made),
        reused=len(standing) - len(made),
        catalogued=catalogued,
        quarantined=len(bad),
        quarantine=tuple(Quarantine(id=o.id, reason=o.quarantined or "") for o in bad),
        tiles_read=sum(outcome.tiles_read for outcome in made),
        bytes_written=sum(outcome.bytes_written for outcome in made),
        seconds=0.0,
        item_ids=tuple(sorted(plan.id for plan in standing)),
    )
