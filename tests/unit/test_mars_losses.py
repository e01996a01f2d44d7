"""MaRS's losses are what the paper writes, to the digit, in pieces as in one, and across processes."""

from __future__ import annotations

import math
import socket

import numpy as np
import pytest
import torch
from torch import multiprocessing
from torch.utils._python_dispatch import TorchDispatchMode

from infra.errors import InputError
from models.mars.contrast import contrast_rows
from models.mars.losses import (
    ContrastConfig,
    cross_granularity_loss,
    distillation_loss,
    hidden_pixels,
    reconstruction_loss,
)
from tests.support.contrast_team import take_part


def tokens(seed, batch=3, count=5, width=7, dtype=np.float64):
    return np.random.default_rng(seed).normal(size=(batch, count, width)).astype(dtype)


def unit(values):
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


def entropy(queries, keys, targets, temperature):
    """Mean cross entropy by the definition, float64."""
    logits = queries @ keys.T / temperature
    logits -= logits.max(axis=1, keepdims=True)
    likely = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -likely[np.arange(len(queries)), targets].mean()


def expected_contrast(rgb, sar):
    """The three granularities and their sum, written down from the paper in NumPy."""
    rgb, sar = unit(rgb), unit(sar)
    batch, count, width = rgb.shape
    images = [unit(side.mean(axis=1)) for side in (rgb, sar)]
    patches = [side.reshape(-1, width) for side in (rgb, sar)]
    own_patch, own_image = np.arange(batch * count), np.arange(batch)
    patch = (
        entropy(patches[0], patches[1], own_patch, 0.1) + entropy(patches[1], patches[0], own_patch, 0.1)
    ) / 2
    image = (
        entropy(images[0], images[1], own_image, 0.05) + entropy(images[1], images[0], own_image, 0.05)
    ) / 2
    of_patch = np.repeat(own_image, count)
    hierarchical = (
        entropy(patches[0], images[1], of_patch, 0.07) + entropy(patches[1], images[0], of_patch, 0.07)
    ) / 2
    return patch, image, hierarchical, 0.5 * patch + 0.3 * image + 0.2 * hierarchical


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_contrast_is_that_of_the_paper(dtype):
    rgb, sar = tokens(1), tokens(2)
    sar = 0.6 * rgb + 0.8 * sar
    rgb, sar = rgb.astype(dtype), sar.astype(dtype)
    parts = cross_granularity_loss(torch.from_numpy(rgb), torch.from_numpy(sar))
    found = [parts.patch, parts.image, parts.hierarchical, parts.total]
    expected = expected_contrast(rgb.astype(np.float64), sar.astype(np.float64))
    np.testing.assert_allclose([float(one) for one in found], expected, rtol=1e-6)


def test_reconstruction_and_distillation_are_those_of_the_paper():
    rng = np.random.default_rng(3)
    image, rebuilt = rng.normal(size=(2, 2, 3, 16, 16))
    mask = rng.uniform(size=(2, 4, 4)) < 0.6
    spread = np.kron(mask, np.ones((4, 4)))[:, None]
    expected = (np.abs(image - rebuilt) * spread).sum() / (spread.sum() + 1e-5) / 3
    found = reconstruction_loss(
        torch.from_numpy(image).float(), torch.from_numpy(rebuilt).float(), torch.from_numpy(mask)
    )
    assert float(found) == pytest.approx(expected, rel=1e-6)
    student, teacher = tokens(4), tokens(5)
    cosine = (unit(student) * unit(teacher)).sum(axis=-1)
    found = distillation_loss(torch.from_numpy(student).float(), torch.from_numpy(teacher).float())
    assert float(found) == pytest.approx(-cosine.mean(), rel=1e-6)


def test_pixels_without_data_do_not_count():
    image, rebuilt = torch.rand(2, 1, 1, 8, 8)
    mask = torch.ones(1, 2, 2, dtype=torch.bool)
    valid = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    valid[..., 4:] = False
    image[..., 4:] = torch.nan
    rebuilt.requires_grad_()
    found = reconstruction_loss(image, rebuilt, mask, valid)
    found.backward()
    assert float(found.detach()) == pytest.approx(
        float((image - rebuilt)[..., :4].abs().mean().detach()), rel=1e-6
    )
    assert bool((rebuilt.grad[..., 4:] == 0).all())


