"""MaRS learns: lessons are repeatable, the teacher keeps still, a training resumes, its weights ship."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from catalog.chips.files import write_chips
from catalog.chips.records import Chip
from infra.errors import ConfigError, DataError, InputError, NotFoundError
from models.mars.checkpoint import load_mars
from models.mars.chips import ReaderChips, find_chips, open_chips
from models.mars.config import MarsConfig
from models.mars.lessons import LessonConfig, draw_chips
from models.mars.places import place_statistics
from models.mars.presets import find_preset
from models.mars.statistics import (
    ChannelStatistics,
    Statistics,
    load_statistics,
    measure_statistics,
    read_statistics,
    write_statistics,
)
from models.mars.teacher import Teacher
from models.mars.training import MarsLearner, mars_tiny, mars_tiny_chips, recall_at_1, ship_weights
from models.training.config import TrainingConfig
from models.training.history import HISTORY_NAME, read_history
from models.training.loop import train
from models.training.registry import load_trainable
from models.training.steps import Team

SMALL = MarsConfig(
    name="small",
    embed_dim=16,
    depths=(1, 1, 1, 1),
    heads=(1, 1, 2, 4),
    window=4,
    image_px=32,
    mask_block_px=8,
    mma_rounds=1,
    mma_heads=4,
    mlp_ratio=2.0,
    dense_width=32,
    drop_path=0.2,
)
LESSONS = LessonConfig(chips=4, size_px=32, scene_px=48, masked=2, alone=2, real=2)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclasses.dataclass(frozen=True)
class ArrayChips:
    """Chips in memory, as a catalogue's reader gives them."""

    chips: tuple[Chip, ...]
    name: str = "made-up"
    sar_unit: str = "dB"

    def __len__(self):
        return len(self.chips)

    def read(self, index):
        return self.chips[index]


@pytest.fixture
def real_chips(tmp_path):
    """Three chips of 80 px in a file, one with a corner without data, and a fourth with none at all."""
    rng = np.random.default_rng(0)
    made = []
    for row in range(4):
        rgb = rng.uniform(0.1, 0.4, (3, 80, 80)).astype(np.float32)
        sar = rng.normal(-12, 4, (1, 80, 80)).astype(np.float32)
        if row == 1:
            sar[:, :20, :20] = np.nan
        if row == 3:
            rgb[:] = np.nan
        made.append(Chip(rgb, sar))
    written = write_chips(
        tmp_path / "chips" / "made-up.safetensors", ArrayChips(tuple(made)), source="a test", licence="none"
    )
    assert (written.chips, written.blank) == (4, 1)
    return tmp_path / "chips"


def lesson(step, config=LESSONS, sources=()):
    return draw_chips(config, SMALL, 7, step, sources)


