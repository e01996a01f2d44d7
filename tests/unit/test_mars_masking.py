"""Which squares are hidden."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from infra.errors import InputError
from models.mars.masking import draw_masks
from models.mars.presets import find_preset

BASE = find_preset("mars-base")


def draw(config=BASE, count=4, shape=(512, 512), seed=0):
    return draw_masks(config, count, shape, torch.Generator().manual_seed(seed))


def squares(mask, cells):
    """Return one of every ``cells`` × ``cells``, after checking that they are alike."""
    coarse = mask[:, ::cells, ::cells]
    assert torch.equal(coarse.repeat_interleave(cells, 1).repeat_interleave(cells, 2), mask)
    return coarse


def test_the_published_mask_hides_154_of_256_squares_of_every_image():
    mask = draw()
    assert mask.dtype == torch.bool
    assert tuple(mask.shape) == (4, 128, 128)
    assert squares(mask, 8).flatten(1).sum(dim=1).tolist() == [154] * 4  # ceil(0.6 × 256)
    assert len(mask.flatten(1).unique(dim=0)) == 4


def test_a_seed_gives_its_masks_again_and_another_gives_others():
    assert torch.equal(draw(seed=3), draw(seed=3))
    assert not torch.equal(draw(seed=3), draw(seed=4))


def test_every_square_is_hidden_equally_often():
    share = squares(draw(find_preset("mars-tiny"), 2000, (128, 128)), 4).float().mean(dim=0)
    assert float((share - 39 / 64).abs().max()) < 0.05  # four standard deviations of 2,000 draws


@pytest.mark.parametrize(
    ("shape", "ratio", "hidden"), [((32, 160), 0.6, 3), ((64, 96), 0.6, 4), ((32, 32), 0.1, 1)]
)
def test_parts_of_squares_are_rounded_up_at_any_size(shape, ratio, hidden):
    mask = draw(replace(BASE, mask_ratio=ratio), 2, shape)
    assert tuple(mask.shape) == (2, shape[0] // 4, shape[1] // 4)
    assert squares(mask, 8).flatten(1).sum(dim=1).tolist() == [hidden] * 2


@pytest.mark.parametrize("shape", [(100, 128), (16, 64), (0, 32)], ids=str)
def test_squares_that_do_not_fill_an_image_are_refused(shape):
    with pytest.raises(InputError, match="32-px squares"):
        draw(shape=shape)
