"""Train a model the way users do: by the command, stopped, resumed, asked for twice, asked wrongly."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.logging.handlers import APILogWorker
from safetensors.numpy import load_file

from flows.cli import run
from infra.digests import sha256_of_file
from models.training.history import losses_of, read_history
from models.training.registry import TRAINABLES
from tests.support.schemas import validate_item
from tests.support.snapshots import read_items, store_tree


@pytest.fixture(scope="module")
def told_by(prefect_url: str, tmp_path_factory) -> Iterator[Callable[..., dict[str, Any]]]:
    """Run the command in this process, which also knows a model that trains in a second."""
    patch = pytest.MonkeyPatch()
    patch.setitem(TRAINABLES, "line", "tests.support.line_model:line_model")
    patch.setenv("TERRALOOM_PREFECT_API_URL", prefect_url)
    patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("home")))

    def told(*words: object) -> dict[str, Any]:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert run(["train", "line", *map(str, words), "--json"]) == 0
        (line,) = said.getvalue().splitlines()
        return json.loads(line)

    yield told
    APILogWorker.drain_all(timeout=5)  # what Prefect still holds back would miss the server it goes to
    patch.undo()


@pytest.fixture(scope="module")
def trained(told_by, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A store that holds a trained model, and what the command told."""
    store = tmp_path_factory.mktemp("trained") / "store"
    return store, told_by("--store", store, "--seed", 3)


def test_a_trained_model_stands_with_its_card(trained):
    store, told = trained
    assert told["finished"]
    assert not told["reused"]
    assert (told["steps"], told["model"]) == (40, "line")
    folder = Path(told["result"])
    assert folder.parent == store / "models"
    card = json.loads((folder / "card.json").read_text())
    assert card["training"]["seed"] == 3
    assert card["training"]["device"] == told["device"]
    assert card["figures"] == told["figures"]
    assert len(card["code"]["digest"]) == 64
    weights = load_file(folder / "weights.safetensors")
    assert {value.dtype.name for value in weights.values()} == {"float16"}
    assert card["weights"]["parameters"] == sum(value.size for value in weights.values())
    page = (folder / "MODEL_CARD.md").read_text()
    assert "points drawn from a seed" in page
    assert "| Seed | 3 |" in page
    assert (folder / "curve.svg").read_text().startswith("<svg")
    assert sorted(losses_of(read_history(folder))) == list(range(1, 41))
    receipt = json.loads((folder / "receipt.json").read_text())
    assert {file["path"] for file in receipt["files"]} == {
        path.name for path in folder.iterdir() if path.name != "receipt.json"
    }
    summary = json.loads((store / "runs" / told["run"] / "summary.json").read_text())
    assert summary == told


def test_a_trained_model_is_an_item(trained):
    store, told = trained
    (item,) = read_items(store).values()
    assert (item["id"], item["collection"]) == (told["item"], "models")
    assert told["catalogue"] == str(store / "catalogue.sqlite")
    assert item["properties"]["model:score"] == told["figures"]["score"]
    assert item["properties"]["model:best_step"] == told["best_step"]
    weights = Path(told["result"]) / "weights.safetensors"
    assert told["item"] == f"line-{sha256_of_file(weights)[:12]}"
    assert item["assets"]["weights"]["href"] == str(weights)
    assert item["assets"]["weights"]["file:checksum"] == "1220" + sha256_of_file(weights)
    validate_item(item, extensions=False)


def test_asked_for_again_it_is_there_already(trained, told_by):
    store, told = trained
    before = store_tree(store / "models")
    again = told_by("--store", store, "--seed", 3)
    assert again["reused"]
    assert [again[name] for name in ("result", "figures", "item")] == [
        told[name] for name in ("result", "figures", "item")
    ]
    assert store_tree(store / "models") == before


def test_stopped_halfway_it_goes_on_to_the_same_end(trained, told_by, tmp_path):
    _, told = trained
    half = told_by("--store", tmp_path, "--seed", 3, "--minutes", "1e-9")
    assert not half["finished"]
    assert 0 < half["steps"] < 40
    assert half["training"] == told["training"]
    assert (Path(half["result"]) / "MODEL_CARD.md").exists()
    assert half["item"] is None
    assert not (tmp_path / "models").exists()
    rest = told_by("--store", tmp_path, "--resume", half["training"])
    assert rest["finished"]
    assert losses_of(read_history(Path(rest["result"]))) == losses_of(read_history(Path(told["result"])))
    assert rest["figures"] == told["figures"]
    assert not list((tmp_path / "training" / rest["training"]).glob("*.safetensors"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mapglue-tny",), "did you mean mapglue-tiny?"),
        (("mapglue-tiny", "--steps", "0"), "greater than or equal to 1"),
        (("mapglue-tiny", "--resume", "x", "--seed", "1"), "leave out --seed"),
        (("mapglue-tiny", "--minutes", "soon"), "'soon'"),
    ],
)
def test_wrong_requests_are_one_line(capsys, tmp_path, words, said):
    assert run(["train", *words, "--store", str(tmp_path / "store")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not (tmp_path / "store").exists()


def test_what_cannot_be_resumed_is_named(told_by, trained, capsys):
    store, told = trained
    assert run(["train", "line", "--store", str(store), "--resume", "line-0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "training 'line-0' is not in" in line
    assert told["training"] in line


def test_a_refused_training_leaves_no_run(told_by, tmp_path, capsys):
    assert run(["train", "line", "--store", str(tmp_path), "--processes", "3"]) == 2
    assert "1 batches a step cannot be shared by 3 processes" in capsys.readouterr().err
    assert not list((tmp_path / "runs").iterdir())
