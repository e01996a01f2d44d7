"""Publish models the way users do, and find them again behind what they made."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from prefect.logging.handlers import APILogWorker

from catalog.client import EmbeddedClient
from catalog.items.collections import collection_document
from catalog.items.scene import scene_item
from catalog.receipts import read_receipt
from catalog.records import CUBE_RECEIPT
from flows.cli import run
from infra.digests import sha256_of_file
from infra.storage import LocalStorage
from models.shipped import find_shipped
from tests.support.registration import ground, other_sensor
from tests.support.schemas import validate_item
from tests.support.snapshots import read_items, store_tree
from tests.support.synthetic import (
    build_cube,
    make_band,
    make_geobox,
    make_grid,
    make_scene,
    plan_one,
    write_image,
)

NAME = "mapglue-tiny"
EDGE = 160


@pytest.fixture(scope="module")
def told_by(prefect_url: str, tmp_path_factory) -> Iterator[Callable[..., Any]]:
    """Run a command in this process; returns the JSON that it prints."""
    patch = pytest.MonkeyPatch()
    patch.setenv("TERRALOOM_PREFECT_API_URL", prefect_url)
    patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))

    def told(*words: object) -> Any:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert run([*map(str, words), "--json"]) == 0
        (line,) = said.getvalue().splitlines()
        return json.loads(line)

    yield told
    APILogWorker.drain_all(timeout=5)  # what Prefect still holds back would miss the server it goes to
    patch.undo()


@pytest.fixture(scope="module")
def published(told_by, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A store that holds the models of the package, and what the command told."""
    store = tmp_path_factory.mktemp("published") / "store"
    return store, told_by("models", "publish", "--store", store)


def test_the_models_of_the_package_are_published(published):
    store, told = published
    digest = sha256_of_file(find_shipped(NAME).weights)
    item = read_items(store)[f"{NAME}-{digest[:12]}"]
    assert item["id"] in told["item_ids"]
    copied = Path(item["assets"]["weights"]["href"])
    assert copied.is_relative_to(store)
    assert sha256_of_file(copied) == digest
    assert item["properties"]["mlm:name"] == NAME
    summary = json.loads((store / "runs" / told["run"] / "summary.json").read_text())
    assert summary == told


def test_asked_for_again_nothing_changes(published, told_by):
    store, told = published
    files, items = store_tree(store), read_items(store)
    again = told_by("models", "--store", store, "publish", NAME)
    assert again["item_ids"] == told["item_ids"]
    assert (store_tree(store), read_items(store)) == (files, items)


def test_the_list_tells_what_there_is_and_where(published, told_by, tmp_path, capsys):
    store, told = published
    rows = {row["name"]: row for row in told_by("models", "--store", store)}
    assert rows[NAME]["item"] in told["item_ids"]
    assert (rows[NAME]["origin"], rows[NAME]["in_store"]) == ("shipped", True)
    assert rows[NAME]["sha256"] == sha256_of_file(find_shipped(NAME).weights)
    elsewhere = {row["name"]: row for row in told_by("models", "--store", tmp_path / "none")}
    assert elsewhere[NAME] == rows[NAME] | {"in_store": False}
    assert not (tmp_path / "none").exists()
    assert run(["models", "--store", str(store)]) == 0
    assert NAME in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nosuch",), "No weights come with 'nosuch'"),
        (("--result", "."), "holds no weights.safetensors"),
        ((NAME, "--result", "."), "publish one, then the other"),
    ],
)
def test_wrong_requests_are_one_line(told_by, tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    assert run(["models", "publish", *words, "--store", str(tmp_path / "store")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list((tmp_path / "store").glob("models/*"))


def _publish_pair(store: Path, folder: Path) -> tuple[str, str]:
    """Publish two cubes of the same fields, a few pixels apart, as two sensors show them."""
    storage, box = LocalStorage(store), make_geobox((EDGE, EDGE))
    fields = ground(3, (EDGE + 20, EDGE + 20))
    moved = cv2.warpAffine(fields, np.array([[1, 0, -7.0], [0, 1, -4.0]]), (EDGE, EDGE))
    items = []
    for name, picture in (("fixed", fields[:EDGE, :EDGE]), ("moving", other_sensor(moved, 5))):
        stored = np.rint(1000 + 8000 * np.clip(picture, 0, 3) / 3).astype(np.uint16)
        path = write_image(folder / f"{name}.tif", box, stored)
        scene = make_scene(name, box, [make_band("red", path, scale=1e-4, common_name="red")])
        plan = plan_one([scene], make_grid(box, shard_px=256, chunk_px=128))
        build_cube(storage, plan)
        receipt = read_receipt(storage, plan.path, CUBE_RECEIPT)
        assert receipt is not None
        items.append(scene_item(plan, receipt, root_href=storage.uri))
    with EmbeddedClient(store / "catalogue.sqlite") as client:
        client.upsert_collection(collection_document("scenes"))
        client.upsert_items(items)
    return items[0]["id"], items[1]["id"]


def test_a_registration_leads_to_the_model_that_matched(told_by, tmp_path):
    store = tmp_path / "store"
    fixed, moving = _publish_pair(store, tmp_path)
    words = ("--store", store, "--fixed", fixed, "--moving", moving, "--matcher", NAME)
    told = told_by("register", *words)
    (pair,) = told["registrations"]
    assert told["item_ids"] == [pair["id"]]
    items = read_items(store)
    digest = sha256_of_file(find_shipped(NAME).weights)
    model = items[f"{NAME}-{digest[:12]}"]
    assert (model["collection"], Path(model["assets"]["weights"]["href"]).is_file()) == ("models", True)
    item = items[pair["id"]]
    sources = [link["href"] for link in item["links"] if link["rel"] == "derived_from"]
    assert f"../../models/items/{model['id']}" in sources
    assert len(sources) == 3
    validate_item(item, extensions=False)
    assert item["properties"]["processing:expression"]["expression"].endswith(model["id"])
    protocol = json.loads(Path(item["assets"]["transform"]["href"]).read_text())
    assert (protocol["weights_sha256"], protocol["model_item"]) == (digest, model["id"])
