"""Run the command line as a user does: as a process with words, an environment, and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from tests.support.warm_start import WarmStart

COMMAND = str(Path(sys.executable).with_name("terraloom"))
_FOREIGN = ("TERRALOOM_", "PREFECT_", "DASK_", "AWS_", "GDAL_", "CPL_")
"""Variables of the machine that would change what a test sees."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What a command left: exit code and what it said."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> dict[str, Any]:
        """The one JSON object that ``--json`` prints."""
        assert self.code in {0, 3}, self.err
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[str]:
        """Lines of standard error."""
        return [line for line in self.err.splitlines() if line.strip()]


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """Run ``terraloom`` in a folder under an environment of its own."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    warm: WarmStart | None = None
    """What commands that run to their end are forked from; they are executed when None."""

    def using(self, **changes: str | None) -> CommandLine:
        """Return the same with other variables; None takes one away."""
        merged: dict[str, str | None] = dict(self.environment) | changes
        return replace(self, environment={name: value for name, value in merged.items() if value is not None})

    def run(self, *words: object, timeout_s: float = 300) -> Ended:
        """Run a command to its end."""
        if self.warm is not None:
            spelled = [str(word) for word in words]
            code, out, err = self.warm.run(spelled, self.folder, self.full_environment, timeout_s)
            return Ended(code=code, out=out, err=err)
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Ended(code=process.returncode, out=out, err=err)

    @property
    def full_environment(self) -> dict[str, str]:
        """The machine's variables without those that would change what a test sees, and the own ones."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
        return inherited | dict(self.environment)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start a command in a session of its own."""
        return subprocess.Popen(
            [COMMAND, *(str(word) for word in words)],
            cwd=self.folder,
            env=self.full_environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    @contextmanager
    def serving(self, store: Path) -> Iterator[str]:
        """Keep ``terraloom serve`` running; give the URL it names."""
        process = self.start("serve", "--store", store, "--port", "0")
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, "serve named no address"
            url = found.group().rstrip("/")
            wait_until(lambda: _listens(url), 30, f"{url} to answer")
            yield url
        finally:
            stop(process)


@contextmanager
def dask_processes(folder: Path, workers: int) -> Iterator[str]:
    """Run a Dask scheduler and its workers as separate processes; give the scheduler's address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    tool = str(Path(sys.executable).with_name("dask"))
    commands = [
        [tool, "scheduler", "--host", address, "--no-dashboard"],
        *(
            [tool, "worker", address, "--nthreads", "1", "--no-dashboard", "--no-nanny"]
            for _ in range(workers)
        ),
    ]
    log = (folder / "dask.log").open("ab")
    processes = [
        subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        for command in commands
    ]
    try:
        yield address
    finally:
        for process in reversed(processes):
            stop(process)
        log.close()


def stop(process: subprocess.Popen[Any]) -> None:
    """Ask a process to end, then make it."""
    process.terminate()
    try:
        process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


def kill(pid: int) -> None:
    """``kill -9``."""
    os.kill(pid, signal.SIGKILL)


def descendants(pid: int) -> list[psutil.Process]:
    """Return all processes that a process started, directly or not; none when it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def dask_workers(pid: int) -> list[psutil.Process]:
    """Return the worker processes of a run's own cluster."""
    found = []
    for process in descendants(pid):
        try:
            if any("spawn_main" in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return sorted(found, key=lambda process: process.pid)


def wait_until_gone(processes: Sequence[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait for processes to end; return those that did not."""
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [process for process in alive if process.is_running() and process.status() != "zombie"]


def wait_until(holds: Callable[[], object], timeout_s: float, what: str) -> None:
    """Poll until something holds."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.05)


def free_port() -> int:
    """Return a port of loopback that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, int(port))) == 0
