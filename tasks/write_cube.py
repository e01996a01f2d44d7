"""Write one cube: tiles on Dask, then the seal."""

from __future__ import annotations

import time
from functools import partial

from prefect import task

from catalog.cubes.finish import begin_cube, finish_cube
from catalog.cubes.receipts import read_cube_receipt
from catalog.cubes.tiles import write_tile
from catalog.grid import list_tiles
from catalog.products import ProductOutcome
from catalog.receipts import discard_unsealed
from catalog.records import CubePlan
from infra.cluster import ClusterAddress, run_units
from infra.errors import AppError, DataError, NotFoundError
from infra.logging import log_progress
from infra.storage import Storage, open_storage
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
        if isinstance(outcome, AppError):
            return settle_error(storage, plan, outcome)
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


def settle_error(storage: Storage, plan: CubePlan, error: AppError) -> ProductOutcome:
    """Return how a cube ends of which a tile failed: in quarantine, with what was made of it deleted.

    Where another run of the same request has sealed the cube meanwhile, it stands.

    Raises:
        AppError: the error itself, where it is not the source's fault.
    """
    receipt = read_cube_receipt(storage, plan)
    if receipt is None and not isinstance(error, DataError | NotFoundError):
        raise error
    if receipt is None and discard_unsealed(storage, plan.path):
        return ProductOutcome(id=plan.id, quarantined=error.message)
    return ProductOutcome(id=plan.id, bytes_written=receipt.total_bytes if receipt else 0)
