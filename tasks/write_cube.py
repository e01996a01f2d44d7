"""Write one cube: tiles on Dask, then the seal."""

from __future__ import annotations

import time
from functools import partial

from prefect import task

from catalog.cubes.finish import begin_cube, finish_cube
from catalog.cubes.tiles import write_tile
from catalog.grid import list_tiles
from catalog.products import ProductOutcome
from catalog.records import CubePlan
from infra.cluster import ClusterAddress, run_units
from infra.errors import AppError, DataError, NotFoundError
from infra.logging import log_progress
from infra.storage import open_storage
from tasks.policies import PIXELS


@task(task_run_name="write-{plan.id}", **PIXELS)
def write_cube(store_uri: str, plan: CubePlan, cluster: ClusterAddress) -> ProductOutcome:
    """Make a cube stand: every tile, then its receipt.

    Returns:
        What happened; permanently bad data quarantine the cube instead of failing the run.

    Raises:
        TransientError: worth another try; finished tiles are kept.
        ConfigError: the store is full or may not be written.
    """
    started = time.perf_counter()
    storage = open_storage(store_uri)
    begin_cube(storage, plan)
    read = 0
    for unit, outcome in run_units(cluster, partial(write_tile, storage.uri, plan), list_tiles(plan.grid)):
        if isinstance(outcome, DataError | NotFoundError):
            storage.delete_folder(plan.path)
            return ProductOutcome(id=plan.id, quarantined=outcome.message)
        if isinstance(outcome, AppError):
            raise outcome
        read += not outcome.reused
        log_progress("tile", f"{plan.id}/{unit.name}")
    ((_, receipt),) = run_units(cluster, partial(finish_cube, storage.uri), [plan])
    if isinstance(receipt, AppError):
        raise receipt
    return ProductOutcome(
        id=plan.id,
        tiles_read=read,
        bytes_written=receipt.total_bytes,
        seconds=time.perf_counter() - started,
    )
