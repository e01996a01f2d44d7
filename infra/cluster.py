"""Start or join a Dask cluster, and run work units on it.

The only place, beside ``flows.runners``, that knows Dask's scheduler. What is sent is a module-level
function and small arguments; what comes back is small too.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import dask.config
from distributed import Client, LocalCluster, as_completed, get_worker, performance_report
from distributed.scheduler import KilledWorker
from distributed.security import Security

from infra.errors import AppError, ConfigError, InternalError, TransientError
from infra.provenance import assert_single_checkout, project_version
from infra.settings import DaskSettings

logger = logging.getLogger(__name__)

Unit = TypeVar("Unit")
Result = TypeVar("Result")
GPU: Mapping[str, float] = {"GPU": 1.0}
"""What a unit claims that computes on a GPU, and a worker offers that has one: ``--resources GPU=1``."""
_CONNECT_TIMEOUT_S = 10
_POLL_S, _LOOK_S = 0.02, 5.0  # for units that ended; for workers, while none does
_START_FAILURES = (RuntimeError, OSError, TimeoutError)
_PATIENCE_S = 60.0  # until a worker that died is back
# Dask's nannies make glibc return every freed block above 64 kB at once; shard-sized buffers, reused for
# each band, then cost more in page faults than in compression.
_KEEP_BUFFERS = {
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 << 20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 << 20,
}


@dataclass(frozen=True, kw_only=True)
class ClusterAddress:
    """Name a running scheduler: all that a task needs to send it work."""

    scheduler: str
    tls_ca_file: str | None = None
    tls_cert_file: str | None = None
    tls_key_file: str | None = None


@contextmanager
def running_cluster(
    settings: DaskSettings, *, report: Path | None = None, gpus: int = 0
) -> Iterator[ClusterAddress]:
    """Give a cluster for one run: the scheduler that settings name, or a LocalCluster of our own.

    Args:
        settings: Address and TLS files, or the size of the LocalCluster.
        report: Where Dask's performance report is kept, self-contained HTML; None keeps none.
        gpus: Workers of a LocalCluster, each for one GPU and with one thread; 0 for those of the settings.

    Raises:
        ConfigError: the named scheduler does not answer, or its workers run other code.
    """
    with _scheduler(settings, gpus) as address:
        client = _client(address)
        _check_same_code(client)
        logger.info("dask dashboard: %s", client.dashboard_link)
        # Inline: the report must open where there is no internet.
        kept = nullcontext() if report is None else performance_report(filename=str(report), mode="inline")
        try:
            with client.as_current(), kept:
                yield address
        finally:
            _client.cache_clear()
            client.close()


def reach_scheduler(settings: DaskSettings) -> None:
    """See that the scheduler that settings name answers; nothing to do where a LocalCluster will be started.

    Raises:
        ConfigError: it does not, or its workers run other code.
    """
    if settings.address is not None:
        _check_same_code(_client(_named_scheduler(settings, settings.address)))


def dashboard_link(address: ClusterAddress) -> str:
    """Return the URL of the cluster's dashboard."""
    return str(_client(address).dashboard_link)


def has_gpu(address: ClusterAddress) -> bool:
    """Say whether any worker of a cluster offers a GPU."""
    return _offers(_client(address), GPU)


def worker_number() -> int | None:
    """Return the number of the LocalCluster's worker that this code runs on; None anywhere else."""
    try:
        name = get_worker().name
    except ValueError:
        return None
    return name if isinstance(name, int) else None


def run_units(
    address: ClusterAddress,
    function: Callable[[Unit], Result],
    units: Sequence[Unit],
    *,
    resources: Mapping[str, float] | None = None,
) -> Iterator[tuple[Unit, Result | AppError]]:
    """Run a function over units on the cluster; yield each unit with its result or error as it ends.

    Args:
        address: The cluster.
        function: Module-level function; workers import it.
        units: Small picklable records.
        resources: What each unit claims of its worker, e.g. ``GPU``. They go with every unit by itself:
            ``dask.annotate`` is lost where graphs are optimised.

    Raises:
        ConfigError: no worker offers those resources; the units would wait for ever.
        TransientError: the scheduler was lost, or every worker that the units could go to.
    """
    client = _client(address)
    if resources and not _offers(client, resources):
        raise ConfigError(
            f"no Dask worker of {address.scheduler} offers {_spell(resources)}; start one with --nthreads 1 "
            f"--resources {_spell(resources)}, or compute on the CPU"
        )
    # The key's prefix is what dashboards call the work.
    name = getattr(getattr(function, "func", function), "__name__", "unit")
    futures = client.map(
        partial(_run_unit, function), units, key=name, pure=False, resources=dict(resources or {}) or None
    )
    unit_of = {future.key: unit for future, unit in zip(futures, units, strict=True)}
    try:
        for future in _as_they_end(client, futures, resources or {}):
            yield unit_of[future.key], _outcome(future)
            future.release()
    finally:
        client.cancel([future for future in futures if not future.done()])