def test_a_lesson_is_its_seed_and_number():
    later = [lesson(step) for step in (3, 0, 5)]
    again = [lesson(step) for step in (0, 3, 5)]
    for one, other in zip((later[1], later[0], later[2]), again, strict=True):
        for name in ("rgb", "sar", "valid", "mask"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert one.alone == other.alone
    assert not torch.equal(later[0].rgb, later[1].rgb)
    assert later[0].rgb.shape == (4, 3, 32, 32)
    assert later[0].sar.shape == (4, 1, 32, 32)
    assert later[0].mask.shape == (4, 8, 8)
    hidden = later[0].mask.flatten(1).float().mean(1)
    assert sorted(hidden.tolist()) == [0, 0, 0.625, 0.625]
    assert bool((hidden[later[0].whole] == 0).all())
    assert len(later[0].whole) == 2


def test_both_sides_show_one_place():
    """Where the camera sees edges the radar does: they correlate, and with another place's they do not."""
    batches = [
        lesson(step, LessonConfig(chips=8, size_px=64, scene_px=64, reuse=1, masked=2)) for step in range(3)
    ]

    def edges(images):
        grey = images.mean(1)
        steep = (grey[:, 4:, 2:-2] - grey[:, :-4, 2:-2]).abs() + (
            grey[:, 2:-2, 4:] - grey[:, 2:-2, :-4]
        ).abs()
        steep = torch.nn.functional.avg_pool2d(steep[:, None], 6)[:, 0].flatten(1)
        return torch.nn.functional.normalize(steep - steep.mean(1, keepdim=True), dim=1)

    own, others = [], []
    for batch in batches:
        alike = edges(batch.rgb) @ edges(batch.sar).T
        own.append(alike.diagonal())
        others.append(alike[~torch.eye(8, dtype=torch.bool)])
    assert float(torch.cat(own).mean()) > float(torch.cat(others).mean()) + 0.15


def test_statistics_are_of_what_is_drawn():
    rgb, sar = (
        torch.cat(side) for side in zip(*((b.rgb, b.sar) for b in map(lesson, range(8))), strict=True)
    )
    assert abs(float(rgb.mean())) < 0.4
    assert 0.6 < float(rgb.std()) < 1.4
    assert abs(float(sar.mean())) < 0.3
    assert 0.6 < float(sar.std()) < 1.4


def test_real_chips_take_part(real_chips):
    sources = find_chips(real_chips)
    (source,) = sources
    assert (source.count, source.shape_yx, source.modalities) == (3, (80, 80), ("rgb", "sar"))
    rgb, sar, valid = source.read([0, 1, 2])
    assert float(rgb.mean().abs()) < 0.02
    assert float(sar[valid].std()) == pytest.approx(1, abs=0.01)
    assert not bool(valid[1, :, :20, :20].any())
    assert bool((rgb[1, :, :20, :20] == 0).all())
    batch = lesson(0, sources=sources)
    assert len(batch) == 4
    drawn = lesson(0)
    assert not torch.equal(batch.rgb[:2], drawn.rgb[:2])
    learner = MarsLearner(SMALL, LESSONS, sources)
    assert learner.name.startswith("small-")
    assert any("a test (none)" in line for line in learner.facts.data)


def test_chips_are_read_where_they_lie(real_chips):
    """A catalogue's reader feeds a learner without files in between, and gives what the file would."""
    (file,) = find_chips(real_chips)
    stored = [file.read([row]) for row in range(3)]
    raw = tuple(
        Chip(
            file.statistics.rgb.restore(torch.where(valid, rgb, torch.nan))[0].numpy(),
            file.statistics.sar.restore(torch.where(valid, sar, torch.nan))[0].numpy(),
        )
        for rgb, sar, valid in stored
    )
    source = ReaderChips(ArrayChips(raw), file.statistics, "a cube", "0" * 64)
    for one, other in zip(source.read([0, 1, 2]), file.read([0, 1, 2]), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    batch = lesson(0, sources=[source])
    torch.testing.assert_close(batch.rgb, lesson(0, sources=[file]).rgb, rtol=1e-4, atol=1e-4)
    assert "a cube" in MarsLearner(SMALL, LESSONS, (source,)).facts.data


def test_a_source_of_one_side_is_for_the_optical_stage_only(tmp_path):
    rgb = np.random.default_rng(1).uniform(size=(3, 80, 80)).astype(np.float32)
    write_chips(
        tmp_path / "o.safetensors", ArrayChips((Chip(rgb, None),) * 2), source="a test", licence="none"
    )
    source = open_chips(tmp_path / "o.safetensors")
    with pytest.raises(InputError, match="rgb only"):
        lesson(0, sources=[source])
    batch = lesson(0, dataclasses.replace(LESSONS, optical=True, alone=0), [source])
    assert batch.sar is None


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
    from models.mars.checkpoint import encode_mars

    start = MarsLearner(SMALL, LESSONS).build(5)
    path = tmp_path / "start.safetensors"
    path.write_bytes(encode_mars(start.mars))
    learner = MarsLearner(SMALL, dataclasses.replace(LESSONS, optical=True, alone=0), start=path)
    module = learner.build(0)
    assert torch.equal(module.mars.encoder_rgb.mask_token, start.mars.encoder_rgb.mask_token.half().float())
    assert learner.facts.data[-1].startswith("Goes on from weights")
    assert set(learner.evaluate(module, CPU)) == {"score", "rebuilt"}


def test_the_tiny_preset_is_registered_and_fits_its_file():
    learner = load_trainable("mars-tiny")
    assert learner == mars_tiny()
    preset = find_preset("mars-tiny")
    assert preset.image_px == learner.lessons.size_px
    with torch.device("meta"):
        from models.mars.network import Mars

        numbers = sum(weight.numel() for weight in Mars(preset).parameters())
    assert numbers * 2 < 10e6 - 100_000


def test_chips_that_are_not_named_are_asked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("TERRALOOM_CHIPS", raising=False)
    with pytest.raises(ConfigError, match="TERRALOOM_CHIPS"):
        mars_tiny_chips()
    monkeypatch.setenv("TERRALOOM_CHIPS", str(tmp_path))
    with pytest.raises(NotFoundError, match="holds no chips"):
        mars_tiny_chips()


def test_files_that_are_no_chips_are_refused(tmp_path):
    from safetensors.torch import save

    with pytest.raises(NotFoundError, match="do not exist"):
        open_chips(tmp_path / "none.safetensors")
    path = tmp_path / "x.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(DataError, match="no file of chips"):
        open_chips(path)
    facts = {
        "name": "x", "source": "s", "licence": "l",
        "statistics": {"rgb": {"mean": [0, 0, 0], "std": [1, 1, 1]}, "sar": None, "sar_unit": "dB"},
    }  # fmt: skip
    for tensors in (
        {"rgb": torch.zeros(2, 2, 8, 8)},
        {"sar": torch.zeros(2, 1, 8, 8)},
        {"x": torch.zeros(1)},
    ):
        path.write_bytes(save(tensors, {"chips": json.dumps(facts)}))
        with pytest.raises(DataError, match="no file of chips"):
            open_chips(path)


def test_statistics_travel_as_text():
    known = {"a": Statistics(ChannelStatistics((1.0, 2.0, 3.0), (1.0, 1.0, 2.0)), None, "none")}
    assert read_statistics(write_statistics(known)) == known
    for text in (
        "",
        "[]",
        '{"a": 1}',
        '{"a": {"rgb": {"mean": [1], "std": [0]}, "sar": null, "sar_unit": ""}}',
    ):
        with pytest.raises(DataError, match="cannot be read"):
            read_statistics(text)


def test_statistics_standardise_and_restore():
    rng = np.random.default_rng(2)
    images = torch.from_numpy(rng.normal([[[[5.0]], [[1.0]], [[0.0]]]], 3, (4, 3, 9, 9))).float()
    images[0, :, 0, 0] = torch.nan
    found = measure_statistics(images, None, sar_unit="none")
    plain = found.rgb.standardise(images)
    assert float(plain.nanmean()) == pytest.approx(0, abs=1e-6)
    assert bool(plain[0, :, 0, 0].isnan().all())
    torch.testing.assert_close(found.rgb.restore(plain), images, equal_nan=True)
    with pytest.raises(InputError, match="3 channels"):
        found.rgb.standardise(images[:, :1])
    with pytest.raises(InputError, match="no statistics of sar"):
        found.standardise(None, images[:, :1])
    with pytest.raises(InputError, match="above 0"):
        measure_statistics(torch.ones(1, 3, 4, 4), None, sar_unit="none")


def test_recall_counts_own_neighbours():
    keys = torch.eye(4)
    assert recall_at_1(keys, keys) == 1
    assert recall_at_1(keys[[1, 0, 2, 3]], keys) == 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"chips": 1}, {"reuse": 0}, {"size_px": 16}, {"size_px": 512}, {"zoom": (0.0, 1.0)},
        {"zoom": (2.0, 1.0)}, {"alone": 25}, {"real": -1}, {"masked": 0}, {"masked": 24},
    ],
)  # fmt: skip
def test_lessons_that_cannot_be_drawn_are_refused(changes):
    with pytest.raises(InputError, match="expected"):
        LessonConfig(**changes)
