"""The commands that plan chips, and the option of a training that names them."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from catalog.chips.files import write_chips
from catalog.chips.records import Chip
from catalog.trained_models import keep_plan
from flows.cli import run
from flows.params import parse_as
from flows.train_model import _named, plan_request
from flows.training_params import TrainParams
from infra.errors import DataError, InputError
from tests.support.chips import ArrayChips, write_patches


def test_patch_folders_are_planned(tmp_path, capsys):
    mars = write_patches(tmp_path / "mars")
    words = ["chips", "patches", str(mars), "--out", str(tmp_path / "chips")]
    assert run([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["sources"]
    assert [one["chips"] for one in told] == [2, 2]
    assert sorted(one["file"] for one in told) == sorted(map(str, (tmp_path / "chips").iterdir()))
    before = {path.name: path.read_bytes() for path in (tmp_path / "chips").iterdir()}
    assert run(words) == 0  # the same again changes nothing
    assert {path.name: path.read_bytes() for path in (tmp_path / "chips").iterdir()} == before
    assert run([*words, "--sar-unit", "dB"]) == 2
    assert "declare it linear or amplitude" in capsys.readouterr().err
    assert run([*words, "--sar-unit", "metres"]) == 2
    assert run(["chips", "patches", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert run(["chips", "worlds", "--size-px", "31", "--out", str(tmp_path / "x")]) == 2
    assert not (tmp_path / "x").exists()


def asked(tmp_path, **values):
    return parse_as(TrainParams, {"model": "mars-tiny-chips", "store": str(tmp_path), **values})


def write_folder(folder, level):
    rng = np.random.default_rng(0)
    rgb = rng.uniform(level, 1, (3, 48, 48)).astype(np.float32)
    chips = (Chip(rgb, rng.normal(-12, 4, (1, 48, 48)).astype(np.float32)),)
    write_chips(folder / "x.safetensors", ArrayChips(chips), source="a test", licence="none")
    return str(folder)


def test_other_chips_make_another_plan(tmp_path, monkeypatch):
    monkeypatch.delenv("TERRALOOM_CHIPS", raising=False)
    folders = [write_folder(tmp_path / name, level) for name, level in (("a", 0.1), ("b", 0.2))]
    plans = []
    for folder in folders:
        with _named({"TERRALOOM_CHIPS": folder}):
            plans.append(plan_request(asked(tmp_path, chips=folder), tmp_path))
        assert "TERRALOOM_CHIPS" not in os.environ
    assert plans[0].id != plans[1].id
    keep_plan(plans[0], tmp_path / plans[0].id)
    with _named({"TERRALOOM_CHIPS": folders[0]}):
        assert plan_request(asked(tmp_path, resume=plans[0].id), tmp_path) == plans[0]
    with (
        _named({"TERRALOOM_CHIPS": folders[1]}),
        pytest.raises(DataError, match="name the chips it learned from"),
    ):
        plan_request(asked(tmp_path, resume=plans[0].id), tmp_path)
    monkeypatch.setenv("TERRALOOM_CHIPS", folders[0])
    with _named({"TERRALOOM_CHIPS": None}):
        assert plan_request(asked(tmp_path), tmp_path) == plans[0]
    with pytest.raises(ZeroDivisionError), _named({"TERRALOOM_CHIPS": folders[1]}):
        _ = 1 / 0
    assert os.environ["TERRALOOM_CHIPS"] == folders[0]


def test_chips_are_for_those_who_learn_from_them(tmp_path):
    with pytest.raises(InputError, match="'mapglue-tiny' takes no --chips"):
        asked(tmp_path, model="mapglue-tiny", chips=str(tmp_path))
