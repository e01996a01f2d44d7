"""Make what is costly, and only read afterwards, once for all test processes that run side by side."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def make_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Any:
    """Return what a function tells of the files it made; the first process that asks makes them.

    Args:
        factory: Of the session's folders.
        name: Of what is made.
        make: Takes an empty folder of its own, the same for all processes; returns JSON.
    """
    own = factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    folder, told = shared / name, shared / f"{name}.json"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a process that failed on the way
            folder.mkdir()
            told.write_text(json.dumps(make(folder)))
        return json.loads(told.read_text())
