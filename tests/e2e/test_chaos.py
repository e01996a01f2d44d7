"""Kill what can be killed, run again, and find what an undisturbed run leaves.

``make long`` takes the first few of the seeded moments; ``make chaos`` takes them all.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import Run
from tests.support.processes import (
    CommandLine,
    dask_workers,
    descendants,
    kill,
    wait_until,
    wait_until_gone,
)
from tests.support.snapshots import comparable_items, store_tree

pytestmark = pytest.mark.long
_SEED = 20260801
_MOMENTS = 20
_FIRST_MOMENTS = 2
_ORPHANS_END_WITHIN_S = 30


def _seeded_moments() -> Iterator[object]:
    rng = random.Random(_SEED)
    for number in range(_MOMENTS):
        victim = ("worker", "flow")[number % 2]
        marks = () if number < _FIRST_MOMENTS else (pytest.mark.chaos,)
        yield pytest.param(victim, rng.random(), id=f"{number}-{victim}", marks=marks)


@pytest.mark.parametrize(("victim", "moment"), list(_seeded_moments()))
def test_a_kill_and_a_plain_rerun_leave_what_an_undisturbed_run_does(
    undisturbed: Run,
    terraloom: CommandLine,
    quick_terraloom: CommandLine,
    store: Path,
    victim: str,
    moment: float,
) -> None:
    words = (*undisturbed.world.mapping(store), "--json")
    started = time.monotonic()
    process = terraloom.start(*words)
    family = _wait_for_workers(process.pid) if victim == "worker" else []
    # A worker's moment is a share of the time from its birth to the run's end; a flow's, of the whole.
    spent = time.monotonic() - started
    time.sleep(moment * max(undisturbed.seconds - spent, 1))
    family += descendants(process.pid)
    if victim == "worker":
        _kill_one(dask_workers(process.pid), moment)
    else:
        with contextlib.suppress(ProcessLookupError):
            kill(process.pid)
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    assert process.returncode == 0 or victim == "flow", err
    left = wait_until_gone(family, _ORPHANS_END_WITHIN_S)
    assert not left, f"left behind: {left}"
    told = quick_terraloom.run(*words).told
    assert told["written"] + told["reused"] == told["catalogued"] == told["planned"]
    _assert_undisturbed(store, undisturbed)


def test_two_copies_of_a_run_at_once_are_as_one(undisturbed, quick_terraloom, store):
    words = (*undisturbed.world.mapping(store), "--json")
    copies = [quick_terraloom.start(*words) for _ in range(2)]
    for copy in copies:
        _, err = copy.communicate(timeout=300)
        assert copy.returncode == 0, err
    _assert_undisturbed(store, undisturbed)


def test_gc_sweeps_what_a_killed_run_left_and_a_rerun_completes(
    undisturbed, bare_terraloom, quick_bare, quick_terraloom, store
):
    words = (*undisturbed.world.mapping(store), "--json")
    process = bare_terraloom.start(*words)  # its Prefect server is its own, too
    wait_until(lambda: list(store.glob("scenes/*/cube.zarr/zarr.json")), 120, "a cube to be begun")
    family = descendants(process.pid)
    assert any("uvicorn" in " ".join(relative.cmdline()) for relative in family), "no Prefect server seen"
    kill(process.pid)
    process.communicate()
    left = wait_until_gone(family, _ORPHANS_END_WITHIN_S)
    assert not left, f"left behind: {left}"
    unfinished = _unfinished(store)
    assert unfinished
    before = store_tree(store)
    looked = quick_bare.run("gc", "--store", store, "--dry-run")
    assert f"would remove {len(unfinished)} products" in looked.out
    assert store_tree(store) == before
    swept = quick_bare.run("gc", "--store", store)
    assert f"removed {len(unfinished)} products" in swept.out, swept
    assert not _unfinished(store)
    assert not list(store.glob("runs/*/lease.json"))
    assert not list(store.rglob("*.part"))
    assert quick_terraloom.run(*words).code == 0
    _assert_undisturbed(store, undisturbed)


def test_gc_beside_a_running_run_takes_nothing(undisturbed, terraloom, bare_terraloom, store):
    words = (*undisturbed.world.mapping(store), "--json")
    process = terraloom.start(*words)
    wait_until(lambda: list(store.glob("runs/*/lease.json")), 120, "the run to take its lease")
    ended = bare_terraloom.run("gc", "--store", store)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert ended.code == 0, ended.err
    _assert_undisturbed(store, undisturbed)


def _assert_undisturbed(store: Path, undisturbed: Run) -> None:
    assert store_tree(store) == store_tree(undisturbed.store)
    assert comparable_items(store) == comparable_items(undisturbed.store)


def _wait_for_workers(pid: int) -> list[psutil.Process]:
    wait_until(lambda: dask_workers(pid) or not psutil.pid_exists(pid), 120, "Dask workers")
    return dask_workers(pid)


def _kill_one(workers: list[psutil.Process], moment: float) -> None:
    if workers:  # none: the run was quicker this time
        with contextlib.suppress(psutil.NoSuchProcess):
            workers[int(moment * 1000) % len(workers)].kill()


def _unfinished(store: Path) -> list[Path]:
    return [folder for folder in store.glob("scenes/*") if not (folder / "receipt.json").exists()]
