"""Measure downstream tasks from the command line."""

from __future__ import annotations

import json

import pytest

from flows.cli import run

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
    assert "fixed, frozen" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--task", "road"], "no downstream task"),
        (["--task", "roads", "--config", "{config}"], "'height'"),
        (["--task", "all", "--config", "{config}"], "all"),
        (["--task", "height", "--config", "none.toml"], "none.toml"),
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
