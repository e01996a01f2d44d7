"""MaRS learns: the teacher keeps still, a training resumes and is told from others, its weights ship."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from catalog.chips.files import write_chips
from catalog.chips.records import Chip
from infra.errors import ConfigError, InputError, NotFoundError
from models.mars.checkpoint import encode_mars, load_mars
from models.mars.chips import open_chips
from models.mars.lessons import draw_chips
from models.mars.places import place_statistics
from models.mars.presets import find_preset
from models.mars.ship import ship_weights
from models.mars.stages import mars_tiny, mars_tiny_chips
from models.mars.statistics import load_statistics
from models.mars.teacher import Teacher
from models.mars.training import MarsLearner
from models.training.config import TrainingConfig
from models.training.history import HISTORY_NAME, read_history
from models.training.loop import identity_of, train
from models.training.registry import load_trainable
from models.training.steps import Team
from tests.support.chips import LESSONS, SMALL, ArrayChips

CPU = torch.device("cpu")


def lesson(step):
    return draw_chips(LESSONS, SMALL, 7, step)


pytestmark = pytest.mark.usefixtures("one_thread")


def test_masks_do_not_tell_which_image_it_is():
    """Contrast sees whole images only: with other squares hidden its value is the same."""
    learner = MarsLearner(SMALL, dataclasses.replace(LESSONS, alone=0))
    module = learner.build(0).eval()
    batch = lesson(0)
    other = dataclasses.replace(batch, mask=batch.mask.roll(3, 2))
    with torch.no_grad():
        first, second = (learner.loss(module, one)[1] for one in (batch, other))
    for name in ("patch", "image", "hierarchical"):
        assert float(first[name]) == float(second[name])
    assert float(first["rebuilt"]) != float(second["rebuilt"])


def test_the_teacher_answers_the_same_at_every_call():
    learner = MarsLearner(SMALL, LESSONS)
    module = learner.build(0)
    module.train()
    batch = lesson(0)
    with torch.no_grad():
        for name, weight in module.mars.encoder_rgb.named_parameters():
            if "norm" in name:
                weight.fill_(0.5)  # fresh blocks add nothing, so there would be nothing to drop
        module.teacher.follow(module.mars.encoder_rgb, 0.0)
        first, second = (module.teacher(batch.rgb) for _ in range(2))
        student = [module.mars.encoder_rgb(batch.rgb)[-1] for _ in range(2)]
    assert torch.equal(first, second)
    assert not torch.equal(*student)  # paths are dropped: the test could fail
    assert not any(part.training for part in module.teacher.modules())
    assert not any(weight.requires_grad for weight in module.teacher.parameters())
    module.teacher.train(True)
    assert torch.equal(first, module.teacher(batch.rgb))
    assert first.shape == (4, 1, 128)


def test_the_teacher_trails_behind_the_student():
    module = MarsLearner(SMALL, LESSONS).build(0)
    teacher, student = module.teacher, module.mars.encoder_rgb
    with torch.no_grad():
        student.mask_token += 1
    before = teacher.encoder.mask_token.clone()
    teacher.follow(student, 0.75)
    torch.testing.assert_close(teacher.encoder.mask_token, before + 0.25)
    teacher.follow(student, 1.0)
    torch.testing.assert_close(teacher.encoder.mask_token, before + 0.25)
    with pytest.raises(InputError, match="0 to 1"):
        teacher.follow(student, 1.5)
    other = MarsLearner(dataclasses.replace(SMALL, embed_dim=32), LESSONS).build(0)
    with pytest.raises(InputError, match="other shapes"):
        Teacher(student).follow(other.mars.encoder_rgb)


def test_four_chips_are_learned_by_heart():
    learner = MarsLearner(dataclasses.replace(SMALL, drop_path=0.0), LESSONS)
    module = learner.build(0).train()
    batch = lesson(1)
    optimiser = torch.optim.AdamW([w for w in module.parameters() if w.requires_grad], lr=3e-3)
    courses = []
    for _ in range(20):
        loss, parts = learner.loss(module, batch)
        courses.append({name: float(part.detach()) for name, part in parts.items()})
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
    first, last = courses[0], courses[-1]
    assert last["rebuilt"] < 0.9 * first["rebuilt"]
    assert last["patch"] < 0.5 * first["patch"]
    assert last["image"] < 0.2
    assert last["taught"] < -0.8
    learned = {name for name, weight in module.mars.named_parameters() if weight.grad is None}
    assert not learned


def test_every_batch_tells_the_same_parts():
    aligned = MarsLearner(SMALL, LESSONS)
    optical = MarsLearner(SMALL, dataclasses.replace(LESSONS, optical=True, alone=0))
    with torch.no_grad():
        found = [
            learner.loss(learner.build(0), learner.batch(0, 0, CPU))[1] for learner in (aligned, optical)
        ]
    assert found[0].keys() == found[1].keys()
    assert all(float(part) != 0 for part in found[0].values())
    assert [name for name, part in found[1].items() if float(part) != 0] == ["rebuilt", "taught"]


def test_a_training_resumes_to_the_digit_and_ships(tmp_path):
    learner = MarsLearner(SMALL, LESSONS)
    config = TrainingConfig(steps=4, log_every=2, evaluate_every=0, warmup_steps=1, threads=1)
    team = Team(CPU)
    whole = train(learner, config, tmp_path / "whole", team)
    parts = train(learner, config, tmp_path / "parts", team, minutes=0)
    assert not parts.finished
    parts = train(learner, config, tmp_path / "parts", team)
    assert parts.figures == whole.figures
    assert set(whole.figures) == {"score", "recall_at_1", "rebuilt"}
    losses = [
        [event.values["loss"] for event in read_history(tmp_path / name) if event.kind == "step"]
        for name in ("whole", "parts")
    ]
    assert (tmp_path / "whole" / HISTORY_NAME).exists()
    assert losses[0] == losses[1]


def test_weights_ship_with_statistics_and_without_the_teacher(tmp_path):
    from models.training.checkpoints import encode_weights, half_weights, module_tensors

    learner = MarsLearner(SMALL, LESSONS)
    module = learner.build(3)
    trained, shipped = tmp_path / "trained.safetensors", tmp_path / "shipped.safetensors"
    trained.write_bytes(encode_weights(half_weights(module_tensors(module)), {"name": "small", "step": 1}))
    assert load_statistics(trained) == learner.statistics()
    shipped.write_bytes(ship_weights(SMALL, trained))
    assert load_statistics(shipped) == learner.statistics() == {"procedural": place_statistics()}
    assert shipped.stat().st_size < 0.8 * trained.stat().st_size
    again = load_mars(SMALL, shipped)
    for name, value in module.mars.state_dict().items():
        assert torch.equal(again.state_dict()[name], value.half().float()), name


def test_the_optical_stage_goes_on_from_weights(tmp_path):
    start = MarsLearner(SMALL, LESSONS).build(5)
    path = tmp_path / "start.safetensors"
    path.write_bytes(encode_mars(start.mars))
    learner = MarsLearner(SMALL, dataclasses.replace(LESSONS, optical=True, alone=0), start=path)
    module = learner.build(0)
    assert torch.equal(module.mars.encoder_rgb.mask_token, start.mars.encoder_rgb.mask_token.half().float())
    assert learner.facts.data[-1].startswith("Goes on from weights")
    assert set(learner.evaluate(module, CPU)) == {"score", "rebuilt"}


def test_evaluation_leaves_the_module_as_it_was():
    learner = MarsLearner(SMALL, LESSONS)
    module = learner.build(0)
    module.train()
    figures = learner.evaluate(module, CPU)
    assert module.training
    assert all(part.training for part in module.mars.modules())
    assert not any(part.training for part in module.teacher.modules())
    module.eval()
    assert learner.evaluate(module, CPU) == figures  # paths were not dropped in the first place
    assert not module.training


def test_the_tiny_preset_is_registered_and_fits_its_file():
    learner = load_trainable("mars-tiny")
    assert learner == mars_tiny()
    preset = find_preset("mars-tiny")
    assert preset.image_px == learner.lessons.size_px
    with torch.device("meta"):
        from models.mars.network import Mars

        numbers = sum(weight.numel() for weight in Mars(preset).parameters())
    assert numbers * 2 < 10e6 - 70_000  # the header


def write_pairs(path, *, name="made-up", level=0.2, sar=True):
    rng = np.random.default_rng(0)
    made = []
    for _ in range(2):
        rgb = rng.uniform(level, 0.4, (3, 48, 48)).astype(np.float32)
        radar = rng.normal(-12, 4, (1, 48, 48)).astype(np.float32)
        made.append(Chip(rgb, radar if sar else None))
    write_chips(path, ArrayChips(tuple(made), name), source="a test", licence="none")
    return open_chips(path)


def test_other_chips_or_weights_make_another_training(tmp_path):
    first = write_pairs(tmp_path / "a.safetensors")
    other = write_pairs(tmp_path / "b.safetensors", name="other", level=0.1)
    starts = []
    for seed in (1, 2):
        path = tmp_path / f"start{seed}.safetensors"
        path.write_bytes(encode_mars(MarsLearner(SMALL, LESSONS).build(seed).mars))
        starts.append(path)
    learners = [
        MarsLearner(SMALL, LESSONS, sources, start=start)
        for sources in ((), (first,), (other,), (first, other), (other, first))
        for start in (None, *starts)
    ]
    config = TrainingConfig()
    known = [identity_of(learner, config) for learner in learners]
    assert len(set(known)) == len(known)
    assert {learner.name for learner in learners} == {"small"}  # the card's, which must be the registry's
    write_pairs(tmp_path / "a.safetensors", level=0.3)
    changed = MarsLearner(SMALL, LESSONS, (open_chips(tmp_path / "a.safetensors"),))
    assert identity_of(changed, config) not in known


def test_chips_that_are_not_named_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("TERRALOOM_CHIPS", raising=False)
    with pytest.raises(ConfigError, match="TERRALOOM_CHIPS"):
        mars_tiny_chips()
    monkeypatch.setenv("TERRALOOM_CHIPS", str(tmp_path))
    with pytest.raises(NotFoundError, match="holds no chips"):
        mars_tiny_chips()


def test_chips_of_one_side_are_not_for_the_aligned_stage(monkeypatch, tmp_path):
    write_pairs(tmp_path / "o.safetensors", name="colours", sar=False)
    monkeypatch.setenv("TERRALOOM_CHIPS", str(tmp_path))
    with pytest.raises(NotFoundError, match="holds no chips with both rgb and sar"):
        mars_tiny_chips()
    write_pairs(tmp_path / "p.safetensors", name="pairs")
    assert [source.name for source in mars_tiny_chips().sources] == ["pairs"]
