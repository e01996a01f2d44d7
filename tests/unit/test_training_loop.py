"""Training: the same curve to the bit however often it is stopped, and clear words when it comes apart."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from infra.errors import ConfigError, DataError, InputError, NotFoundError
from models.training.checkpoints import (
    BEST_NAME,
    half_weights,
    list_checkpoints,
    read_checkpoint,
    read_newest,
    trained_name,
)
from models.training.history import HISTORY_NAME, losses_of, read_history
from models.training.loop import result_tensors, train
from models.training.steps import Team
from tests.support.line_model import LineModel

ALONE = Team(torch.device("cpu"))
MODEL = LineModel()


class Killed(Exception):
    """Stands for a process that ends between two events."""


def _killed_at(step):
    def progress(event):
        if event.kind == "step" and event.step == step:
            raise Killed

    return progress


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, train(MODEL, MODEL.defaults, folder, ALONE)


def test_learns(whole):
    folder, outcome = whole
    losses = losses_of(read_history(folder))
    assert sorted(losses) == list(range(1, 41))
    assert losses[40] < 0.6 * losses[1]
    assert outcome.finished
    assert outcome.steps == 40
    assert outcome.figures["error"] == pytest.approx(-outcome.figures["score"])


def test_stopped_and_resumed_goes_through_the_same_losses(whole, tmp_path):
    folder, outcome = whole
    half = train(MODEL, MODEL.defaults, tmp_path, ALONE, minutes=0)
    assert not half.finished
    assert 0 < half.steps < 40
    rest = train(MODEL, MODEL.defaults, tmp_path, ALONE)
    assert losses_of(read_history(tmp_path)) == losses_of(read_history(folder))
    assert rest.figures == outcome.figures
    ours, theirs = (read_newest(place) for place in (tmp_path, folder))
    assert ours[0].keys() == theirs[0].keys()
    assert all(torch.equal(value, theirs[0][name]) for name, value in ours[0].items())


def test_killed_between_checkpoints_does_the_lost_steps_again(whole, tmp_path):
    often = dataclasses.replace(MODEL.defaults, checkpoint_minutes=0, log_every=7)
    with pytest.raises(Killed):
        train(MODEL, often, tmp_path, ALONE, progress=_killed_at(25))
    assert read_newest(tmp_path)[1].step == 21
    outcome = train(MODEL, often, tmp_path, ALONE)
    assert losses_of(read_history(tmp_path)) == losses_of(read_history(whole[0]))
    assert outcome.figures == whole[1].figures


def test_other_seeds_give_other_curves(whole, tmp_path):
    other = dataclasses.replace(MODEL.defaults, seed=1)
    train(MODEL, other, tmp_path, ALONE)
    assert losses_of(read_history(tmp_path)) != losses_of(read_history(whole[0]))


def test_batches_made_ahead_give_the_same_curve(whole, tmp_path):
    ahead = dataclasses.replace(MODEL.defaults, workers=1)
    train(MODEL, ahead, tmp_path, ALONE)
    assert losses_of(read_history(tmp_path)) == losses_of(read_history(whole[0]))


def test_two_batches_a_step_are_one_of_double_size(tmp_path):
    """The gradient of a step is the mean over its batches: two of the same are one."""

    class Doubled(LineModel):
        def batch(self, seed, step, device):
            return super().batch(seed, step // 2, device)

        def build(self, seed):
            return torch.nn.Sequential(*list(super().build(seed))[:2], torch.nn.Linear(16, 1))

    class Single(Doubled):
        def batch(self, seed, step, device):
            return LineModel.batch(self, seed, step, device)

    one = dataclasses.replace(MODEL.defaults, steps=10)
    train(Single(), one, tmp_path / "one", ALONE)
    train(Doubled(), dataclasses.replace(one, batches_per_step=2), tmp_path / "two", ALONE)
    first, second = (losses_of(read_history(tmp_path / name)) for name in ("one", "two"))
    assert list(second.values()) == pytest.approx(list(first.values()), rel=1e-5)


def test_keeps_two_checkpoints_and_the_best(whole, tmp_path):
    often = dataclasses.replace(MODEL.defaults, checkpoint_minutes=0)
    train(MODEL, often, tmp_path, ALONE)
    assert [read_checkpoint(path)[1].step for path in list_checkpoints(tmp_path)] == [40, 30]
    scores = {
        event.step: event.values["score"] for event in read_history(tmp_path) if event.kind == "evaluation"
    }
    assert sorted(scores) == [10, 20, 30, 40]
    best = read_checkpoint(tmp_path / BEST_NAME)[1]
    assert best.best_step == max(scores, key=scores.get)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


def test_result_is_the_best_step_not_the_last(tmp_path):
    class Worsening(LineModel):
        def evaluate(self, module, device):
            weight = float(next(iter(module.parameters())).detach().abs().sum())
            self.seen = [*getattr(self, "seen", []), weight]
            return {"score": -float(len(self.seen))}

    outcome = train(Worsening(), MODEL.defaults, tmp_path, ALONE)
    assert outcome.best_step == 10
    assert not torch.equal(
        result_tensors(tmp_path)["parameter.0.weight"], read_newest(tmp_path)[0]["parameter.0.weight"]
    )


def test_a_score_that_is_no_number_is_never_the_best(tmp_path):
    class Unsure(LineModel):
        def evaluate(self, module, device):
            self.seen = getattr(self, "seen", 0) + 1
            return {"score": float("nan") if self.seen in (1, 3) else float(self.seen == 2)}

    assert train(Unsure(), MODEL.defaults, tmp_path, ALONE).best_step == 20


def test_a_broken_newest_checkpoint_falls_back_to_the_one_before(whole, tmp_path, caplog):
    often = dataclasses.replace(MODEL.defaults, checkpoint_minutes=0)
    train(MODEL, often, tmp_path, ALONE)
    newest = list_checkpoints(tmp_path)[0]
    newest.write_bytes(newest.read_bytes()[:500])
    assert read_newest(tmp_path)[1].step == 30
    assert "not a readable checkpoint" in caplog.text
    train(MODEL, often, tmp_path, ALONE)
    assert losses_of(read_history(tmp_path)) == losses_of(read_history(whole[0]))


def test_nothing_readable_is_said(tmp_path):
    with pytest.raises(NotFoundError, match="holds no checkpoint"):
        result_tensors(tmp_path)
    (tmp_path / "checkpoint-000000001.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(DataError, match="delete it and resume"):
        read_newest(tmp_path)


def test_a_loss_that_is_no_number_ends_the_training_with_its_step(tmp_path):
    often = dataclasses.replace(MODEL.defaults, checkpoint_minutes=0)
    with pytest.raises(DataError, match=r"loss of step 24 is nan.*--learning-rate") as caught:
        train(LineModel(break_at=23), often, tmp_path, ALONE)
    assert caught.value.context == {"step": 24}
    assert read_newest(tmp_path)[1].step == 20
    kept = half_weights(read_newest(tmp_path)[0])
    assert all(bool(torch.isfinite(value).all()) for value in kept.values())


def test_a_folder_of_another_training_is_refused(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "copy")
    with pytest.raises(InputError, match="another model or configuration"):
        train(MODEL, dataclasses.replace(MODEL.defaults, seed=9), tmp_path / "copy", ALONE)


def test_a_model_that_was_changed_is_refused(whole, tmp_path):
    class Wider(LineModel):
        def build(self, seed):
            return torch.nn.Linear(4, 1)

    shutil.copytree(whole[0], tmp_path / "copy")
    with pytest.raises(InputError, match="was changed since"):
        train(Wider(), MODEL.defaults, tmp_path / "copy", ALONE)


def test_two_trainings_in_one_folder_are_refused(tmp_path):
    def enter(event):
        command = (
            "import fcntl,sys; f=open(sys.argv[1],'a')\n"
            "try: fcntl.flock(f, fcntl.LOCK_EX|fcntl.LOCK_NB)\nexcept BlockingIOError: sys.exit(7)"
        )
        done = subprocess.run([sys.executable, "-c", command, str(tmp_path / ".lock")], check=False)
        assert done.returncode == 7
        with pytest.raises(ConfigError, match="another process trains"):
            train(MODEL, MODEL.defaults, tmp_path, ALONE)
        raise Killed

    with pytest.raises(Killed):
        train(MODEL, MODEL.defaults, tmp_path, ALONE, progress=enter)


def test_the_best_of_a_training_that_was_never_kept_is_forgotten(whole, tmp_path):
    shutil.copy(whole[0] / BEST_NAME, tmp_path)
    other = dataclasses.replace(MODEL.defaults, seed=5, evaluate_every=0)
    train(MODEL, other, tmp_path, ALONE, minutes=0)
    assert not (tmp_path / BEST_NAME).exists()
    newest = read_newest(tmp_path)[0]
    assert all(torch.equal(value, newest[name]) for name, value in result_tensors(tmp_path).items())


def test_best_weights_of_steps_that_are_done_again_are_forgotten(tmp_path):
    config = dataclasses.replace(MODEL.defaults, evaluate_every=20, log_every=5)
    train(MODEL, config, tmp_path / "whole", ALONE)
    train(MODEL, config, tmp_path / "cut", ALONE, minutes=0)
    with pytest.raises(Killed):
        train(MODEL, config, tmp_path / "cut", ALONE, progress=_killed_at(25))
    assert read_checkpoint(tmp_path / "cut" / BEST_NAME)[1].best_step == 20
    early = train(MODEL, config, tmp_path / "cut", ALONE, minutes=0)
    assert (early.steps, early.best_step) == (10, 10)
    newest = read_newest(tmp_path / "cut")[0]
    assert all(torch.equal(value, newest[name]) for name, value in result_tensors(tmp_path / "cut").items())
    end = train(MODEL, config, tmp_path / "cut", ALONE)
    assert end.best_step == read_checkpoint(tmp_path / "whole" / BEST_NAME)[1].best_step
    ours, theirs = (result_tensors(tmp_path / name) for name in ("cut", "whole"))
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_metadata_that_nest_without_end_are_no_checkpoint(tmp_path):
    path = tmp_path / BEST_NAME
    save_file({"x": torch.zeros(1)}, path, {"marks": "[" * 100_000, "model": "[" * 100_000})
    with pytest.raises(DataError, match="not a readable checkpoint"):
        read_checkpoint(path)
    assert trained_name(path) is None


def test_an_unusable_folder_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot hold a training"):
        train(MODEL, MODEL.defaults, tmp_path / "file" / "below", ALONE)


def test_bfloat16_learns_as_well(tmp_path):
    half = dataclasses.replace(MODEL.defaults, precision="bfloat16")
    outcome = train(MODEL, half, tmp_path, ALONE)
    losses = losses_of(read_history(tmp_path))
    assert outcome.precision == "bfloat16"
    assert losses[40] < 0.6 * losses[1]


def test_torch_is_left_as_it_was(tmp_path):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    train(MODEL, dataclasses.replace(MODEL.defaults, steps=3, threads=1), tmp_path, ALONE)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_history_passes_over_a_half_written_line(whole, tmp_path):
    shutil.copy(whole[0] / HISTORY_NAME, tmp_path)
    events = read_history(tmp_path)
    with (tmp_path / HISTORY_NAME).open("a") as file:
        file.write('{"kind": "st')
    assert read_history(tmp_path) == events
    with (tmp_path / HISTORY_NAME).open("a") as file:
        file.write("\n")
    with pytest.raises(DataError, match="no event"):
        read_history(tmp_path)


def test_tensorboard_holds_every_loss(whole):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(whole[0] / "tensorboard"))
    board.Reload()
    told = {scalar.step: scalar.value for scalar in board.Scalars("train/loss")}
    assert told == pytest.approx(losses_of(read_history(whole[0])))
    assert len(board.Scalars("evaluation/score")) == 4


def test_gradients_are_clipped(tmp_path):
    """Adam divides by the gradient's size: only one cut to far below its epsilon moves weights less."""

    def moved(clip_norm):
        config = dataclasses.replace(MODEL.defaults, clip_norm=clip_norm, weight_decay=0.0, steps=5)
        folder = tmp_path / str(clip_norm)
        train(MODEL, config, folder, ALONE)
        norms = [event.values["grad_norm"] for event in read_history(folder) if event.kind == "step"]
        assert min(norms) > 0.1  # told as they were, before they are shortened
        weights = read_newest(folder)[0]["parameter.0.weight"]
        return float((weights - MODEL.build(0)[0].weight.detach()).abs().max())

    assert moved(1e-9) < 1e-3 < 1e-2 < moved(1.0)
