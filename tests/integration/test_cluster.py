"""Clusters: one of our own, one by its address with TLS; errors come back as records."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trustme

from infra import cluster
from infra.cluster import dashboard_link, run_units, running_cluster
from infra.errors import ConfigError, DataError, InternalError, TransientError
from infra.settings import DaskSettings

ROOT = Path(__file__).resolve().parents[2]


def do_unit(number: int) -> int:
    """Square a number, or fail in the way it names."""
    if number == 13:
        raise DataError("unit 13 is blank", unit=13)
    if number == 14:
        raise TransientError("unit 14 timed out")
    if number == 15:
        raise ZeroDivisionError("unit 15 divides by nothing")
    return number * number


def settings(**fields) -> DaskSettings:
    return DaskSettings(**({"workers": 1, "dashboard_port": 0} | fields))


def test_a_cluster_of_our_own(tmp_path):
    report = tmp_path / "report.html"
    with running_cluster(settings(), report=report) as address:
        assert address.scheduler.startswith("tcp://127.0.0.1:")
        outcomes = dict(run_units(address, do_unit, [2, 3, 13, 14, 15]))
        assert dashboard_link(address).startswith("http://127.0.0.1:")
    assert (outcomes[2], outcomes[3]) == (4, 9)
    assert isinstance(outcomes[13], DataError)
    assert outcomes[13].context == {"unit": 13}
    assert isinstance(outcomes[14], TransientError)
    assert isinstance(outcomes[15], InternalError)
    assert "ZeroDivisionError: unit 15" in outcomes[15].message
    page = report.read_text()
    assert "<html" in page
    assert not re.search(r"<script[^>]+src=", page), "the report opens without internet"


@pytest.mark.parametrize("failures", [1, 2])
def test_a_start_that_fails_is_tried_once_more(failures, monkeypatch):
    """Dask gives a whole cluster up when one worker dies before it has registered."""
    tries, start = [], cluster.LocalCluster

    def start_late(**words):
        tries.append(words)
        if len(tries) <= failures:
            raise RuntimeError("Nanny failed to start.")
        return start(**words)

    monkeypatch.setattr(cluster, "LocalCluster", start_late)
    settings = DaskSettings(workers=1, dashboard_port=0)
    if failures == 1:
        with running_cluster(settings) as address:
            assert [outcome for _, outcome in run_units(address, abs, [-3])] == [3]
    else:
        with (
            pytest.raises(TransientError, match=r"did not start: Nanny failed to start\.; run again"),
            running_cluster(settings),
        ):
            raise AssertionError("it must not start")
    assert len(tries) == 2


@pytest.mark.parametrize("scheme", ["tcp", "nonsense"])
def test_a_scheduler_that_does_not_answer(scheme, monkeypatch):
    monkeypatch.setattr("infra.cluster._CONNECT_TIMEOUT_S", 1)
    address = f"{scheme}://127.0.0.1:{free_port()}"
    with pytest.raises(ConfigError) as caught, running_cluster(settings(address=address)):
        pytest.fail("there is no such cluster")
    assert address in caught.value.message
    assert "check dask.address" in caught.value.message
    assert "\n" not in caught.value.message


def test_tls_files_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setattr("infra.cluster._CONNECT_TIMEOUT_S", 1)
    wrong = settings(address=f"tls://127.0.0.1:{free_port()}", tls_ca_file=tmp_path / "no.pem")
    with pytest.raises(ConfigError, match="TLS files"), running_cluster(wrong):
        pytest.fail("there is no such cluster")


class TestTls:
    @pytest.fixture
    def certificates(self, tmp_path):
        authority = trustme.CA()
        identity = authority.issue_cert("127.0.0.1", "localhost")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        identity.private_key_and_cert_chain_pem.write_to_path(tmp_path / "identity.pem")
        return tmp_path / "ca.pem", tmp_path / "identity.pem"

    @pytest.fixture
    def scheduler(self, certificates, tmp_path):
        """A scheduler and a worker, each a process of its own, on TLS; gives the address."""
        authority, identity = certificates
        tls = ("--tls-ca-file", str(authority), "--tls-cert", str(identity), "--tls-key", str(identity))
        address = f"tls://127.0.0.1:{free_port()}"
        host, _, port = address.removeprefix("tls://").partition(":")
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                dask_process(
                    "scheduler", *tls, "--protocol", "tls", "--host", host, "--port", port, "--no-dashboard"
                )
            )
            wait_for_port(int(port))
            stack.enter_context(
                dask_process(
                    "worker", address, *tls, "--protocol", "tls", "--host", host, "--nthreads", "1",
                    "--no-dashboard", "--no-nanny", "--local-directory", str(tmp_path / "scratch"),
                )
            )  # fmt: skip
            yield address

    def test_units_run_on_it(self, scheduler, certificates):
        authority, identity = certificates
        there = settings(
            address=scheduler, tls_ca_file=authority, tls_cert_file=identity, tls_key_file=identity
        )
        with running_cluster(there) as address:
            outcomes = dict(run_units(address, abs, [-2, 3]))
        assert outcomes == {-2: 2, 3: 3}
        with running_cluster(there) as again:
            assert dict(run_units(again, abs, [-5])) == {-5: 5}, "it outlives the run"

    def test_a_stranger_is_not_let_in(self, scheduler, tmp_path, monkeypatch):
        monkeypatch.setattr("infra.cluster._CONNECT_TIMEOUT_S", 2)
        stranger = trustme.CA()
        stranger.cert_pem.write_to_path(tmp_path / "other-ca.pem")
        stranger.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "other.pem")
        outside = settings(
            address=scheduler, tls_ca_file=tmp_path / "other-ca.pem", tls_cert_file=tmp_path / "other.pem",
            tls_key_file=tmp_path / "other.pem",
        )  # fmt: skip
        with pytest.raises(ConfigError, match="does not answer"), running_cluster(outside):
            pytest.fail("a stranger got in")


@contextlib.contextmanager
def dask_process(kind, *words):
    process = subprocess.Popen(
        [sys.executable, "-m", "dask", kind, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing listens on port {port}")
