"""Write and read one catalogue from many sides at once, and kill its server in the middle of a write."""

from __future__ import annotations

import itertools
import json
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from catalog.client import HttpClient
from catalog.database.backend import SearchQuery, SqliteCatalogue
from tests.support.many_items import COLLECTIONS, collection_of, many_items
from tests.support.processes import CommandLine, kill, stop, wait_until

pytestmark = pytest.mark.long
TOKEN = "a-token-of-this-test"
READERS = 20
BATCH = 40
ANNOUNCED = {429, 503}
"""Answers that say "later", with Retry-After."""

EMBEDDED_WRITER = """
import sys, time
from catalog.client import EmbeddedClient
from tests.support.many_items import many_items
path, first, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
client, ends, sent = EmbeddedClient(path), time.monotonic() + seconds, 0
while time.monotonic() < ends:
    client.upsert_items(many_items(40, first=first + sent))
    sent += 40
    print(sent, flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    catalogue = SqliteCatalogue(folder / "catalogue.sqlite")
    for name in COLLECTIONS:
        catalogue.upsert_collection(collection_of(name))
    catalogue.close()
    return folder


@pytest.fixture
def server(bare_terraloom: CommandLine) -> CommandLine:
    return bare_terraloom.using(TERRALOOM_SERVE__TOKEN=TOKEN, TERRALOOM_SERVE__WRITES_PER_MINUTE="1000000")


class Reader(threading.Thread):
    """Page through everything, again and again, and note what must not be."""

    def __init__(self, url: str, acknowledged: list[int], stopped: threading.Event) -> None:
        super().__init__(daemon=True)
        self.url, self.acknowledged, self.stopped = url, acknowledged, stopped
        self.faults: list[str] = []
        self.walks = 0

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=60) as http:
                while not self.stopped.is_set():
                    self._walk(http)
                    self.walks += 1
        except Exception as exc:  # noqa: BLE001 - a thread's failure must reach the test
            self.faults.append(repr(exc))

    def _walk(self, http: httpx.Client) -> None:
        sure = self.acknowledged[0]  # written before the walk begins: each must be met exactly once
        seen: Counter[str] = Counter()
        for page in self._pages(http):
            seen.update(item["id"] for item in page["features"])
        doubled = [name for name, count in seen.items() if count > 1]
        lost = [item_id for item_id in (_id(number) for number in range(sure)) if seen.get(item_id, 0) == 0]
        if not self.stopped.is_set() and (doubled or lost):
            self.faults.append(f"doubled {doubled[:3]}, lost {lost[:3]} of {sure}")

    def _pages(self, http: httpx.Client) -> Iterator[dict[str, Any]]:
        # an order by values that no write changes
        body: dict[str, Any] | None = {"limit": 500, "sortby": [{"field": "datetime", "direction": "asc"}]}
        while body is not None and not self.stopped.is_set():
            answer = http.post("/search", json=body)
            if answer.status_code in ANNOUNCED and "retry-after" in answer.headers:
                time.sleep(0.1)
                continue
            assert answer.status_code == 200, answer.text
            page = answer.json()
            yield page
            body = next((link["body"] for link in page["links"] if link["rel"] == "next"), None)


_IDS: dict[int, str] = {}


def _id(number: int) -> str:
    if number not in _IDS:
        (item,) = many_items(1, first=number)
        _IDS[number] = item["id"]
    return _IDS[number]


def write_over_http(url: str, seconds: float, acknowledged: list[int]) -> None:
    with HttpClient(url, TOKEN) as client:
        ends = time.monotonic() + seconds
        for first in itertools.count(0, BATCH):
            items = list(many_items(BATCH, first=first))
            for number, item in enumerate(items, start=first):
                _IDS[number] = item["id"]
            client.upsert_items(items)
            acknowledged[0] = first + BATCH
            if time.monotonic() > ends:
                return


def load_for(seconds: float, server: CommandLine, store: Path) -> None:
    """Two writers (one over HTTP, one process on the file itself) and twenty readers."""
    far = 10_000_000  # the second writer's numbers
    acknowledged, stopped = [0], threading.Event()
    with server.serving(store) as url:
        readers = [Reader(url, acknowledged, stopped) for _ in range(READERS)]
        words = [
            sys.executable,
            "-c",
            EMBEDDED_WRITER,
            str(store / "catalogue.sqlite"),
            str(far),
            str(seconds),
        ]
        second = subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )
        for reader in readers:
            reader.start()
        write_over_http(url, seconds, acknowledged)
        out, err = second.communicate(timeout=120)
        stopped.set()
        for reader in readers:
            reader.join(timeout=90)
        assert second.returncode == 0, err
    faults = [fault for reader in readers for fault in reader.faults]
    assert not faults, faults[:5]
    assert sum(reader.walks for reader in readers) >= READERS
    written = int(out.split()[-1])
    assert written >= BATCH
    assert acknowledged[0] >= BATCH
    with sqlite3.connect(store / "catalogue.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        held = [row[0] for row in connection.execute("SELECT id FROM items")]
    expected = {_id(number) for number in range(acknowledged[0])}
    expected |= {item["id"] for item in many_items(written, first=far)}
    assert len(held) == len(set(held))
    assert set(held) == expected


def test_two_writers_and_twenty_readers_lose_and_double_nothing(server: CommandLine, store: Path) -> None:
    load_for(6.0, server, store)


@pytest.mark.chaos
def test_two_writers_and_twenty_readers_for_a_minute(server: CommandLine, store: Path) -> None:
    load_for(60.0, server, store)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def killable_server(server: CommandLine, store: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = server.start("serve", "--store", store, "--port", "0")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split(" at ")[1].split()[0].rstrip("/")
        wait_until(lambda: _answers(url), 30, f"{url} to answer")
        yield process, url
    finally:
        stop(process)


def test_a_server_killed_during_bulk_upserts_leaves_batches_whole(server: CommandLine, store: Path) -> None:
    rng = random.Random(7)
    size = 2_000
    for number in range(4):
        batch = list(many_items(size, first=number * size))
        bodies = {
            name: {"method": "upsert", "items": {i["id"]: i for i in batch if i["collection"] == name}}
            for name in COLLECTIONS
        }
        with killable_server(server, store) as (process, url):
            timer = threading.Timer(rng.uniform(0.05, 0.9), kill, [process.pid])
            timer.start()
            told = []
            for name, body in bodies.items():
                try:
                    answer = httpx.post(
                        f"{url}/collections/{name}/bulk_items",
                        content=json.dumps(body),
                        headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"},
                        timeout=60,
                    )
                    assert answer.status_code == 200, answer.text
                    told.append(name)
                except httpx.TransportError:
                    break
            timer.join()
            process.wait(timeout=20)
        _check_batches(store, bodies, told)


def _check_batches(store: Path, bodies: dict[str, Any], told: list[str]) -> None:
    """Check that the file is sound, that no batch stands in part, and that acknowledged ones stand whole."""
    catalogue = SqliteCatalogue(store / "catalogue.sqlite")
    with sqlite3.connect(store / "catalogue.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    for name, body in bodies.items():
        ids = list(body["items"])
        held = catalogue.count(SearchQuery(collections=[name], ids=ids))
        assert held in (0, len(ids)), f"{held} of {len(ids)} items of {name} stand"
        assert held == len(ids) or name not in told
    catalogue.close()
