"""Keep the records of one run in its store: request, lease, Dask report, summary."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from prefect.runtime import flow_run
from pydantic import BaseModel

from catalog.garbage import LEASE_NAME, RUNS_FOLDER
from infra.digests import canonical_json
from infra.errors import AppError
from infra.logging import configure_logging
from infra.settings import Settings, catalogue_uri, data_home, load_settings
from infra.storage import Storage, open_storage
from tasks.write_report import DASK_REPORT_NAME

logger = logging.getLogger(__name__)

Summary = TypeVar("Summary", bound=BaseModel)
_FOREIGN_LINK = re.compile(rb'<link [^>]*href="https?://[^>]*>\s*')


@dataclass(frozen=True, kw_only=True)
class RunPlaces:
    """Say where a run computes and publishes."""

    settings: Settings
    catalogue: str
    """STAC API URL or SQLite path."""
    execution_href: str | None
    """Lasting URL of this run in a Prefect server; None when the server ends with the run."""


def find_places(store: str) -> RunPlaces:
    """Read the settings of this process once, for one run, and set the log level they name."""
    settings = load_settings(os.environ)
    configure_logging(settings.log_level)
    uri = catalogue_uri(settings, open_storage(store).uri, data_home=data_home(os.environ))
    # A server of our own (flows.prefect_server) is not in the environment: it ends with the run.
    lasts = settings.prefect_api_url or os.environ.get("PREFECT_API_URL")
    link = flow_run.get_flow_run_ui_url() if lasts else None
    return RunPlaces(settings=settings, catalogue=uri, execution_href=link)


class RunFolder:
    """Write a run's records below ``runs/<name>/``.

    While the ``with`` block lasts, a lease tells ``terraloom gc`` to leave unfinished products alone.
    """

    def __init__(self, storage: Storage, name: str) -> None:
        self.storage = storage
        self.name = name

    @property
    def folder(self) -> str:
        """Where the records lie, relative to the store's root."""
        return f"{RUNS_FOLDER}/{self.name}"

    def __enter__(self) -> Self:
        """Take the lease."""
        lease = {"host": socket.gethostname(), "pid": os.getpid()}
        self.storage.write(self._path(LEASE_NAME), canonical_json(lease))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the lease back."""
        self.storage.delete(self._path(LEASE_NAME))

    @contextmanager
    def report(self) -> Iterator[Path]:
        """Give a local path for Dask's report; what is written there is kept with the run."""
        with tempfile.TemporaryDirectory(prefix="terraloom-") as folder:
            path = Path(folder) / DASK_REPORT_NAME
            yield path
            if path.exists():
                self._keep_report(path)

    def discard(self) -> None:
        """Forget the run: it was refused before anything was written."""
        self.storage.delete_folder(self.folder)

    def finish(self, summary: Summary) -> Summary:
        """Keep the summary and return it."""
        text = json.dumps(summary.model_dump(mode="json"), indent=2)
        self.storage.write(self._path("summary.json"), text.encode())
        return summary

    def keep_request(self, params: BaseModel) -> None:
        """Keep what was asked for."""
        self.storage.write(
            self._path("params.json"), json.dumps(params.model_dump(mode="json"), indent=2).encode()
        )

    def _keep_report(self, path: Path) -> None:
        try:
            # Dask links its icon from the network; the report must open, and stay silent, without one.
            self.storage.write(self._path(path.name), _FOREIGN_LINK.sub(b"", path.read_bytes()))
        except AppError as exc:
            # The cubes' own outcome matters more; a full disk has shown there already.
            logger.warning("the Dask report is not kept: %s", exc.message)

    def _path(self, name: str) -> str:
        return f"{self.folder}/{name}"


def new_run(storage: Storage, params: BaseModel) -> RunFolder:
    """Open the folder of this flow run, named by its start and Prefect's id."""
    started = flow_run.get_scheduled_start_time()
    run = RunFolder(storage, f"{started.in_timezone('UTC'):%Y%m%dT%H%M%SZ}-{str(flow_run.get_id())[:8]}")
    run.keep_request(params)
    return run
