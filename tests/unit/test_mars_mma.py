"""The attention between modalities."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from models.mars.mma import MetaModalityAttention, cell_positions
from tests.support.mars import SMALL

COMPAT = replace(SMALL, reference_compat=True)
GRID = (2, 3)
BOTH = pytest.mark.parametrize("config", [SMALL, COMPAT], ids=["ours", "published"])


def make(config, seed=0):
    torch.manual_seed(seed)
    return MetaModalityAttention(config).eval()


def draw_tokens(seed=0, cells=6):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(2, cells, SMALL.width, generator=draw) for _ in range(2)]


@BOTH
def test_blocks_within_a_modality_see_nothing_of_the_other(config):
    mma, (rgb, sar) = make(config), draw_tokens()
    other = draw_tokens(1)[1]
    with torch.no_grad():
        assert not torch.equal(mma(rgb, sar, GRID)[0], mma(rgb, other, GRID)[0])
        mma.across = torch.nn.ModuleList(torch.nn.Identity() for _ in mma.across)
        before, after = mma(rgb, sar, GRID), mma(rgb, other, GRID)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


def attend(layer, tokens):
    """Return what attention is by its formula, in float64."""
    weight, bias = layer.in_proj_weight.double(), layer.in_proj_bias.double()
    batch, count, width = tokens.shape
    shape = (batch, count, layer.num_heads, width // layer.num_heads)
    query, key, value = (
        (tokens @ w.T + b).reshape(shape) for w, b in zip(weight.chunk(3), bias.chunk(3), strict=True)
    )
    scores = torch.einsum("bqhd,bkhd->bhqk", query, key) / shape[3] ** 0.5
    mixed = torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=-1), value).reshape(tokens.shape)
    return mixed @ layer.out_proj.weight.double().T + layer.out_proj.bias.double()


def normalise(norm, tokens):
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    spread = centred.square().mean(dim=-1, keepdim=True).add(norm.eps).sqrt()
    return centred / spread * norm.weight.double() + norm.bias.double()


def think(mlp, tokens):
    hidden = tokens @ mlp[0].weight.double().T + mlp[0].bias.double()
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    return hidden @ mlp[2].weight.double().T + mlp[2].bias.double()


def scatter(module):
    """Move norms and biases off their start, where some mistakes do not show."""
    with torch.no_grad():
        for weight in module.parameters():
            if weight.ndim == 1:
                weight.add_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.3)
    return module


def test_the_published_block_is_as_released():
    mma, tokens = scatter(make(COMPAT)), [one.double() for one in draw_tokens()]

    def block(layers, given):
        return given + think(layers.mlp, attend(layers.attention, normalise(layers.norm, given)))

    with torch.no_grad():
        found = mma(*(one.float() for one in tokens), GRID)
        for within, across in zip(mma.within, mma.across, strict=True):
            tokens = [block(within, one) for one in tokens]
            tokens = block(across, torch.cat(tokens, dim=1)).chunk(2, dim=1)
    for mine, expected in zip(found, tokens, strict=True):
        torch.testing.assert_close(mine.double(), expected, atol=1e-5, rtol=1e-5)
    assert sum(weight.numel() for weight in make(replace(COMPAT, mlp_ratio=4.0)).parameters()) == 4 * (
        12 * SMALL.width**2 + 11 * SMALL.width
    )


def test_our_blocks_keep_a_residual_round_each_part():
    mma, tokens = scatter(make(SMALL)), draw_tokens()

    def block(layers, given):
        given = given + attend(layers.attention, normalise(layers.attention_norm, given))
        return given + think(layers.mlp, normalise(layers.mlp_norm, given))

    with torch.no_grad():
        found = mma(*tokens, GRID)
        where = cell_positions(GRID, SMALL.width, torch.device("cpu"))
        tokens = [
            (one + where + kind).double() for one, kind in zip(tokens, mma.embeddings.modality, strict=True)
        ]
        for within, across in zip(mma.within, mma.across, strict=True):
            tokens = [block(within, one) for one in tokens]
            tokens = block(across, torch.cat(tokens, dim=1)).chunk(2, dim=1)
    for mine, expected in zip(found, tokens, strict=True):
        torch.testing.assert_close(mine.double(), normalise(mma.norm, expected), atol=1e-5, rtol=1e-5)


def test_tokens_know_their_place_and_their_modality_unless_published():
    rgb, sar = draw_tokens()
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    same = {}
    for config in (SMALL, COMPAT):
        mma = make(config)
        with torch.no_grad():
            straight, moved = mma(rgb, sar, GRID), mma(rgb[:, order], sar[:, order], GRID)
            swapped = mma(sar, rgb, GRID)
        same[config.name, "place"] = torch.allclose(straight[0][:, order], moved[0], atol=1e-5)
        same[config.name, "kind"] = torch.allclose(straight[0], swapped[1], atol=1e-5)
        assert list(same.values())[-2:] == [config is COMPAT] * 2


def test_learned_tokens_stand_in_for_a_missing_modality():
    mma, (rgb, sar) = make(SMALL).train(), draw_tokens()
    guess, seen = mma(None, sar, GRID)
    assert guess.shape == seen.shape == sar.shape
    guess.square().sum().backward()
    assert bool(mma.embeddings.missing.grad[0].any())
    assert not bool(mma.embeddings.missing.grad[1].any())
    assert not torch.equal(mma(None, sar, GRID)[0], mma(None, draw_tokens(1)[1], GRID)[0])
    assert not torch.equal(mma(rgb, None, GRID)[1], mma(rgb, sar, GRID)[1])
    left_out, alone = make(COMPAT)(None, sar, GRID)
    assert left_out is None
    assert alone.shape == sar.shape


@pytest.mark.parametrize("grid", [(1, 1), (4, 7), (16, 16)], ids=str)
def test_places_differ_and_are_the_same_in_a_larger_grid(grid):
    here = cell_positions(grid, 32, torch.device("cpu"))
    assert tuple(here.shape) == (grid[0] * grid[1], 32)
    assert len(here.unique(dim=0)) == len(here)
    larger = cell_positions((grid[0] + 4, grid[1] + 2), 32, torch.device("cpu"))
    middle = larger.reshape(grid[0] + 4, grid[1] + 2, 32)[2:-2, 1:-1].flatten(0, 1)
    torch.testing.assert_close(middle, here)
