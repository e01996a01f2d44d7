"""Register published scenes the way users do: radar to optical, imagery to the drawn map, and bad input."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import geopandas
import httpx
import numpy as np
import pystac_client
import pytest
from affine import Affine

from catalog.chips.sources import open_source
from tests.support.processes import CommandLine, Ended
from tests.support.schemas import validate_collection, validate_item
from tests.support.snapshots import comparable_items, copy_store, read_items, store_tree
from tests.support.worlds import World

WORDS = ("--matcher", "template", "--json")


@pytest.fixture(scope="module")
def mapped(undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the sample world's cubes that may be written to."""
    return copy_store(undisturbed.store, tmp_path_factory.mktemp("register") / "store")


def _find(store: Path, words: str) -> str:
    return next(item for item in sorted(read_items(store)) if words in item and "registered" not in item)


@pytest.fixture(scope="module")
def registered(warm_terraloom: CommandLine, mapped: Path) -> dict[str, Any]:
    """What the command told of the second radar pass."""
    fixed, moving = _find(mapped, "optical-20250918"), _find(mapped, "radar-20250917")
    ended = warm_terraloom.run("register", "--store", mapped, "--fixed", fixed, "--moving", moving, *WORDS)
    assert ended.code == 0, ended.err
    return ended.told


def _truth(world: World, day: str) -> tuple[np.ndarray, Affine]:
    """Return the radar's affine, shown from true pixel corner, and its geotransform."""
    (path,) = world.folder.glob(f"sample-radar/*{day}/*.json")
    item = json.loads(path.read_text())
    shown = np.reshape(item["properties"]["terraloom:true_affine_px"], (2, 3))
    return shown, Affine(*item["assets"]["vv"]["proj:transform"][:6])


def test_the_deliberate_offset_is_found(registered, mapped, world):
    (pair,) = registered["registrations"]
    assert pair["registered"], pair
    item = read_items(mapped)[pair["id"]]
    told = json.loads(Path(item["assets"]["transform"]["href"]).read_text())
    shown, place = _truth(world, "20250917")
    ground = np.stack(np.meshgrid(np.arange(10, 250, 20), np.arange(10, 250, 20)), axis=-1).reshape(-1, 2)
    seen = np.array([place @ (x, y) for x, y in ground @ shown[:, :2].T + shown[:, 2]])
    put = np.column_stack([seen, np.ones(len(seen))]) @ np.reshape(told["correction"], (3, 3)).T
    true = np.array([place @ (x, y) for x, y in ground])
    error_px = np.sqrt(((put[:, :2] - true) ** 2).sum(axis=1).mean()) / place.a
    before_px = np.sqrt(((seen - true) ** 2).sum(axis=1).mean()) / place.a
    assert before_px > 2
    assert error_px < 0.5


def test_the_item_is_valid_and_found_by_its_figures(registered, mapped, bare_terraloom):
    (pair,) = registered["registrations"]
    validate_item(read_items(mapped)[pair["id"]])
    with bare_terraloom.serving(mapped) as url:
        client = pystac_client.Client.open(url)
        validate_collection(client.get_collection("registrations").to_dict())
        found = client.search(
            collections=["registrations"],
            filter="registration:registered = true AND registration:rmse_px < 1.2",
            filter_lang="cql2-text",
        )
        (item,) = found.items()
        assert item.id == pair["id"]
        sources = {link.get_absolute_href().rpartition("/")[2] for link in item.get_links("derived_from")}
        assert sources == {pair["fixed"], pair["moving"]}
        table = geopandas.read_parquet(io.BytesIO(httpx.get(item.assets["tie_points"].href).content))
    assert table["agrees"].sum() == pair["figures"]["inliers"]


