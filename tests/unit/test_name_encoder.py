"""Which model embeddings derive from: always one, where the encoder has weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from catalog.models.plan import plan_model
from catalog.models.product import write_model
from infra.errors import DataError, InputError
from infra.storage import LocalStorage
from tasks.name_encoder import NamedEncoder, name_encoder

WEIGHTS = b"weights, of which only the digest is looked at"
DIGEST = hashlib.sha256(WEIGHTS).hexdigest()
ARRAY = {"description": "-", "axes": ["batch"], "shape": [-1], "dtype": "float32"}
CARD: dict[str, Any] = {
    "name": "mars-tiny-chips", "title": "MaRS", "summary": "-", "data": [], "validation": "-",
    "licence": "other",
    "signature": {
        "architecture": "SwinV2", "tasks": ["representation"],
        "inputs": [{"name": "rgb", **ARRAY}], "outputs": [{"name": "dense", **ARRAY}],
    },
    "weights": {"size": len(WEIGHTS), "sha256": DIGEST, "parameters": 1},
    "training": {
        "steps": 1, "best_step": 1, "minutes": 1.0, "device": "x86_64 CPU", "processes": 1,
        "precision": "float32", "seed": 0, "config": {},
    },
}  # fmt: skip


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """The folder that a training has left."""
    folder = tmp_path / "result"
    folder.mkdir()
    (folder / "weights.safetensors").write_bytes(WEIGHTS)
    (folder / "card.json").write_text(json.dumps(CARD))
    return folder


def name_weights(store: Path, file: Path) -> NamedEncoder:
    return name_encoder(str(store), "mars-tiny", str(file))


def test_an_encoder_without_weights_derives_from_no_model(tmp_path):
    assert name_encoder(str(tmp_path), "filters", None) == NamedEncoder()


def test_weights_of_a_training_are_named_by_their_card(tmp_path, result):
    found = name_weights(tmp_path / "store", result / "weights.safetensors")
    assert found.model == plan_model("mars-tiny-chips", DIGEST), "by the model's name, not by the encoder's"
    assert (found.digest, found.result, found.shipped) == (DIGEST, result, None)
    assert not (tmp_path / "store").exists()


def test_weights_of_a_model_that_stands_need_no_card_beside_them(tmp_path, result):
    bare = tmp_path / "copy.safetensors"
    bare.write_bytes(WEIGHTS)
    with pytest.raises(InputError, match="terraloom models publish --result"):
        name_weights(tmp_path / "store", bare)
    files = {file.name: file.read_bytes() for file in result.iterdir()} | {"MODEL_CARD.md": b"# MaRS"}
    model = plan_model("mars-tiny-chips", DIGEST)
    write_model(LocalStorage(tmp_path / "store"), model, files)
    assert name_weights(tmp_path / "store", bare) == NamedEncoder(digest=DIGEST, model=model)


def test_a_card_of_other_weights_is_refused(tmp_path, result):
    (result / "weights.safetensors").write_bytes(WEIGHTS + b" changed")
    with pytest.raises(DataError, match="give the files of one training"):
        name_weights(tmp_path / "store", result / "weights.safetensors")
