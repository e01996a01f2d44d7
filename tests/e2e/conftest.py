"""Set up once what end-to-end tests stand on: a Prefect API, a Dask cluster, a sample world, one run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.made_once import make_once
from tests.support.processes import CommandLine, Ended, dask_processes
from tests.support.warm_start import warm_start
from tests.support.worlds import World, draw_world


@dataclass(frozen=True, kw_only=True)
class Run:
    """A request that ended well, and where its products are."""

    world: World
    store: Path
    ended: Ended
    seconds: float
    """From the start of the process to its end."""

    @property
    def summary(self) -> dict[str, Any]:
        """What ``--json`` printed."""
        return self.ended.told


@pytest.fixture(scope="session")
def prefect_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect API that all runs of the session share."""
    from flows.prefect_server import start_server

    server = start_server(tmp_path_factory.mktemp("prefect"))
    try:
        yield server.wait_ready()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def bare_terraloom(tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """The command line on a machine where nothing is set up."""
    home = tmp_path_factory.mktemp("home")
    return CommandLine(
        folder=home,
        environment={"XDG_DATA_HOME": str(home / "data"), "TERRALOOM_DASK__DASHBOARD_PORT": "0"},
    )


@pytest.fixture(scope="session")
def terraloom(bare_terraloom: CommandLine, prefect_url: str) -> CommandLine:
    """The command line with a Prefect API; each run starts a cluster of its own."""
    return bare_terraloom.using(PREFECT_API_URL=prefect_url, TERRALOOM_DASK__WORKERS="2")


@pytest.fixture(scope="session")
def dask_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with two workers, each a process of its own."""
    with dask_processes(tmp_path_factory.mktemp("dask"), workers=2) as address:
        yield address


@pytest.fixture(scope="session")
def warm_terraloom(terraloom: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line with a Prefect API, forked from a process that has imported everything."""
    with warm_start(tmp_path_factory.mktemp("warm"), terraloom.full_environment) as warm:
        yield replace(terraloom, warm=warm)


@pytest.fixture(scope="session")
def quick_terraloom(warm_terraloom: CommandLine, dask_address: str) -> CommandLine:
    """The same, with a Dask cluster that stands already."""
    return warm_terraloom.using(TERRALOOM_DASK__ADDRESS=dask_address)


@pytest.fixture(scope="session")
def quick_bare(bare_terraloom: CommandLine, warm_terraloom: CommandLine) -> CommandLine:
    """The command line where nothing is set up, forked from the same process: a second less for each run."""
    return replace(bare_terraloom, warm=warm_terraloom.warm)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A small sample world: six cubes of two collections."""
    told = make_once(
        tmp_path_factory, "sample", lambda folder: asdict(draw_world(folder / "world", size_px=256))
    )
    return World.of_json(told)


@pytest.fixture(scope="session")
def undisturbed(terraloom: CommandLine, world: World, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The sample world mapped on a cluster of the run's own; tests read it and leave it as it is."""

    def make(folder: Path) -> dict[str, Any]:
        started = time.monotonic()
        ended = terraloom.run(*world.mapping(folder / "store"), "--json")
        assert ended.code == 0, ended.err
        return {
            "store": str(folder / "store"),
            "ended": asdict(ended),
            "seconds": time.monotonic() - started,
        }

    told = make_once(tmp_path_factory, "undisturbed", make)
    return Run(world=world, store=Path(told["store"]), ended=Ended(**told["ended"]), seconds=told["seconds"])


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Where a test's store goes; nothing is there yet."""
    return tmp_path / "store"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scenes, or a skip that says where it was looked for."""
    named = os.environ.get("TERRALOOM_REAL_DATA")
    if not named:
        pytest.skip("TERRALOOM_REAL_DATA is not set: it names the folder of real scenes")
    folder = Path(named)
    if not folder.is_dir():
        pytest.skip(f"TERRALOOM_REAL_DATA names {folder}, which is absent")
    return folder