def test_gradients_are_those_of_one_table():
    rgb, sar = (torch.from_numpy(tokens(seed, 2, 3, 4)).requires_grad_() for seed in (6, 7))
    pieces = ContrastConfig(table=1)
    assert torch.autograd.gradcheck(lambda a, b: cross_granularity_loss(a, b, pieces).total, (rgb, sar))
    whole = torch.autograd.grad(cross_granularity_loss(rgb, sar).total, (rgb, sar))
    cut = torch.autograd.grad(cross_granularity_loss(rgb, sar, pieces).total, (rgb, sar))
    for one, other in zip(whole, cut, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_pieces_agree_with_the_plain_cross_entropy():
    rng = np.random.default_rng(8)
    queries, keys = (
        torch.from_numpy(unit(rng.normal(size=(n, 16)))).float().requires_grad_() for n in (50, 30)
    )
    targets = torch.from_numpy(rng.integers(0, 30, 50))
    plain = torch.nn.functional.cross_entropy(queries @ keys.T / 0.1, targets)
    pieced = contrast_rows(queries, keys, targets, temperature=0.1, table=7 * 30)
    torch.testing.assert_close(pieced, plain, rtol=1e-6, atol=1e-6)
    for one, other in zip(
        torch.autograd.grad(plain, (queries, keys)), torch.autograd.grad(pieced, (queries, keys)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-7)


class LargestTensor(TorchDispatchMode):
    """Takes note of the largest tensor that any operation makes, backward ones included."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for one in made if isinstance(made, tuple | list) else (made,):
            if isinstance(one, torch.Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def test_the_table_of_all_patches_is_never_held():
    rgb, sar = (torch.from_numpy(tokens(seed, 4, 128, 8, np.float32)).requires_grad_() for seed in (1, 2))
    table = 1 << 12
    with LargestTensor() as largest:
        cross_granularity_loss(rgb, sar, ContrastConfig(table=table)).total.backward()
    assert largest.numbers <= table < (4 * 128) ** 2
    with LargestTensor() as largest:
        cross_granularity_loss(rgb, sar, ContrastConfig(table=1 << 24)).total.backward()
    assert largest.numbers == (4 * 128) ** 2


def test_images_told_apart_perfectly_cost_next_to_nothing():
    rgb = torch.eye(4)[:, None].expand(4, 9, 4)
    assert float(cross_granularity_loss(rgb, rgb).hierarchical) < 1e-3
    turned = cross_granularity_loss(rgb, rgb.roll(1, 0))
    assert float(turned.hierarchical) > 10


def test_unrelated_images_cost_the_logarithm_of_their_number():
    rng = np.random.default_rng(0)
    wide = [torch.from_numpy(rng.normal(size=(4, 9, 4096))).float() for _ in range(2)]
    parts = cross_granularity_loss(*wide)
    assert float(parts.hierarchical) == pytest.approx(math.log(4), rel=0.02)
    assert float(parts.patch) == pytest.approx(math.log(36), rel=0.02)


def test_a_patch_is_drawn_to_its_own_image():
    rng = np.random.default_rng(1)
    rgb = torch.from_numpy(rng.normal(size=(4, 9, 16))).requires_grad_()
    sar = torch.from_numpy(rng.normal(size=(4, 9, 16)))
    only = ContrastConfig(patch=0, image=0, hierarchical=1)
    (slope,) = torch.autograd.grad(cross_granularity_loss(rgb, sar, only).total, rgb)
    means = torch.nn.functional.normalize(torch.nn.functional.normalize(sar, dim=-1).mean(1), dim=-1)
    moved = torch.nn.functional.normalize(rgb.detach() - 1e-3 * slope, dim=-1)
    before = torch.nn.functional.normalize(rgb.detach(), dim=-1)
    nearer = torch.einsum("bnd,bd->bn", moved - before, means)
    assert bool((nearer.mean(1) > 0).all())


def test_autocast_changes_nothing():
    rgb, sar = (torch.from_numpy(tokens(seed, dtype=np.float32)) for seed in (1, 2))
    plain = cross_granularity_loss(rgb, sar).total
    with torch.autocast("cpu", torch.bfloat16):
        cast = cross_granularity_loss(rgb, sar).total
        image = reconstruction_loss(
            rgb[:, :4, :4][:, None], sar[:, :4, :4][:, None], torch.ones(3, 1, 1, dtype=torch.bool)
        )
        taught = distillation_loss(rgb.bfloat16(), sar.bfloat16())
    assert float(cast) == float(plain)
    assert cast.dtype == image.dtype == taught.dtype == torch.float32


@pytest.mark.parametrize(
    "call",
    [
        lambda: cross_granularity_loss(torch.rand(2, 3, 4), torch.rand(2, 3, 5)),
        lambda: distillation_loss(torch.rand(2, 3, 4), torch.rand(2, 2, 4)),
        lambda: reconstruction_loss(
            torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), torch.ones(1, 2, 2, dtype=torch.bool)
        ),
        lambda: hidden_pixels(torch.ones(1, 2, 2, dtype=torch.int64), (8, 8)),
        lambda: hidden_pixels(torch.ones(1, 3, 3, dtype=torch.bool), (8, 8)),
        lambda: contrast_rows(torch.rand(2, 3), torch.rand(2, 3), torch.arange(2), temperature=0),
        lambda: contrast_rows(torch.rand(2, 3), torch.rand(2, 3), torch.arange(3), temperature=1),
    ],
)
def test_what_does_not_fit_is_refused(call):
    with pytest.raises(InputError, match="expected"):
        call()


SHOWN = torch.tensor([[1, 1, 0, 1, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]]).bool()
"""Of four images: one shows nothing at all, and their halves show unequal numbers of patches."""


def expected_where_shown(rgb, sar, shown):
    """The total by the definition, float64, of the tokens that are shown and of nothing else."""
    sides = [[unit(image[known]) for image, known in zip(side, shown, strict=True)] for side in (rgb, sar)]
    seen = [row for row in range(len(shown)) if shown[row].any()]
    patches = [np.concatenate([side[row] for row in seen]) for side in sides]
    images = [unit(np.stack([side[row].mean(axis=0) for row in seen])) for side in sides]
    own = np.repeat(np.arange(len(seen)), [int(shown[row].sum()) for row in seen])
    each = np.arange(len(own))
    ways = [
        (
            entropy(patches[one], patches[other], each, 0.1),
            entropy(images[one], images[other], np.arange(len(seen)), 0.05),
            entropy(patches[one], images[other], own, 0.07),
        )
        for one, other in ((0, 1), (1, 0))
    ]
    return np.mean(ways, axis=0)


@pytest.mark.parametrize("table", [1, 1 << 22])
def test_only_what_is_shown_is_contrasted(table):
    rgb, sar = tokens(1, batch=4), tokens(2, batch=4)
    parts = cross_granularity_loss(
        torch.from_numpy(rgb), torch.from_numpy(sar), ContrastConfig(table=table), valid=SHOWN
    )
    found = [float(one) for one in (parts.patch, parts.image, parts.hierarchical)]
    np.testing.assert_allclose(found, expected_where_shown(rgb, sar, SHOWN.numpy()), rtol=1e-9)
    everything = cross_granularity_loss(
        torch.from_numpy(rgb), torch.from_numpy(sar), valid=torch.ones_like(SHOWN)
    )
    assert float(everything.total) == float(
        cross_granularity_loss(torch.from_numpy(rgb), torch.from_numpy(sar)).total
    )


def test_what_is_not_shown_changes_nothing():
    found = []
    for other in (2, 9):
        sides = [torch.from_numpy(tokens(seed, batch=4)) for seed in (1, 3)]
        for seed, side in enumerate(sides):
            side[~SHOWN] = torch.from_numpy(tokens(other + seed, batch=4))[~SHOWN] * 10
            side.requires_grad_()
        loss = cross_granularity_loss(*sides, valid=SHOWN).total
        slopes = torch.autograd.grad(loss, sides)
        assert all(bool((slope[~SHOWN] == 0).all()) for slope in slopes)
        found.append([loss.detach(), *(slope[SHOWN] for slope in slopes)])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    assert float(found[0][1].abs().max()) > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_shown_costs_nothing(dtype):
    sides = [torch.from_numpy(tokens(seed)).to(dtype).requires_grad_() for seed in (1, 2)]
    parts = cross_granularity_loss(*sides, valid=torch.zeros(3, 5, dtype=torch.bool))
    costs = (parts.patch, parts.image, parts.hierarchical, parts.total)
    assert [float(one.detach()) for one in costs] == [0] * 4
    for slope in torch.autograd.grad(parts.total, sides):
        assert bool((slope == 0).all())


def test_two_processes_contrast_as_one_does():
    """However unevenly what is shown falls to them: the processes' halves show 7 patches and 1."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    rgb, sar = (torch.from_numpy(tokens(seed, batch=4)) for seed in (1, 2))
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        results = manager.dict()
        processes = [
            context.Process(target=take_part, args=(rank, address, (rgb, sar), results, SHOWN))
            for rank in range(2)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(120)
        assert sorted(results) == [0, 1]
        losses = [results[rank][0] for rank in (0, 1)]
        slopes = [results[rank][1] for rank in (0, 1)]
    whole = [side.requires_grad_() for side in (rgb, sar)]
    expected = cross_granularity_loss(*whole, valid=SHOWN).total
    assert sum(losses) / 2 == pytest.approx(float(expected.detach()), rel=1e-12)
    for side, slope in enumerate(torch.autograd.grad(expected, whole)):
        both = torch.tensor([*slopes[0][side], *slopes[1][side]], dtype=torch.float64)
        torch.testing.assert_close(both / 2, slope, rtol=1e-9, atol=1e-12)
