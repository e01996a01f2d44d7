"""Plan chips of published cubes the way users do, and learn from them."""

from __future__ import annotations

import pytest
import torch

from models.mars.chips import find_chips
from models.mars.training import MarsLearner
from models.training.config import TrainingConfig
from models.training.loop import train
from models.training.steps import Team
from tasks.mars_learners import open_source
from tests.support.chips import LESSONS, SMALL
from tests.support.snapshots import read_items


@pytest.fixture(scope="module")
def cubes(undisturbed) -> tuple[str, str]:
    """Ids of an optical and a radar cube of one place."""
    ids = sorted(read_items(undisturbed.store))
    optical, radar = (
        next(name for name in ids if name.startswith(f"sample-{kind}-")) for kind in ("optical", "radar")
    )
    return optical, radar


def test_published_cubes_are_learned_from(quick_terraloom, undisturbed, cubes, tmp_path):
    optical, radar = cubes
    words = ("--optical", optical, "--sar", radar, "--store", undisturbed.store, "--out", tmp_path / "chips")
    ended = quick_terraloom.run("chips", "cubes", *words, "--size-px", "96", "--json")
    assert ended.code == 0, ended.err
    (told,) = ended.told["sources"]
    assert told["chips"] + told["blank"] + told["sparse"] == 9
    (source,) = find_chips(tmp_path / "chips", open_source)
    assert (source.name, source.count) == (f"{optical}+{radar}", told["chips"])
    config = TrainingConfig(steps=2, log_every=1, evaluate_every=0, warmup_steps=1, threads=1)
    learner = MarsLearner(SMALL, LESSONS, (source,))
    assert train(learner, config, tmp_path / "work", Team(torch.device("cpu"))).finished


def test_cubes_that_do_not_fit_are_refused_in_one_line(quick_terraloom, undisturbed, cubes, tmp_path):
    optical, radar = cubes
    words = ("--sar", radar, "--store", undisturbed.store, "--out", tmp_path / "chips")
    for cube, said in ((radar, "no colour image"), ("none", "no cube or drawn map 'none'")):
        ended = quick_terraloom.run("chips", "cubes", "--optical", cube, *words)
        assert ended.code == 2
        assert said in ended.err
    ended = quick_terraloom.run("chips", "cubes", "--optical", optical, *words)
    assert "Chips of 1024 px cannot be cut" in ended.err
    assert not (tmp_path / "chips").exists()
