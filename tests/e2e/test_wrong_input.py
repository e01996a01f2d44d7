"""Wrong input: one line that names the value and the mend, exit code 2, nothing written."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.processes import Ended, free_port
from tests.support.snapshots import read_items
from tests.support.worlds import (
    World,
    change_item,
    copy_world,
    cut_file,
    item_files,
    spoil_middle,
)

_OPTICAL = "sample-optical"


def _assert_refused(ended: Ended, *named: str) -> None:
    assert ended.code == 2, ended
    assert len(ended.lines) == 1, ended.err
    assert "Traceback" not in ended.err
    assert ended.out == ""
    for word in named:
        assert word in ended.lines[0]


def _assert_untouched(store: Path) -> None:
    assert not store.exists() or not any(store.iterdir()), list(store.rglob("*"))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--bbox", "2.30,54.73,2.33"), ("2.30,54.73,2.33", "W,S,E,N")),
        (("--bbox", "2.30,54.73,east,54.75"), ("2.30,54.73,east,54.75", "W,S,E,N")),
        (("--bbox", "2.30,54.75,2.33,54.73"), ("54.75", "54.73")),
        (("--bbox", "2.30,54.73,2.33,154.75"), ("154.75", "W,S,E,N")),
        (("--datetime", "2025-09-30/2025-06-01"), ("2025-09-30/2025-06-01", "did you mean")),
        (("--datetime", "last summer"), ("last summer", "2024-06-01/2024-06-30")),
        (("--crs", "EPSG:99999"), ("EPSG:99999", "e.g.")),
        (("--resolution-m", "0"), ("resolution_m", "greater than 0")),
        (("--resolution-m", "ten"), ("ten",)),
        (("--loader", "gdal"), ("gdal", "'odc' or 'stackstac'")),
        (("--steps", "ingest,enocde"), ("enocde", "did you mean encode")),
        (("--steps", "ingest,describe"), ("describe", "available: osm, ingest")),
        (("--store", "gs://bucket/prefix"), ("gs://bucket/prefix", "s3://bucket/prefix")),
        (("--colections", "x"), ("--colections", "--collections")),
    ],
    ids=lambda value: " ".join(value) if value[0].startswith("--") else "-",
)
def test_a_malformed_request(world, quick_bare, store, words, named):
    _assert_refused(quick_bare.run(*world.mapping(store, *words)), *named)
    _assert_untouched(store)


# ``plan`` searches as ``map`` does, without the seconds that Prefect and Dask take to start.
@pytest.mark.parametrize(
    ("command", "words", "named"),
    [
        ("plan", ("--source", "earth-serach"), ("earth-serach", "did you mean 'earth-search'")),
        ("plan", ("--source", "./nowhere"), ("./nowhere", "does not exist")),
        ("map", ("--collections", "sample-optcal"), ("sample-optcal", "sample-optical")),
        ("map", ("--collections", _OPTICAL, "--bands", "rde"), ("rde", "red")),
        ("plan", ("--collections", "sample-radar", "--mask", "clouds"), ("sample-radar", "--mask none")),
    ],
    ids=["preset", "path", "collection", "band", "mask"],
)
def test_what_the_source_has_not(world, quick_terraloom, store, command, words, named):
    _assert_refused(quick_terraloom.run(command, *world.words(store, *words)), *named)
    _assert_untouched(store)


def test_an_unreachable_catalogue(world, quick_terraloom, store):
    url = f"http://127.0.0.1:{free_port()}"
    _assert_refused(quick_terraloom.run("map", *world.at(url).words(store)), url)
    _assert_untouched(store)


def test_an_unreachable_scheduler(world, terraloom, store):
    address = f"tcp://127.0.0.1:{free_port()}"
    ended = terraloom.using(TERRALOOM_DASK__ADDRESS=address).run(*world.mapping(store))
    _assert_refused(ended, address, "dask.address")
    _assert_untouched(store)


@pytest.mark.parametrize(
    ("command", "href"),
    [("map", "http://169.254.169.254/latest/meta-data/x.tif"), ("plan", "../../../../etc/passwd")],
    ids=["metadata service", "climbing path"],
)
def test_an_asset_outside_the_policy(world, quick_terraloom, tmp_path, store, command, href):
    spoilt = copy_world(world, tmp_path / "world")
    change_item(item_files(spoilt)[0], lambda item: item["assets"]["red"].update(href=href))
    _assert_refused(quick_terraloom.run(command, *spoilt.words(store)), href)
    _assert_untouched(store)


@pytest.mark.parametrize(("command", "field"), [("map", "id"), ("plan", "collection")])
def test_an_id_that_climbs(world, quick_terraloom, tmp_path, store, command, field):
    spoilt = copy_world(world, tmp_path / "world")
    change_item(item_files(spoilt)[0], lambda item: item.update({field: "../../evil"}))
    _assert_refused(quick_terraloom.run(command, *spoilt.words(store)), "../../evil")
    _assert_untouched(store)


def test_a_truncated_cog(world, quick_terraloom, tmp_path, store):
    spoilt = copy_world(world, tmp_path / "world")
    victim = item_files(spoilt)[0].parent / "red.tif"
    cut_file(victim)
    ended = quick_terraloom.run(*spoilt.mapping(store))
    _assert_refused(ended, str(victim), "cut short", "--broken-assets quarantine")
    _assert_untouched(store)


def test_a_missing_file(world, quick_terraloom, tmp_path, store):
    spoilt = copy_world(world, tmp_path / "world")
    victim = item_files(spoilt)[0].parent / "red.tif"
    victim.unlink()
    _assert_refused(quick_terraloom.run(*spoilt.mapping(store)), str(victim), "absent")
    _assert_untouched(store)


def test_a_store_that_is_a_file(world, quick_terraloom, store):
    store.write_text("mine")
    ended = quick_terraloom.run(*world.mapping(store))
    _assert_refused(ended, str(store), "--store")
    assert store.read_text() == "mine"


# One is started afresh, in case settings are read while modules are imported.
@pytest.mark.parametrize("command", ["map", "items", "gc", "serve", "doctor"])
def test_a_typo_in_a_variable(world, bare_terraloom, quick_bare, store, command):
    words = world.words(store) if command == "map" else ("--store", store)
    mistyped = (bare_terraloom if command == "map" else quick_bare).using(TERRALOOM_DASK__WORKRES="2")
    ended = mistyped.run(command, *words)
    if command == "doctor":
        assert ended.code == 1
        assert "TERRALOOM_DASK__WORKRES" in ended.out
        return
    _assert_refused(ended, "TERRALOOM_DASK__WORKRES", "did you mean dask.workers?")
    _assert_untouched(store)


def test_a_typo_in_the_settings_file(world, quick_bare, tmp_path, store):
    (tmp_path / "terraloom.toml").write_text("[dask]\nworkres = 2\n")
    there = replace(quick_bare, folder=tmp_path)
    _assert_refused(there.run(*world.mapping(store)), "terraloom.toml", "did you mean dask.workers?")
    broken = tmp_path / "broken.toml"
    broken.write_text("dask = [")
    ended = quick_bare.using(TERRALOOM_CONFIG=str(broken)).run(*world.mapping(store))
    _assert_refused(ended, str(broken), "TOML")
    _assert_untouched(store)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mount file systems of a few MB in memory."""
    if os.geteuid() != 0:
        pytest.skip("not root: a small tmpfs cannot be mounted")
    mounted: list[Path] = []

    def mount(size_kb: int) -> Path:
        folder = tmp_path / f"disk-{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_kb}k", "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small tmpfs cannot be mounted: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_disk_too_small_for_the_plan(world, quick_terraloom, small_disk):
    disk = small_disk(1024)
    ended = quick_terraloom.run(*world.mapping(disk / "store"))
    _assert_refused(ended, "no space left", str(disk / "store"), "--store")
    _assert_untouched(disk / "store")


