"""Start commands from a process that has imported everything already: seconds less for each.

A command is still a process of its own, with its own words, folder, environment, output and exit code; it
is forked instead of executed. What only a fresh start shows (settings that are read while importing, Dask
workers that import the main module again) is for tests that execute the command.

    python -m tests.support.warm_start SOCKET
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_MOST_BYTES = 1 << 20
_IMPORTS = (
    "flows.cli",
    "flows.map_area",
    "flows.terminal",
    "flows.train_model",
    "models.matchers",
    "models.registration.scenes",
)
_STREAMS = 3


class WarmStart:
    """Ask the process at a socket to run commands."""

    def __init__(self, place: Path) -> None:
        self._place = place

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str]:
        """Run a command to its end; return exit code, output and error output.

        Raises:
            TimeoutError: it did not end in time, and was killed.
        """
        request = json.dumps([list(words), str(folder), dict(environment)]).encode() + b"\n"
        with (
            socket.socket(socket.AF_UNIX) as line,
            Path(os.devnull).open() as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            line.connect(str(self._place))
            socket.send_fds(line, [b"!"], [file.fileno() for file in (nothing, out, err)])
            line.sendall(request)
            answers = line.makefile()
            pid = int(answers.readline())
            line.settimeout(timeout_s)
            try:
                code = int(answers.readline())
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                raise
            return code, _read(out), _read(err)


@contextmanager
def warm_start(folder: Path, environment: Mapping[str, str]) -> Iterator[WarmStart]:
    """Keep a process ready that commands are forked from; it imports while the caller goes on.

    Args:
        folder: For its socket and its log.
        environment: Of the imports.
    """
    place = Path(tempfile.mkdtemp()) / "warm"  # short: the name of a socket has room for 100 letters
    with (folder / "warm.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.warm_start", str(place)],
            cwd=Path(__file__).parents[2],
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n", (folder / "warm.log").read_text()
        try:
            yield WarmStart(place)
        finally:
            process.stdin.close()
            process.wait(20)
            process.stdout.close()
            place.unlink(missing_ok=True)
            place.parent.rmdir()


def _read(file: tempfile._TemporaryFileWrapper[bytes]) -> str:
    file.seek(0)
    return file.read().decode()


def _serve(place: str) -> None:
    """Fork a command for each connection, until standard input ends: so this ends with whoever started it."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place)
        server.listen()
        sys.stdout.write("listening\n")  # requests wait in line while the imports go on
        sys.stdout.flush()
        _import_everything()
        gc.freeze()  # or collecting garbage would make each command copy the memory it shares
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel clears ended ones away
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            line, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _attend(line)
            line.close()


def _import_everything() -> None:
    for name in _IMPORTS:
        importlib.import_module(name)


def _attend(line: socket.socket) -> None:
    """Fork the command itself, and report its pid and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _, streams, _, _ = socket.recv_fds(line, 1, _STREAMS)
    words, folder, environment = json.loads(line.makefile().readline(_MOST_BYTES))
    pid = os.fork()
    if pid == 0:
        line.close()
        os.setsid()
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        _run(words)
    line.sendall(f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    line.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(words: list[str]) -> None:
    from flows.cli import main

    sys.argv = ["terraloom", *words]
    main()


if __name__ == "__main__":
    # Libraries of linear algebra start threads while they are imported; they know what to do about a fork.
    warnings.filterwarnings("ignore", message=".*use of fork", category=DeprecationWarning)
    _serve(sys.argv[1])
