"""Measure downstream tasks from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.cli import run
from flows.commands import downstream
from models.downstream.config import read_config
from models.downstream.learner import DownstreamLearner

CONFIG = """
task = "height"
[pyramid]
name = "fixed"
[decoder]
width = 8
[lessons]
chips = 4
size_px = 32
held_out = 1
[training]
steps = 2
warmup_steps = 0
threads = 1
"""


@pytest.fixture
def config(tmp_path):
    """A training of two steps on four chips."""
    path = tmp_path / "height.toml"
    path.write_text(CONFIG)
    return path


def test_a_task_is_told_beside_the_trivial_answer(config, tmp_path, capsys):
    words = ["evaluate", "downstream", "--task", "height", "--config", str(config), "--device", "cpu"]
    assert run([*words, "--seed", "3", "--json", "--out", str(tmp_path / "out")]) == 0
    (told,) = json.loads(capsys.readouterr().out)["tasks"]
    assert (told["task"], told["seed"], told["steps"], told["chips"]) == ("height", 3, 2, 4)
    assert told["figures"]["rmse_m"] > 0
    assert told["trivial"]["rmse_m"] > 0
    assert told["pyramid"] == "fixed, tuned"
    assert (tmp_path / "out" / "height").is_dir()
    assert run([*words, "--frozen"]) == 0
    shown = capsys.readouterr().out
    assert "rmse_m" in shown
    assert "fixed, frozen" in " ".join(shown.split())


def test_a_task_is_told_on_labelled_images_of_ones_own(tmp_path, capsys, rng):
    for part in ("train", "test"):
        for folder in ("img", "label"):
            (tmp_path / part / folder).mkdir(parents=True)
        classes = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16))).astype(np.uint8)
        Image.fromarray(100 + 90 * classes).save(tmp_path / part / "img" / "a.png")
        Image.fromarray(classes).save(tmp_path / part / "label" / "a.png")
    config = tmp_path / "roads.toml"
    config.write_text(
        CONFIG.replace("height", "roads")
        + '[data]\nkind = "masks"\ntrain = "elsewhere"\ntest = "elsewhere"\nlabels = "../label"\n'
    )
    words = ["evaluate", "downstream", "--task", "roads", "--config", str(config), "--json"]
    named = ["--data", str(tmp_path / "train" / "img"), "--test", str(tmp_path / "test" / "img")]
    assert run([*words, *named]) == 0
    (told,) = json.loads(capsys.readouterr().out)["tasks"]
    assert told["data"] == "img, trained on img"
    assert told["chips"] == 4
    assert told["trivial"]["iou"] > 0
    assert run([*words, *named[:2]]) == 2
    assert "elsewhere" in capsys.readouterr().err


def test_all_tasks_are_told_one_by_one_and_in_one_table(config, monkeypatch, capsys):
    learner = DownstreamLearner(read_config(config))
    roads = Path(config).with_name("roads.toml")
    roads.write_text(CONFIG.replace("height", "roads"))
    both = [learner, DownstreamLearner(read_config(roads))]
    monkeypatch.setattr(downstream, "_find_learners", lambda task, config: both)
    assert run(["evaluate", "downstream", "--task", "all", "--device", "cpu"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for title in ("height: Heights of buildings", "roads: Streets and roads", "All tasks beside the trivial"):
        assert shown.count(title) == 1
    assert shown.index("roads: Streets") < shown.index("All tasks beside")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "road"], "no downstream task"),
        (["--task", "roads", "--config", "{config}"], "'height'"),
        (["--task", "all", "--config", "{config}"], "all"),
        (["--task", "all", "--data", "here"], "all"),
        (["--task", "height", "--config", "none.toml"], "none.toml"),
        (["--task", "roads", "--data", "here"], "to measure on"),
        (["--task", "roads", "--data", "here", "--test", "there"], "no folder here"),
        (["--task", "translation", "--data", "here", "--test", "there"], "drawn places only"),
        (["--task", "height", "--config", "{config}", "--pyramid", "vgg"], "vgg"),
        (["--task", "height", "--config", "{config}", "--weights", "none.safetensors"], "none.safetensors"),
    ],
)
def test_wrong_words_are_one_line(config, words, said, capsys):
    spelt = [word.format(config=config) for word in words]
    assert run(["evaluate", "downstream", *spelt, "--device", "cpu"]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error
