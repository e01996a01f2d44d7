"""Share what many tests need: real data, seeds, an S3 server, and no way out to the internet."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import hypothesis
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

hypothesis.settings.register_profile("dev", max_examples=40, deadline=None)
hypothesis.settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")

BUCKET = "terraloom-test"


@pytest.fixture(scope="session", autouse=True)
def _only_loopback() -> Iterator[None]:
    """Refuse TCP connections out of Python to anything but this machine."""
    original = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        if self.type & socket.SOCK_STREAM and self.family in {socket.AF_INET, socket.AF_INET6}:
            _check_loopback(address[0])
        original(self, address)

    patch = pytest.MonkeyPatch()
    patch.setattr(socket.socket, "connect", connect)
    yield
    patch.undo()


def _check_loopback(host: str) -> None:
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise ConnectionRefusedError(f"tests may not reach {host}: only loopback is open")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: small sums are slower on several, and numbers could differ."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes; skips where there is none."""
    folder = os.environ.get("TERRALOOM_REAL_DATA")
    if not folder:
        pytest.skip("TERRALOOM_REAL_DATA is not set: it names the folder of real scenes")
    if not Path(folder).is_dir():
        pytest.skip(f"TERRALOOM_REAL_DATA names {folder}, which is no folder")
    return Path(folder)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in every run."""
    return np.random.default_rng(20240601)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A real S3 server (moto) on loopback."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point the ``AWS_*`` variables at the server and make an empty bucket; gives the bucket's URI."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET)
    for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", []):
        client.delete_object(Bucket=BUCKET, Key=entry["Key"])
    return f"s3://{BUCKET}"
