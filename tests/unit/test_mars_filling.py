"""What a missing modality may look like: a guess from coarse to fine, and the stage that learns it alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from models.mars.filling import ModalityFill
from models.mars.heads import as_map
from models.mars.lessons import LessonConfig
from models.mars.missing import FillLearner
from models.mars.training import MarsLearner
from models.training.checkpoints import module_tensors, restore_module
from models.training.config import TrainingConfig
from models.training.loop import result_tensors, train
from models.training.steps import Team
from tests.support.mars import SMALL, draw_images, make_mars

CPU = torch.device("cpu")
LESSONS = LessonConfig(chips=4, size_px=64, scene_px=64, masked=1, alone=0, zoom=(1.0, 1.0))


pytestmark = pytest.mark.usefixtures("one_thread")


def draw_maps(rows=4, cols=6, seed=0):
    """Return three finer maps of a modality and the coarsest of both, for a grid of the coarsest cells."""
    generator = torch.Generator().manual_seed(seed)
    finer = [
        torch.randn(2, width, rows * scale, cols * scale, generator=generator)
        for width, scale in zip(SMALL.widths[:3], (8, 4, 2), strict=True)
    ]
    return finer, *(torch.randn(2, SMALL.width, rows, cols, generator=generator) for _ in range(2))


def learned_fill():
    """Return a guess whose last layers say something."""
    torch.manual_seed(0)
    fill = ModalityFill(SMALL)
    for layer in fill.leave:
        torch.nn.init.normal_(layer[1].weight, std=0.1)
    return fill.eval()


def test_unlearned_it_adds_nothing_that_was_not_seen():
    finer, missing, given = draw_maps()
    filled = ModalityFill(SMALL)(finer, missing, given)
    assert [tuple(one.shape) for one in filled.missing[:3]] == [tuple(one.shape) for one in finer]
    assert not any(one.any() for one in filled.missing[:3])
    assert torch.equal(filled.missing[3], missing)
    assert torch.equal(filled.given, given)


def test_a_cell_is_guessed_from_the_place_around_it():
    fill, (finer, missing, given) = learned_fill(), draw_maps()
    changed = missing.clone()
    changed[:, :, 0, 0] += 1  # one coarse cell of 8 × 8 finest ones
    with torch.no_grad():
        before, after = (fill(finer, coarse, given).missing[0] for coarse in (missing, changed))
    moved = (before != after).any(dim=1)[0]
    assert bool(moved[:8, :8].all())
    assert not bool(moved[:, 24:].any()), "what lies far away says nothing"


def test_what_is_guessed_stands_for_what_is_missing_and_the_given_maps_stay():
    network, (rgb, sar) = make_mars(), draw_images()
    for fill in (network.rgb_from_sar, network.sar_from_rgb):
        fill.load_state_dict(learned_fill().state_dict())
    with torch.no_grad():
        seen = network.look(None, sar)
        guessed, own = network.levels(seen)
        backwards, _ = network.levels(network.look(rgb, None))
    assert all(torch.equal(*pair) for pair in zip(own[:3], seen.sar_pyramid[:3], strict=True))
    grid = tuple(own[3].shape[2:])
    assert not torch.equal(own[3], as_map(seen.sar_tokens, grid)), "the other one would have changed it"
    assert all(one.any() for one in guessed)
    assert not torch.equal(guessed[0], backwards[0])


def test_the_last_stage_leaves_all_else_as_it_began(tmp_path):
    learner = FillLearner(MarsLearner(dataclasses.replace(SMALL, image_px=64), LESSONS, label="-missing"))
    config = TrainingConfig(
        steps=12, learning_rate=5e-3, warmup_steps=1, log_every=1, evaluate_every=0, threads=1
    )
    before = module_tensors(learner.build(0))
    assert train(learner, config, tmp_path, Team(CPU)).finished
    after = result_tensors(tmp_path)
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all(".rgb_from_sar." in name or ".sar_from_rgb." in name for name in changed)
    module = learner.build(0)
    batch = learner.batch(0, 0, CPU)
    first = float(learner.loss(module, batch)[0].detach())
    restore_module(module, after)
    assert float(learner.loss(module, batch)[0].detach()) < first


def test_held_out_places_are_measured_and_choose_nothing():
    learner = FillLearner(MarsLearner(dataclasses.replace(SMALL, image_px=64), LESSONS))
    module = learner.build(0)
    told = learner.evaluate(module, CPU)
    assert set(told) == {"filled"}
    assert told == learner.evaluate(module, CPU)
    assert 0.5 < told["filled"] < 2
    assert "stayed as it began" in learner.facts.data[-1]
