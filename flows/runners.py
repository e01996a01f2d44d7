"""Choose how a flow's tasks run: Prefect's threads drive, Dask computes."""

from __future__ import annotations

from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

_CONCURRENT_CUBES = 4
"""Cubes in work at once: enough to keep workers busy across the end of one and the start of the next."""


def make_task_runner() -> Any:  # noqa: ANN401 - Prefect types its runner invariantly over futures
    """Build the task runner of every flow.

    Task runs only wait for Dask; one Dask task for each Prefect task run would cost ~0.1 s each
    (docs/adr/0003).
    """
    return ThreadPoolTaskRunner(max_workers=_CONCURRENT_CUBES)
