"""Decoders and pyramids: shapes, what reaches what, and what is refused."""

import pytest
import torch

from infra.errors import InputError
from models.decoders.choice import DECODERS, build_decoder
from models.decoders.layers import pool_cells
from models.decoders.small_pyramids import ConvPyramid, FixedPyramid

WIDTHS = (8, 12, 16, 20)


def maps_of(height, width, batch=2):
    torch.manual_seed(0)
    return [
        torch.randn(batch, features, height // stride, width // stride, requires_grad=True)
        for features, stride in zip(WIDTHS, (4, 8, 16, 32), strict=True)
    ]


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("shape", [(64, 96), (32, 32)])
def test_decoders_use_every_map_for_one_at_the_finest_size(name, shape):
    torch.manual_seed(0)
    decoder = build_decoder(name, WIDTHS, 10)
    maps = maps_of(*shape)
    fused = decoder(maps)
    assert fused.shape == (2, 10, shape[0] // 4, shape[1] // 4)
    fused.square().sum().backward()
    assert all(float(one.grad.abs().sum()) > 0 for one in maps)
    assert all(float(weight.grad.abs().sum()) > 0 for weight in decoder.parameters())


@pytest.mark.parametrize("name", DECODERS)
def test_the_coarsest_map_reaches_everywhere_and_chips_do_not_mix(name):
    decoder = build_decoder(name, WIDTHS, 8).eval()
    maps = [one.detach() for one in maps_of(64, 64)]
    before = decoder(maps)
    maps[3][0, :, 0, 0] += 3
    after = decoder(maps)
    assert torch.equal(before[1], after[1])
    changed = (before[0] != after[0]).any(dim=0)
    assert changed.float().mean() > 0.9


def test_decoders_refuse_other_maps():
    decoder = build_decoder("upernet", WIDTHS, 8)
    with pytest.raises(InputError, match=r"\[8, 12, 16\]"):
        decoder(maps_of(32, 32)[:3])
    with pytest.raises(InputError, match="fpn, upernet"):
        build_decoder("unet", WIDTHS, 8)
    for widths, width in ((WIDTHS, 0), ((), 8), ((8, 0), 8)):
        with pytest.raises(InputError):
            build_decoder("fpn", widths, width)


@pytest.mark.parametrize("side", [1, 2, 5, 7, 12])
def test_pooled_cells_are_means_of_the_parts_torch_takes(side):
    features = torch.randn(2, 3, side, 6)
    for cells in (1, 2, 3, 6):
        expected = torch.nn.functional.adaptive_avg_pool2d(features, cells)
        torch.testing.assert_close(pool_cells(features, cells), expected)


@pytest.mark.parametrize("pyramid", [ConvPyramid((8, 8, 8, 8)), FixedPyramid()], ids=["conv", "fixed"])
def test_pyramids_take_either_image_or_both(pyramid):
    pyramid.eval()
    rgb, sar = torch.randn(2, 3, 64, 96), torch.randn(2, 1, 64, 96)
    both = pyramid(rgb, sar)
    shapes = [(2, width, 64 // s, 96 // s) for width, s in zip(pyramid.widths, pyramid.strides, strict=True)]
    assert [tuple(one.shape) for one in both] == shapes
    for alone in (pyramid(rgb, None), pyramid(None, sar)):
        assert [tuple(one.shape) for one in alone] == shapes
        assert not torch.equal(alone[0], both[0])
    for images in ((None, None), (rgb, sar[:1]), (sar, None), (rgb[..., :50], None)):
        with pytest.raises(InputError):
            pyramid(*images)


def test_the_fixed_pyramid_measures_means_and_has_no_weights():
    pyramid = FixedPyramid()
    assert not list(pyramid.parameters())
    rgb = torch.arange(3.0).view(1, 3, 1, 1).expand(1, 3, 32, 32) + 1
    maps = pyramid(rgb, None)
    for one in maps:
        assert torch.allclose(one[0, :3].mean(dim=(1, 2)), torch.tensor([1.0, 2.0, 3.0]))
        assert float(one[0, 4:].abs().max()) < 2e-3


def test_the_conv_pyramid_tells_a_missing_image_from_a_grey_one():
    pyramid = ConvPyramid((8, 8, 8, 8)).eval()
    rgb = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(pyramid(rgb, None)[0], pyramid(rgb, torch.zeros(1, 1, 32, 32))[0])
