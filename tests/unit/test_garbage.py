"""Garbage: unfinished products go, sealed ones stay, and nobody at work is disturbed."""

import json
import os
import socket
import subprocess

import pytest

from catalog.garbage import collect_garbage
from infra.storage import LocalStorage, open_storage
from tests.support.synthetic import tree_of


@pytest.fixture
def dead_pid():
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


@pytest.fixture
def storage(tmp_path):
    made = LocalStorage(tmp_path)
    made.write("scenes/sealed/receipt.json", b"{}")
    made.write("scenes/sealed/cube.zarr/0/c/0/0", b"pixels")
    made.write("scenes/unfinished/cube.zarr/0/c/0/0", b"half of the pixels")
    made.write("scenes/unfinished/tiles/0-0.json", b"{}")
    return made


def lease(storage, run, pid, host=None):
    storage.write(
        f"runs/{run}/lease.json", json.dumps({"host": host or socket.gethostname(), "pid": pid}).encode()
    )


def names(storage):
    return {entry.path for entry in storage.list_objects("")}


def test_unfinished_go_and_sealed_stay(storage):
    swept = collect_garbage(storage, dry_run=False)
    assert swept.products == ("scenes/unfinished",)
    assert swept.size == len(b"half of the pixels") + 2
    assert swept.live_runs == ()
    assert names(storage) == {"scenes/sealed/receipt.json", "scenes/sealed/cube.zarr/0/c/0/0"}
    assert storage.list_folders("scenes") == ["sealed"]


def test_a_second_time_there_is_nothing(storage):
    collect_garbage(storage, dry_run=False)
    assert collect_garbage(storage, dry_run=False).products == ()


def test_dry_run_changes_nothing(storage, tmp_path, dead_pid):
    lease(storage, "dead", dead_pid)
    (tmp_path / "scenes/sealed" / f".x.{dead_pid}-00000000.part").write_bytes(b"half")
    before = tree_of(tmp_path)
    assert collect_garbage(storage, dry_run=True).products == ("scenes/unfinished",)
    assert tree_of(tmp_path) == before


def test_a_live_lease_is_respected(storage):
    lease(storage, "busy", os.getpid())
    before = names(storage)
    swept = collect_garbage(storage, dry_run=False)
    assert swept.live_runs == ("busy",)
    assert swept.products == ()
    assert names(storage) == before


def test_a_dead_lease_is_removed_and_does_not_protect(storage, dead_pid):
    lease(storage, "dead", dead_pid)
    storage.write("runs/dead/summary.json", b"{}")
    swept = collect_garbage(storage, dry_run=False)
    assert swept.products == ("scenes/unfinished",)
    assert not storage.exists("runs/dead/lease.json")
    assert storage.exists("runs/dead/summary.json")


def test_a_lease_of_another_machine_is_believed_for_a_day(storage, tmp_path, dead_pid):
    lease(storage, "far", dead_pid, host="elsewhere.example")
    assert collect_garbage(storage, dry_run=False).live_runs == ("far",)
    old = (tmp_path / "runs/far/lease.json").stat().st_mtime - 25 * 3600
    os.utime(tmp_path / "runs/far/lease.json", (old, old))
    assert collect_garbage(storage, dry_run=False).products == ("scenes/unfinished",)
    assert not storage.exists("runs/far/lease.json")


def test_half_written_files_of_the_dead_go(storage, tmp_path, dead_pid):
    folder = tmp_path / "scenes/sealed"
    dead, alive = folder / f".x.{dead_pid}-00000000.part", folder / f".x.{os.getpid()}-00000000.part"
    for part in (dead, alive):
        part.write_bytes(b"half")
    collect_garbage(storage, dry_run=False)
    assert not dead.exists()
    assert alive.exists()


def test_an_empty_store(tmp_path):
    swept = collect_garbage(LocalStorage(tmp_path / "none"), dry_run=False)
    assert (swept.products, swept.size, swept.live_runs) == ((), 0, ())


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]"])
def test_a_lease_that_says_nothing_is_not_a_reason_to_fail(storage, text):
    storage.write("runs/odd/lease.json", text)
    assert collect_garbage(storage, dry_run=True).live_runs == ("odd",)


def test_on_s3(s3_environment):

    remote = open_storage(f"{s3_environment}/store")
    remote.write("scenes/sealed/receipt.json", b"{}")
    remote.write("scenes/unfinished/cube.zarr/zarr.json", b"{}")
    assert collect_garbage(remote, dry_run=False).products == ("scenes/unfinished",)
    assert names(remote) == {"scenes/sealed/receipt.json"}
