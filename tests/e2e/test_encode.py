"""Encode published scenes and find places that look alike, the way users do."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from tests.support.processes import CommandLine
from tests.support.schemas import validate_collection, validate_item
from tests.support.snapshots import copy_store, read_items, store_tree


@pytest.fixture(scope="module")
def mapped(undisturbed, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the sample world's cubes that may be written to."""
    return copy_store(undisturbed.store, tmp_path_factory.mktemp("encode") / "store")


@pytest.fixture(scope="module")
def encoded(quick_terraloom: CommandLine, mapped: Path) -> dict[str, Any]:
    """What the command told of the optical scenes."""
    ended = quick_terraloom.run(
        "encode", "--store", mapped, "--collection", "sample-optical", "--model", "filters", "--json"
    )
    assert ended.code == 0, ended.err
    return ended.told


def test_every_scene_of_the_collection_is_published(encoded, mapped):
    items = read_items(mapped)
    scenes = {name for name in items if name.startswith("sample-optical")}
    assert encoded["catalogued"] == encoded["written"] == len(scenes) >= 3
    assert {items[name]["properties"]["embedding:scenes"][0] for name in encoded["item_ids"]} == scenes
    for name in encoded["item_ids"]:
        validate_item(items[name])
        dataset = xr.open_zarr(items[name]["assets"]["data"]["href"])
        assert dataset["embedding"].shape == (20, *items[name]["properties"]["proj:shape"])
    assert "embeddings" in Path(encoded["report"]).read_text()


def test_a_second_run_does_no_work(encoded, quick_terraloom, mapped):
    before = store_tree(mapped / "embeddings")
    words = [word for name in encoded["item_ids"][:1] for word in ("--item", _scene_of(mapped, name))]
    ended = quick_terraloom.run("encode", "--store", mapped, *words, "--model", "filters", "--json")
    assert (ended.code, ended.told["reused"], ended.told["written"]) == (0, 1, 0)
    assert store_tree(mapped / "embeddings") == before


def test_alike_places_are_told_and_drawn(encoded, bare_terraloom, mapped, tmp_path):
    name = encoded["item_ids"][-1]
    west, south, east, north = read_items(mapped)[name]["bbox"]
    point = f"{west + 0.6 * (east - west)},{south + 0.3 * (north - south)}"
    picture = tmp_path / "alike.png"
    words = ("similar", "--store", mapped, "--item", _scene_of(mapped, name), "--point", point)
    ended = bare_terraloom.run(*words, "--top", "4", "--picture", picture, "--json")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["query"]["item"] == name
    cosines = [place["cosine"] for place in told["places"]]
    assert cosines == sorted(cosines, reverse=True)
    assert len({place["item"] for place in told["places"]} | {name}) > 1, "all scenes are searched"
    assert np.ptp(np.asarray(Image.open(picture))) > 100
    assert told["holds_point"]
    assert "warning" not in ended.err
    alone = bare_terraloom.run(*words, "--only-item")
    assert alone.code == 0, alone.err
    assert "places most alike to" in alone.out


def test_a_picture_that_cannot_be_drawn_ends_the_command_before_it_tells(
    encoded, bare_terraloom, mapped, tmp_path
):
    name = encoded["item_ids"][0]
    west, south, east, north = read_items(mapped)[name]["bbox"]
    scene = _scene_of(mapped, name)
    shutil.copytree(mapped, tmp_path / "store")
    (tmp_path / "store" / "scenes" / scene / "preview.tif").write_bytes(b"no picture")
    words = ("similar", "--store", tmp_path / "store", "--item", name, "--only-item", "--json")
    words += ("--point", f"{(west + east) / 2},{(south + north) / 2}", "--picture", tmp_path / "alike.png")
    ended = bare_terraloom.run(*words)
    assert (ended.code, ended.out) == (2, "")
    assert "cannot be read as a picture" in ended.err
    assert not (tmp_path / "alike.png").exists()


def test_the_catalogue_serves_the_collection(encoded, bare_terraloom, mapped):
    import pystac_client

    with bare_terraloom.serving(mapped) as url:
        client = pystac_client.Client.open(url)
        validate_collection(client.get_collection("embeddings").to_dict())
        found = client.search(
            collections=["embeddings"], filter="embedding:model = 'filters'", filter_lang="cql2-text"
        )
        assert {item.id for item in found.items()} == set(encoded["item_ids"])
        item = next(iter(found.items()))
        derived = [link.href for link in item.links if link.rel == "derived_from"]
        assert derived[0].startswith(url)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("encode", "--model", "filters"), "give --item, or --collection"),
        (("encode", "--item", "x", "--model", "filterz"), "did you mean filters"),
        (("encode", "--item", "nowhere-1", "--model", "filters"), "nowhere-1"),
        (("encode", "--collection", "nothing", "--model", "filters"), "no scene of collection 'nothing'"),
        (("encode", "--collection", "optical", "--model", "filters"), "no scene of collection 'optical'"),
        (("encode", "--item", "x", "--model", "filters", "--device", "tpu"), "auto, cpu, cuda"),
        (("encode", "--item", "x", "--weights", "/nowhere.safetensors"), "no weights file"),
        (("similar", "--item", "zzz", "--point", "1,2"), "'zzz'"),
        (("similar", "--item", "zzz", "--point", "here"), "give lon,lat"),
        (("similar", "--item", "zzz", "--point", "1,2", "--picture", "a.gif"), "name a .png"),
    ],
    ids=lambda value: " ".join(value[:1]) if isinstance(value, tuple) else "-",
)
def test_wrong_requests_are_one_line(encoded, quick_terraloom, mapped, words, named):
    ended = quick_terraloom.run(*words, "--store", mapped)
    assert ended.code == 2, ended.err
    assert named in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def _scene_of(store: Path, name: str) -> str:
    return read_items(store)[name]["properties"]["embedding:scenes"][0]