def test_a_disk_that_fills_while_writing(world, quick_terraloom, small_disk):
    # Larger than the plan's estimate for one band, smaller than its pictures: it fills on the way.
    disk = small_disk(900)
    request = world.only(_OPTICAL)
    ended = quick_terraloom.run(*request.mapping(disk / "store", "--bands", "red"))
    _assert_refused(ended, "no space left", "--store")
    left = [path for path in (disk / "store").glob("scenes/*") if not (path / "receipt.json").exists()]
    assert not left, "half-written products"
    assert not list((disk / "store").rglob("*.part"))


@pytest.fixture(scope="module")
def spoilt_world(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A world of whose four optical days one cannot be decoded and one is blank."""
    spoilt = copy_world(world, tmp_path_factory.mktemp("spoilt") / "world").only(_OPTICAL)
    days: dict[str, list[Path]] = {}
    for path in item_files(spoilt):
        if path.parent.parent.name == _OPTICAL:
            days.setdefault(json.loads(path.read_text())["properties"]["datetime"][:10], []).append(path)
    first, second, *_ = sorted(days)
    for item in days[first]:
        spoil_middle(item.parent / "green.tif")
    for item in days[second]:
        _make_blank(item.parent / "green.tif")
    return spoilt


def test_bad_scenes_are_quarantined_among_good_ones(spoilt_world, quick_terraloom, store):
    ended = quick_terraloom.run(*spoilt_world.mapping(store), "--json")
    told = ended.told
    assert ended.code == 3
    assert (told["planned"], told["written"], told["quarantined"], told["catalogued"]) == (4, 2, 2, 2)
    reasons = [entry["reason"] for entry in sorted(told["quarantine"], key=lambda entry: entry["id"])]
    assert "green.tif" in reasons[0]
    assert "blank" in reasons[1]
    bad = {entry["id"] for entry in told["quarantine"]}
    assert not bad & set(told["item_ids"])
    assert not bad & set(read_items(store))
    assert not bad & {path.name for path in store.glob("scenes/*")}
    tolerant = quick_terraloom.run(*spoilt_world.mapping(store, "--max-quarantined", "1"), "--json")
    assert tolerant.code == 0
    assert (tolerant.told["reused"], tolerant.told["quarantined"]) == (2, 2)


def test_broken_files_go_to_quarantine_when_asked(world, quick_terraloom, tmp_path, store):
    spoilt = copy_world(world, tmp_path / "world")
    cut_file(item_files(spoilt)[0].parent / "red.tif")
    ended = quick_terraloom.run(*spoilt.mapping(store, "--broken-assets", "quarantine"), "--json")
    assert ended.code == 3
    assert (ended.told["planned"], ended.told["quarantined"], ended.told["catalogued"]) == (6, 1, 5)
    assert "cut short" in ended.told["quarantine"][0]["reason"]


def _make_blank(path: Path) -> None:
    import rasterio

    with rasterio.open(path) as file:
        pixels, profile = file.read() * 0, file.profile
    path.unlink()
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)
