"""What MaRS learns from: lessons are repeatable, real chips take part, and their files are looked at."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from catalog.chips.files import write_chips
from catalog.chips.records import Chip
from infra.errors import DataError, InputError, NotFoundError
from models.mars.chips import ReaderChips, find_chips, open_chips
from models.mars.lessons import LessonConfig, draw_chips
from models.mars.training import MarsLearner
from tests.support.chips import LESSONS, SMALL, ArrayChips

pytestmark = pytest.mark.usefixtures("one_thread")


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
    assert learner.name == "small"
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
    assert "a cube, digest 000000000000" in MarsLearner(SMALL, LESSONS, (source,)).facts.data


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


def test_missing_radar_takes_nothing_from_the_optical_stage(real_chips):
    """Where radar holds no data, colours that do are seen all the same."""
    (source,) = find_chips(real_chips)
    _, _, both = source.read([1])
    rgb, sar, valid = source.read([1], ("rgb",))
    assert not bool(both[..., :20, :20].any())
    assert sar is None
    assert bool(valid.all())
    assert bool((rgb[..., :20, :20] != 0).any(1).all())
    config = dataclasses.replace(LESSONS, optical=True, alone=0, real=4, zoom=(1.0, 1.0))
    assert all(bool(lesson(step, config, [source]).valid.all()) for step in range(6))
    blanked = [lesson(step, dataclasses.replace(config, optical=False), [source]) for step in range(6)]
    assert not all(bool(batch.valid.all()) for batch in blanked)  # the corner is within reach of the lessons


@dataclasses.dataclass(frozen=True)
class CountedChips:
    """Chips that keep count of how often their source is asked."""

    name: str
    count: int
    asked: list[int] = dataclasses.field(default_factory=list)
    modalities: tuple[str, ...] = ("rgb", "sar")

    def read(self, rows, sides):
        assert sides == ("rgb", "sar")
        self.asked.extend(rows)
        return torch.zeros(1, 3, 32, 32), torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32, dtype=bool)


def test_sources_are_drawn_by_the_square_root_of_their_counts():
    few, many = CountedChips("few", 25), CountedChips("many", 400)
    config = LessonConfig(chips=2, size_px=32, scene_px=32, masked=1, alone=0, real=1, reuse=1000)
    for step in range(600):
        lesson(step, config, [few, many])
    share = len(few.asked) / 600
    assert abs(share - 5 / 25) < 4 * (0.2 * 0.8 / 600) ** 0.5
    assert len(few.asked) + len(many.asked) == 600
    assert set(few.asked) == set(range(25))
    assert max(many.asked) < 400


def test_held_out_places_stand_in_no_lesson():
    drawn = [draw_chips(LESSONS, SMALL, 7, step, stream="held-out") for step in range(4)]
    lessons = [lesson(step) for step in range(8)]
    for step, one in enumerate(drawn):
        assert torch.equal(one.rgb, draw_chips(LESSONS, SMALL, 7, step, stream="held-out").rgb)
        assert not any(torch.equal(a, b) for other in lessons for a in one.rgb for b in other.rgb)
    places = [set(map(float, batch.rgb.flatten())) for batch in (drawn[0], lessons[0])]
    assert len(places[0] & places[1]) < 0.01 * len(places[0])


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
        {"rgb": torch.zeros(0, 3, 8, 8)},
        {"sar": torch.zeros(2, 1, 8, 8)},
        {"x": torch.zeros(1)},
    ):
        path.write_bytes(save(tensors, {"chips": json.dumps(facts)}))
        with pytest.raises(DataError, match="no file of chips"):
            open_chips(path)


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
