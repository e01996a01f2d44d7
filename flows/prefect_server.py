"""Give a one-off run a Prefect API: the one settings name, or a loopback server for as long as it lasts."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_EPHEMERAL_ENABLED, temporary_settings

from infra.errors import ConfigError

logger = logging.getLogger(__name__)

_START_TIMEOUT_S = 120
_QUIET = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_SERVER_EPHEMERAL_ENABLED": "false",
    "PREFECT_CLI_PROMPT": "false",
    # Nothing is scheduled on a server that lives for one run.
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_FOREMAN_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}
# The server lives as long as this process holds the other end of its standard input: it ends with us even
# when we are killed and cannot stop it.
_TETHER = (
    "import subprocess,sys; p=subprocess.Popen(sys.argv[1:],stdin=subprocess.DEVNULL); "
    "sys.stdin.read(); p.terminate(); p.wait()"
)


@dataclass
class PrefectServer:
    """Hold a loopback Prefect server that starts in the background."""

    api_url: str
    _process: subprocess.Popen[bytes]

    def wait_ready(self) -> str:
        """Wait until the API answers; return its URL.

        Raises:
            ConfigError: it ended, or did not answer in time.
        """
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ConfigError("the Prefect server ended at its start; try 'prefect server start' by hand")
            if _answers(f"{self.api_url}/health"):
                return self.api_url
            time.sleep(0.1)
        raise ConfigError(f"the Prefect server did not answer within {_START_TIMEOUT_S} s")

    def stop(self) -> None:
        """Stop the server."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def quiet_environment() -> dict[str, str]:
    """Return the Prefect settings of every process of ours: no telemetry, no server nobody asked for."""
    return dict(_QUIET)


@contextlib.contextmanager
def prefect_api(named: str | None, *, home: Path) -> Iterator[PrefectServer | None]:
    """Make a Prefect API reachable for the block, and point this process at it.

    Args:
        named: A running API; None starts one on loopback. It starts while the caller goes on, so that its
            seconds overlap with other work; ``wait_ready`` waits for it.
        home: Folder of the server's database, kept between runs: its set-up is paid once.
    """
    named = named or PREFECT_API_URL.value()  # an active Prefect profile may name one
    server = start_server(home) if named is None else None
    url = named or (server.api_url if server else "")
    # Prefect has read its settings at import; the environment is for processes started from here.
    os.environ.update(_QUIET)
    quiet = {PREFECT_API_URL: url, PREFECT_SERVER_EPHEMERAL_ENABLED: False}
    try:
        with temporary_settings(quiet):
            yield server
    finally:
        if server is not None:
            _stop(server)


def _stop(server: PrefectServer) -> None:
    """Stop a server after it got what Prefect still holds back."""
    try:
        APILogWorker.drain_all(timeout=5)
        EventsWorker.drain_all(timeout=5)
    finally:
        server.stop()


def start_server(home: Path) -> PrefectServer:
    """Start a loopback server in the background; it ends with this process, however that ends.

    Args:
        home: Folder of its database and its log.
    """
    home.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    command = [
        *(sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"),
        *("--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--timeout-keep-alive", "5"),
    ]
    environment = os.environ | {"PREFECT_HOME": str(home), "PREFECT_LOGGING_SERVER_LEVEL": "ERROR"}
    environment.pop("PREFECT_API_URL", None)
    with (home / "server.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _TETHER, *command],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )
    return PrefectServer(api_url=f"http://127.0.0.1:{port}/api", _process=process)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own loopback URL
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