def test_the_registered_pair_gives_chips_to_learn_from(registered, mapped, warm_terraloom, tmp_path):
    (pair,) = registered["registrations"]
    words = ("chips", "cubes", "--store", mapped, "--size-px", "96", "--json", "--out", tmp_path / "chips")
    told = warm_terraloom.run(*words, "--registration", pair["id"]).told
    (path,) = (tmp_path / "chips").iterdir()
    assert told["sources"][0]["file"] == str(path)
    reader, said = open_source(path)
    assert len(reader) == told["sources"][0]["chips"] > 0
    assert pair["id"] in said.facts
    assert reader.sar.grid.transform == tuple(
        json.loads((mapped / "registrations" / pair["id"] / "transform.json").read_text())[
            "corrected_transform"
        ]
    )
    for name, message in (("nothing", "no registration 'nothing'"), (pair["moving"], "no registration")):
        ended = warm_terraloom.run(*words, "--registration", name)
        assert ended.code == 2
        assert message in ended.err


def test_a_second_run_writes_nothing(registered, mapped, warm_terraloom):
    (pair,) = registered["registrations"]
    before, items = store_tree(mapped), comparable_items(mapped)
    words = ("--store", mapped, "--fixed", pair["fixed"], "--moving", pair["moving"])
    told = warm_terraloom.run("register", *words, *WORDS).told
    assert (told["written"], told["reused"]) == (0, 1)
    assert told["registrations"] == registered["registrations"]
    assert store_tree(mapped) == before
    assert comparable_items(mapped) == items


def test_the_report_shows_the_verdict(registered):
    page = Path(registered["report"]).read_text()
    assert "1 of 1 registration catalogued" in page
    assert "tie points agree within" in page
    assert "<dd>2 <small>scenes</small></dd>" in page
    assert "<small>nothing</small>" not in page, "what the run wrote is counted"
    assert "data:image/" in page


def test_map_registers_what_it_ingests(quick_terraloom, world, store):
    (extract,) = world.folder.glob("*.osm*")
    told = quick_terraloom.run("map", *world.words(store, "--osm", extract, "--register-to-map", *WORDS)).told
    pairs = told["registrations"]
    items = read_items(store)
    radar = [pair for pair in pairs if "radar" in pair["moving"]]
    drawn = [pair for pair in pairs if pair["fixed"].startswith("osm-")]
    assert len(radar) == 2
    assert len(drawn) == 4
    assert all(items[pair["fixed"]]["collection"] == "scenes" for pair in radar)
    clear = [pair for pair in drawn if "20250918" in pair["moving"]]
    assert clear[0]["registered"], clear
    assert clear[0]["figures"]["shift_px"] < 0.6  # the map was drawn where the ground is
    assert told["planned"] == told["catalogued"] == len(items)
    assert told["unpaired"] is None
    (cubes,) = [part for part in told["parts"] if part["product"] == "cube"]
    assert told["report"] == cubes["report"]
    assert "radar to optical cubes, after this run" in Path(cubes["report"]).read_text()


def _assert_refused(ended: Ended, *named: str) -> None:
    assert ended.code == 2, ended
    assert len(ended.lines) == 1, ended.err
    for word in named:
        assert word in ended.lines[0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--fixed", "nowhere", "--moving", "neither"), ("nowhere", "terraloom items")),
        (("--fixed", "x", "--moving", "y", "--matcher", "magic"), ("magic", "phase")),
        (("--fixed", "x"), ("--moving",)),
    ],
)
def test_a_malformed_request(warm_terraloom, mapped, words, named):
    _assert_refused(warm_terraloom.run("register", "--store", mapped, *words), *named)


def test_a_scene_and_itself(warm_terraloom, mapped):
    one = _find(mapped, "optical-20250918")
    _assert_refused(
        warm_terraloom.run("register", "--store", mapped, "--fixed", one, "--moving", one), one, "itself"
    )


def test_steps_that_lack_something(quick_bare, world, store):
    _assert_refused(quick_bare.run("map", *world.words(store, "--steps", "register")), "ingest,register")
    _assert_refused(quick_bare.run("map", *world.words(store, "--register-to-map")), "--osm")
