"""Batches are shared among processes and moved whole; what goes wrong in one process is said as it is."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, record

from infra.errors import DataError, InputError, InternalError
from models.training.batches import batch_rows, move_batch
from models.training.config import TrainingConfig
from models.training.jobs import TrainingJob, run_job, share_of, translate_failure
from tests.support.line_model import DropFreeLineModel, LineBatch

MODEL = DropFreeLineModel()
CONFIG = dataclasses.replace(MODEL.defaults, steps=24, batches_per_step=2, evaluate_every=12)


def _job(folder, processes, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return TrainingJob(
        entry="tests.support.line_model:steady_line_model",
        config=config,
        folder=folder,
        device="cpu",
        processes=processes,
    )


def _fail_in_a_process(error, file, monkeypatch):
    """What torch's launcher raises after a process of its own has ended by an error."""
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))

    def work():
        raise error

    with pytest.raises(type(error)):
        record(work)()
    return ChildFailedError(
        "work", {0: ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file=str(file))}
    )


def test_an_error_of_one_process_is_the_error_of_the_whole(tmp_path, monkeypatch):
    failed = _fail_in_a_process(DataError("loss of step 12 is nan"), tmp_path / "error.json", monkeypatch)
    told = translate_failure(failed)
    assert (type(told), told.message) == (DataError, "loss of step 12 is nan")


def test_a_bug_or_a_killed_process_is_said(tmp_path, monkeypatch):
    bug = translate_failure(_fail_in_a_process(KeyError("weights"), tmp_path / "error.json", monkeypatch))
    assert isinstance(bug, InternalError)
    assert "KeyError: 'weights'" in bug.message
    dead = ProcessFailure(local_rank=1, pid=1, exitcode=-9, error_file=str(tmp_path / "none.json"))
    assert "SIGKILL" in translate_failure(ChildFailedError("work", {1: dead})).message


def test_batches_are_shared_once_each():
    for size in (1, 2, 3, 6):
        shares = [batch_rows(4, batches_per_step=6, rank=rank, size=size) for rank in range(size)]
        assert sorted(row for share in shares for row in share) == list(range(24, 30))
        assert {len(share) for share in shares} == {6 // size}


def test_processes_that_cannot_share_a_step_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"2 batches a step.*3 processes.*--batches-per-step"):
        run_job(_job(tmp_path, 3))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("processes", [0, -2])
def test_no_process_cannot_train(tmp_path, processes):
    with pytest.raises(InputError, match="1 or more"):
        run_job(_job(tmp_path, processes))


def test_one_process_where_there_is_no_gpu():
    assert share_of(None, "cpu", TrainingConfig(batches_per_step=4)) == 1
    assert share_of(3, "cpu", TrainingConfig()) == 3


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "meta", "cpu:1"])
def test_unknown_devices_are_refused(tmp_path, device):
    with pytest.raises(InputError, match="give"):
        run_job(dataclasses.replace(_job(tmp_path, 1), device=device))


def test_batches_move_whole():
    batch = {
        "line": LineBatch(torch.zeros(2), torch.ones(2)),
        "names": ["a", 1],
        "pair": (torch.ones(1), None),
    }
    moved = move_batch(batch, torch.device("meta"))
    assert moved["line"].x.is_meta
    assert moved["line"].y.is_meta
    assert moved["pair"][0].is_meta
    assert moved["names"] == ["a", 1]
    assert moved["pair"][1] is None
