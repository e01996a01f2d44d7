"""The learning rate's course, which weights decay, and which numbers a training refuses."""

from __future__ import annotations

import itertools
import math

import pytest
from torch import nn

from infra.errors import InputError
from models.training.config import TrainingConfig
from models.training.registry import TRAINABLES, entry_of
from models.training.schedule import learning_rate, make_optimiser

CONFIG = TrainingConfig(steps=110, warmup_steps=10, learning_rate=0.4, final_rate=0.1)


def test_rate_rises_straight_and_falls_as_half_a_cosine():
    rates = [learning_rate(CONFIG, step) for step in range(110)]
    assert rates[:10] == pytest.approx([0.04 * step for step in range(1, 11)])
    assert rates[10] == pytest.approx(0.4)
    assert rates[-1] == pytest.approx(0.04)
    middle = 0.04 + 0.36 * (1 + math.cos(math.pi * 45 / 99)) / 2
    assert rates[55] == pytest.approx(middle)
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[10:]))


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 50), (2, 1), (5, 5)])
def test_short_trainings_have_a_rate_too(steps, warmup):
    config = TrainingConfig(steps=steps, warmup_steps=warmup)
    assert all(0 < learning_rate(config, step) <= config.learning_rate for step in range(steps))


def test_biases_norms_and_frozen_weights_do_not_decay():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))
    module[2].weight.requires_grad_(False)
    decaying, plain = make_optimiser(module, TrainingConfig(weight_decay=0.3)).param_groups
    assert (decaying["weight_decay"], plain["weight_decay"]) == (0.3, 0.0)
    assert [id(weight) for weight in decaying["params"]] == [id(module[0].weight)]
    assert len(plain["params"]) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("steps", 2.5),
        ("steps", True),
        ("learning_rate", 0.0),
        ("learning_rate", math.nan),
        ("clip_norm", -1.0),
        ("final_rate", 1.5),
        ("weight_decay", -0.1),
        ("precision", "float16"),
        ("threads", 0),
        ("seed", 1 << 63),
        ("checkpoint_minutes", math.inf),
    ],
)
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(InputError, match=f"training's {name} is"):
        TrainingConfig(**{name: value})


def test_only_what_decides_the_weights_is_identity():
    same = CONFIG.override(
        {"threads": 3, "workers": 2, "log_every": 1, "checkpoint_minutes": 9, "steps": None}
    )
    assert same.threads == 3
    assert same.identity() == CONFIG.identity()
    for name, value in (("seed", 5), ("steps", 111), ("precision", "float32"), ("evaluate_every", 7)):
        assert CONFIG.override({name: value, "model": "x"}).identity() != CONFIG.identity()


def test_unknown_models_name_the_nearest():
    with pytest.raises(InputError, match="did you mean mapglue-tiny"):
        entry_of("mapglue-tinny")
    with pytest.raises(InputError, match="available: "):
        entry_of("zzz")
    assert all(entry.count(":") == 1 for entry in TRAINABLES.values())
