"""Processes that train together do what one does; one that is killed leaves what can be gone on with."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.training.history import losses_of, read_history
from models.training.jobs import TrainingJob, run_job
from models.training.loop import result_tensors, train
from models.training.steps import Team
from tests.support.line_model import DropFreeLineModel, often_kept_line_model
from tests.support.processes import wait_until

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[2]


def _job(folder, processes):
    config = dataclasses.replace(
        DropFreeLineModel().defaults, steps=24, batches_per_step=2, evaluate_every=12, log_every=6
    )
    return TrainingJob(
        entry="tests.support.line_model:steady_line_model",
        config=config,
        folder=folder,
        device="cpu",
        processes=processes,
    )


def test_two_processes_train_as_one_does(tmp_path):
    """Same batches a step, so the same gradients but for rounding; every event is told."""
    told = []
    alone = run_job(_job(tmp_path / "one", 1))
    team = run_job(_job(tmp_path / "two", 2), told.append)
    assert (alone.processes, team.processes) == (1, 2)
    one, two = (losses_of(read_history(tmp_path / name)) for name in ("one", "two"))
    assert list(two) == list(range(1, 25))
    assert list(two.values()) == pytest.approx(list(one.values()), rel=1e-4)
    assert two[1] == pytest.approx(one[1], rel=1e-6)
    ours, theirs = result_tensors(tmp_path / "one"), result_tensors(tmp_path / "two")
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-4)
    assert [event.step for event in told if event.kind == "step"] == list(range(1, 25))
    assert team.figures["error"] == pytest.approx(alone.figures["error"], rel=1e-2)


def test_killed_in_the_middle_it_ends_as_if_nothing_had_been(tmp_path):
    """A real process, killed as the system does it, somewhere after its first checkpoint."""
    program = (
        "import sys; from models.training import __main__, registry\n"
        "registry.TRAINABLES['line'] = 'tests.support.line_model:often_kept_line_model'\n"
        "sys.exit(__main__.main())"
    )
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "line", "--device", "cpu", "--out", str(folder)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
    )
    wait_until(lambda: list(folder.glob("checkpoint-*")), 120, "a checkpoint")
    process.kill()
    process.wait()
    before = losses_of(read_history(folder))
    assert 0 < len(before) < 400
    ends = [
        train(often_kept_line_model(), often_kept_line_model().defaults, place, Team(torch.device("cpu")))
        for place in (folder, tmp_path / "whole")
    ]
    after = losses_of(read_history(folder))
    assert sorted(after) == list(range(1, 401))
    assert after == losses_of(read_history(tmp_path / "whole"))
    assert ends[0].figures == ends[1].figures
    ours, theirs = result_tensors(folder), result_tensors(tmp_path / "whole")
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
