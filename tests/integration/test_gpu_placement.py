"""Work for a GPU goes to workers that offer one, and to no others."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from distributed import Nanny, Scheduler, SpecCluster, get_worker

from infra.cluster import GPU, ClusterAddress, has_gpu, run_units, running_cluster
from infra.errors import ConfigError, TransientError
from infra.settings import DaskSettings
from infra.storage import LocalStorage
from tasks.encode_scene import EncodingPlace, encode_scene
from tests.support.embedding import draw_ground, make_optical, plan_filters
from tests.support.processes import wait_until

pytestmark = pytest.mark.long
UNITS = list(range(24))


def where(_unit: int) -> tuple[str, int]:
    """Tell which worker this is, and how many threads it has."""
    worker = get_worker()
    return str(worker.name), worker.state.nthreads


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterAddress]:
    """Two workers, each a process: one declares a GPU that is not there, so that no GPU is needed here."""
    shared = {"nthreads": 1, "local_directory": str(tmp_path_factory.mktemp("dask"))}
    workers = {
        "plain": {"cls": Nanny, "options": shared},
        "with-gpu": {"cls": Nanny, "options": shared | {"resources": dict(GPU)}},
    }
    scheduler = {
        "cls": Scheduler,
        "options": {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"},
    }
    with (
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.CRITICAL) as started,
        running_cluster(DaskSettings(address=started.scheduler_address)) as address,
    ):
        yield address


def test_units_that_claim_a_gpu_never_land_elsewhere(cluster):
    assert has_gpu(cluster)
    claimed = {outcome for _, outcome in run_units(cluster, where, UNITS, resources=GPU)}
    assert claimed == {("with-gpu", 1)}
    free = {name for _, (name, _) in run_units(cluster, where, UNITS)}
    assert free == {"plain", "with-gpu"}, "without a claim any worker will do, so the claim is what counts"


def test_a_cluster_without_gpus_refuses_at_once():
    with running_cluster(DaskSettings(workers=1, dashboard_port=0)) as address:
        assert not has_gpu(address)
        with pytest.raises(ConfigError, match="offers GPU=1; start one with --nthreads 1 --resources GPU=1"):
            list(run_units(address, where, UNITS, resources=GPU))


def test_a_gpu_worker_that_leaves_ends_the_wait(tmp_path, monkeypatch):
    """The scheduler keeps what only that worker could do, and would let us wait for ever."""
    monkeypatch.setattr("infra.cluster._LOOK_S", 0.2)
    monkeypatch.setattr("infra.cluster._PATIENCE_S", 1.0)
    with running_cluster(DaskSettings(workers=1, dashboard_port=0)) as address:
        words = (
            "dask", "worker", address.scheduler, "--nthreads", "1", "--resources", "GPU=1", "--no-nanny",
            "--no-dashboard", "--local-directory", str(tmp_path),
        )  # fmt: skip
        worker = subprocess.Popen(
            [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_until(lambda: has_gpu(address), 60, "the worker")
            outcomes = run_units(address, time.sleep, [0.2] * 100, resources=GPU)
            assert next(outcomes)[1] is None
            worker.kill()
            with pytest.raises(TransientError, match=r"no Dask worker that offers GPU=1 is left, and \d+ of"):
                list(outcomes)
        finally:
            worker.kill()
            worker.wait()


def test_encoding_on_a_gpu_claims_it_and_says_where_there_is_none(cluster, tmp_path):
    """The worker that declares one has none: it gets the work, and refuses it instead of using the CPU."""
    storage = LocalStorage(tmp_path / "store")
    plan = plan_filters(make_optical(storage, tmp_path, draw_ground((130, 130), 3, 1)))
    with pytest.raises(ConfigError, match="was given work for a GPU and sees none"):
        encode_scene.fn(storage.uri, plan, cluster, EncodingPlace(device="cuda"))
    done = encode_scene.fn(storage.uri, plan, cluster, EncodingPlace(device="cpu"))
    assert (done.quarantined, done.tiles_read) == (None, 1)
    assert done.bytes_written > 10_000
    again = encode_scene.fn(storage.uri, plan, cluster, EncodingPlace(device="cpu"))
    assert again.tiles_read == 0


def test_damaged_pixels_quarantine_the_scene(cluster, tmp_path):
    storage = LocalStorage(tmp_path / "store")
    scene = make_optical(storage, tmp_path, draw_ground((130, 130), 3, 1))
    storage.write(f"{scene.path}/cube.zarr/0/red/c/0/0", b"not a shard")
    plan = plan_filters(scene)
    done = encode_scene.fn(storage.uri, plan, cluster, EncodingPlace())
    assert done.quarantined
    assert "cannot be read" in done.quarantined
    assert not list(storage.list_objects(plan.path))
