"""What ``terraloom export`` is asked for: one thing at a time, and a model that others can load."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from flows.cli import run
from models.mapglue.training import mapglue_tiny
from models.training.checkpoints import encode_weights, half_weights, module_tensors


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights as a training leaves them; what they have learnt does not matter here."""
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    tensors = half_weights(module_tensors(mapglue_tiny().build(0)))
    path.write_bytes(encode_weights(tensors, {"name": "mapglue-tiny", "step": 0}))
    return path


def test_a_trained_model_becomes_one_file_that_torch_loads(weights, tmp_path, capsys, rng):
    file = tmp_path / "mapglue.pt"
    assert run(["export", "mapglue", "--weights", str(weights), "--to", str(file)]) == 0
    assert capsys.readouterr().out.strip() == str(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the published call is TorchScript
        call = torch.jit.load(str(file))
    image = torch.from_numpy(rng.integers(0, 255, (96, 128, 3), dtype="uint8"))
    found = call(image, image, torch.tensor(128))
    assert found.ndim == 2
    assert found.shape[1] == 4
    assert found.isfinite().all()
    for none in (0, -1):
        assert call(image, image, torch.tensor(none)).shape == (0, 4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("mapglue",), "give --to FILE.pt"),
        (("mapglue", "--to", "x.pt", "--cog", "out"), "no --cog"),
        (("scene-1",), "give --cog FOLDER"),
        (("scene-1", "--cog", "out", "--to", "x.pt"), "no --to or --weights"),
        (("mapglue-tiny", "--to", "nowhere/x.pt"), "nowhere is no folder"),
        (("mapglue", "--weights", "nowhere.safetensors", "--to", "x.pt"), "nowhere.safetensors do not exist"),
        (("mapglue-huge", "--to", "x.pt"), "mapglue-huge"),
        (("mapglue", "--to", "."), ". is a folder"),
    ],
)
def test_wrong_requests_are_one_line_and_write_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["export", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_whole_leaves_the_one_before(tmp_path, monkeypatch):
    file = tmp_path / "mapglue.pt"
    file.write_bytes(b"before")

    def stop(_call: object, path: str) -> None:
        Path(path).write_bytes(b"half")
        raise RuntimeError("no room")

    monkeypatch.setattr(torch.jit, "save", stop)
    with pytest.raises(RuntimeError, match="no room"):
        run(["export", "mapglue", "--to", str(file)])
    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