def _as_they_end(client: Client, futures: Sequence[Any], resources: Mapping[str, float]) -> Iterator[Any]:
    """Yield futures as they end, as long as there are workers for those that have not.

    A scheduler keeps units that no worker can take, and would let us wait for ever.
    """
    waiting = as_completed(futures, loop=client.loop)
    looked = attended = time.monotonic()
    while not waiting.is_empty():
        if waiting.has_ready():
            yield next(waiting)
            continue
        time.sleep(_POLL_S)
        if time.monotonic() - looked < _LOOK_S:
            continue
        looked = time.monotonic()
        if _offers(client, resources):
            attended = looked
        elif looked - attended > _PATIENCE_S:
            which = f" that offers {_spell(resources)}" if resources else ""
            raise TransientError(
                f"no Dask worker{which} is left, and {waiting.count()} of {len(futures)} units wait for one; "
                "start one and run again, finished work is kept"
            )


def _spell(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{key}={amount:g}" for key, amount in resources.items())


def _offers(client: Client, resources: Mapping[str, float]) -> bool:
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    return any(
        all(worker.get("resources", {}).get(key, 0) >= amount for key, amount in resources.items())
        for worker in workers
    )


def _run_unit(function: Callable[[Unit], Result], unit: Unit) -> Result:
    """Run on a worker, and let failures travel without their foreign causes.

    GDAL's error classes cannot be rebuilt from a pickle, and one among the causes would cost us the whole
    error; our message has taken over what they knew.
    """
    try:
        return function(unit)
    except AppError as exc:
        failure = exc
    failure.__cause__ = failure.__context__ = None
    raise failure


def _outcome(future: Any) -> Any:  # noqa: ANN401 - distributed is untyped
    if future.status == "finished":
        return future.result()
    if future.status in {"cancelled", "lost"}:
        raise TransientError("the Dask scheduler was lost; run again, finished tiles are kept")
    exception = future.exception()
    if isinstance(exception, AppError):
        return exception
    if isinstance(exception, KilledWorker):
        return TransientError(f"a work unit lost its worker too often: {exception}")
    return InternalError(f"{type(exception).__name__}: {exception}")


@contextmanager
def _scheduler(settings: DaskSettings, gpus: int) -> Iterator[ClusterAddress]:
    if settings.address is not None:
        yield _named_scheduler(settings, settings.address)
        return
    with dask.config.set(_KEEP_BUFFERS), _start_local_cluster(settings, gpus) as cluster:
        yield ClusterAddress(scheduler=cluster.scheduler_address)


def _named_scheduler(settings: DaskSettings, address: str) -> ClusterAddress:
    return ClusterAddress(
        scheduler=address,
        tls_ca_file=_text(settings.tls_ca_file),
        tls_cert_file=_text(settings.tls_cert_file),
        tls_key_file=_text(settings.tls_key_file),
    )


def _start_local_cluster(settings: DaskSettings, gpus: int) -> LocalCluster:
    """Start a cluster; a worker that is killed before it has registered makes the whole start fail once."""
    try:
        return _make_local_cluster(settings, gpus)
    except _START_FAILURES as exc:
        logger.warning("the Dask cluster did not start (%s); once more", exc)
    try:
        return _make_local_cluster(settings, gpus)
    except _START_FAILURES as exc:
        reason = str(exc) or type(exc).__name__
        raise TransientError(f"the Dask cluster of this run did not start: {reason}; run again") from exc


def _make_local_cluster(settings: DaskSettings, gpus: int) -> LocalCluster:
    port = settings.dashboard_port if _is_free(settings.dashboard_port) else 0
    return LocalCluster(
        n_workers=gpus or settings.workers,
        # Two units on one GPU would each want all of its memory.
        threads_per_worker=1 if gpus else settings.threads_per_worker,
        resources=dict(GPU) if gpus else None,
        memory_limit=settings.memory_limit,
        host="127.0.0.1",
        dashboard_address=f"127.0.0.1:{port}",
        silence_logs=logging.CRITICAL,
    )


@lru_cache(maxsize=4)
def _client(address: ClusterAddress) -> Client:
    # One client for a process and cluster: tasks of one run share it.
    security = None
    if address.scheduler.startswith("tls://"):
        security = Security(
            require_encryption=True,
            tls_ca_file=address.tls_ca_file,
            tls_client_cert=address.tls_cert_file,
            tls_client_key=address.tls_key_file,
        )
    try:
        return Client(address.scheduler, security=security, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as exc:
        raise ConfigError(
            f"Dask scheduler {address.scheduler} does not answer: {exc}; check dask.address and its TLS files"
        ) from exc


def _check_same_code(client: Client) -> None:
    assert_single_checkout()
    ours = project_version()
    theirs = set(client.run(project_version).values())
    if theirs and theirs != {ours}:
        raise ConfigError(f"workers run terraloom {', '.join(sorted(theirs))}, this process {ours}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
