"""What the MaRS network answers, and what it refuses."""

from __future__ import annotations

import functools
from dataclasses import replace

import pytest
import torch

from infra.errors import ConfigError, InputError
from models.mars.dense import MarsDenseEncoder
from models.mars.filling import relative_error
from models.mars.heads import DenseDecoder
from models.mars.masking import draw_masks
from models.mars.network import Mars
from models.mars.presets import PRESETS, find_preset
from models.mars.pyramid import MarsPyramid
from models.mars.sizes import count_parameters
from tests.support.mars import SMALL, draw_images, make_mars

COMPAT = replace(SMALL, reference_compat=True)
BOTH = pytest.mark.parametrize("config", [SMALL, COMPAT], ids=["ours", "published"])


pytestmark = pytest.mark.usefixtures("one_thread")


@functools.cache
def small_mars():
    """Return a network that nobody changes."""
    return make_mars()


def draw_mask(config=SMALL, count=2, shape=(64, 64), seed=1):
    return draw_masks(config, count, shape, torch.Generator().manual_seed(seed))


def tensors(answer):
    """Return all tensors of an answer, in order."""
    flat = []
    for part in answer:
        if part is not None:
            flat += part if isinstance(part, list) else [part]
    return flat


def test_presets_are_known_by_name_and_others_are_refused():
    assert {"mars-tiny", "mars-base", "mars-large"} == set(PRESETS)
    assert all(find_preset(name).name == name for name in PRESETS)
    with pytest.raises(InputError, match="mars-tiny"):
        find_preset("mars-huge")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"image_px": 100}, "image_px 100"),
        ({"mask_block_px": 24}, "mask_block_px 24"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
        ({"heads": (1, 2, 2, 3)}, "heads"),
        ({"mma_heads": 3}, "mma_heads"),
        ({"dense_width": 7}, "dense_width"),
    ],
)
def test_parts_that_do_not_fit_one_another_are_told(change, told):
    with pytest.raises(ConfigError, match=told):
        replace(SMALL, **change)


def test_the_published_base_has_its_published_size_part_by_part():
    counts = count_parameters(replace(find_preset("mars-base"), reference_compat=True))
    assert counts == {
        "encoder_rgb": 87_918_944,
        "encoder_sar": 87_914_848,
        "mma": 50_376_704,
        "head_rgb": 3_148_800,
        "head_sar": 1_049_600,
        "temperature": 1,
        "teacher": 87_918_944,
    }
    assert sum(counts.values()) == 318_327_841
    # What the released files hold: without classifier, final norm and the mask's token.
    outside = 1024 * 1000 + 1000 + 2 * 1024 + 128
    assert [counts[f"encoder_{kind}"] - outside for kind in ("rgb", "sar")] == [86_891_768, 86_887_672]


def test_all_of_the_tiny_network_fits_what_is_shipped():
    counts = count_parameters(find_preset("mars-tiny"))
    assert sum(counts.values()) - counts["teacher"] <= 4_960_000


@BOTH
def test_pixels_that_are_hidden_change_nothing_at_all(config):
    network, (rgb, sar), mask = make_mars(config), draw_images(), draw_mask()
    hidden = mask.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)[:, None]
    others = (torch.where(hidden, image * -7 + 3, image) for image in (rgb, sar))
    with torch.no_grad():
        before, after = tensors(network(rgb, sar, mask)), tensors(network(*others, mask))
        seen = tensors(network(rgb, sar))
    assert len(before) == (12 if config is COMPAT else 13)
    for one, other, open_ in zip(before, after, seen, strict=True):
        assert float((one - other).abs().max()) == 0.0
        assert not torch.equal(one, open_)


def test_no_gradient_reaches_a_hidden_pixel_and_some_reaches_every_other():
    network, (rgb, sar), mask = make_mars(), draw_images(), draw_mask()
    images = [image.requires_grad_() for image in (rgb, sar)]
    answer = network(*images, mask)
    (answer.rebuilt_rgb.square().sum() + answer.rebuilt_sar.square().sum()).backward()
    hidden = mask.repeat_interleave(4, dim=1).repeat_interleave(4, dim=2)[:, None]
    for image in images:
        moved = image.grad.abs().amax(dim=1, keepdim=True) > 0
        assert not bool(moved[hidden].any())
        assert bool(moved[~hidden].all())


@pytest.mark.parametrize("shape", [(64, 64), (96, 160), (32, 64)], ids=str)
def test_maps_have_the_stated_shapes_at_any_size(shape):
    network, (rgb, sar) = small_mars(), draw_images(1, *shape)
    with torch.no_grad():
        answer = network(rgb, sar, draw_mask(count=1, shape=shape))
    expected = [
        (1, width, shape[0] // stride, shape[1] // stride)
        for width, stride in zip(SMALL.widths, SMALL.strides, strict=True)
    ]
    assert [tuple(one.shape) for one in answer.rgb_pyramid] == expected
    assert [tuple(one.shape) for one in answer.sar_pyramid] == expected
    cells = shape[0] * shape[1] // 1024
    assert answer.rgb_tokens.shape == answer.sar_tokens.shape == (1, cells, SMALL.width)
    assert answer.rebuilt_rgb.shape == rgb.shape
    assert answer.rebuilt_sar.shape == sar.shape
    assert tuple(answer.dense.shape) == (1, SMALL.dense_width, shape[0] // 4, shape[1] // 4)


def test_an_image_is_answered_the_same_alone_and_among_others():
    network, (rgb, sar) = small_mars(), draw_images(3)
    with torch.no_grad():
        together, alone = tensors(network(rgb, sar)), tensors(network(rgb[1:2], sar[1:2]))
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many[1:2], one, atol=1e-5, rtol=1e-4)


def test_a_missing_modality_is_guessed_from_the_other():
    network, (rgb, sar) = small_mars(), draw_images()
    with torch.no_grad():
        whole, from_sar, from_rgb = network(rgb, sar), network(None, sar), network(rgb, None)
        other = network(None, draw_images(seed=5)[1])
    assert from_sar.rgb_pyramid is None
    assert from_rgb.sar_pyramid is None
    assert all(torch.equal(*pair) for pair in zip(from_sar.sar_pyramid, whole.sar_pyramid, strict=True))
    for guess, shape in ((from_sar.rebuilt_rgb, rgb.shape), (from_rgb.rebuilt_sar, sar.shape)):
        assert guess.shape == shape
        assert bool(guess.isfinite().all())
    for name in ("rgb_tokens", "rebuilt_rgb"):  # what is guessed depends on what is seen
        assert not torch.equal(getattr(from_sar, name), getattr(other, name))
        assert not torch.equal(getattr(from_sar, name), getattr(whole, name))


def test_the_published_network_leaves_a_missing_modality_out():
    network, (_, sar) = make_mars(COMPAT), draw_images()
    with torch.no_grad():
        answer = network(None, sar)
        maps = MarsPyramid(network)(None, sar)
    assert answer.rgb_tokens is None
    assert answer.rebuilt_rgb is None
    assert answer.rebuilt_sar.shape == sar.shape
    assert all(not one[:, : one.shape[1] // 2].any() and one.any() for one in maps)


def test_guessing_is_learned_without_touching_what_is_guessed():
    torch.manual_seed(0)
    network, (rgb, sar) = Mars(SMALL), draw_images(4)
    sar = rgb.mean(dim=1, keepdim=True) * 2
    learning = [
        *network.rgb_from_sar.parameters(),
        *network.sar_from_rgb.parameters(),
        *network.mma.parameters(),
    ]
    optimiser = torch.optim.Adam(learning, lr=0.005)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        loss = network.filling_loss(network.look(rgb, sar))
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    for part in (network.encoder_rgb, network.encoder_sar):
        assert all(weight.grad is None for weight in part.parameters())
    with pytest.raises(InputError, match="both"):
        network.filling_loss(network.look(rgb, None))


def test_an_error_is_measured_by_the_spread_of_each_feature():
    truth = torch.randn(4, 3, 8, 8, dtype=torch.float64) * torch.tensor([1.0, 10.0, 100.0])[:, None, None]
    mean = truth.mean(dim=(0, 2, 3), keepdim=True).expand_as(truth)
    assert float(relative_error(truth, truth)) == 0.0
    assert float(relative_error(mean, truth)) == pytest.approx(1.0, abs=1e-3)


def test_all_that_learns_is_reached_and_reconstruction_gets_better():
    torch.manual_seed(0)
    network, (rgb, sar), mask = Mars(SMALL), draw_images(), draw_mask()
    smooth = [torch.nn.functional.avg_pool2d(image, 32).repeat_interleave(32, 2) for image in (rgb, sar)]
    rgb, sar = (image.repeat_interleave(32, 3) for image in smooth)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-2)
    losses = []
    for _ in range(15):
        optimiser.zero_grad()
        answer = network(rgb, sar, mask)
        errors = (answer.rebuilt_rgb - rgb).abs().mean() + (answer.rebuilt_sar - sar).abs().mean()
        (errors + network.filling_loss(answer)).backward()
        optimiser.step()
        losses.append(float(errors.detach()))
    assert losses[-1] < 0.5 * losses[0]
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []


def test_dropped_paths_are_a_matter_of_training_only():
    network, (rgb, sar) = make_mars(replace(SMALL, drop_path=0.5)), draw_images()
    with torch.no_grad():
        assert torch.equal(network(rgb, sar).dense, network(rgb, sar).dense)
        network.train()
        assert not torch.equal(network(rgb, sar).dense, network(rgb, sar).dense)
    assert find_preset("mars-tiny").drop_path == 0.0


def test_activations_computed_anew_give_the_same_gradients():
    (rgb, sar), mask = draw_images(), draw_mask()
    gradients = []
    for again in (False, True):
        network = make_mars(replace(SMALL, activation_checkpointing=again)).train()
        network(rgb, sar, mask).dense.square().mean().backward()
        gradients.append([w.grad for w in network.parameters() if w.grad is not None])
    assert len(gradients[0]) > 100
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)
    assert find_preset("mars-large").activation_checkpointing


def test_a_coarse_cell_knows_where_in_it_things_lie():
    torch.manual_seed(0)
    decoder = DenseDecoder((4, 8, 16, 32), 6)
    maps = [torch.zeros(1, 4 * 2**i, 16 // 2**i, 16 // 2**i) for i in range(3)]
    dense = decoder([*maps, torch.randn(1, 32, 2, 2)])
    assert tuple(dense.shape) == (1, 16, 16, 6)
    assert len(dense[0, :8, :8].flatten(0, 1).unique(dim=0)) == 64


@pytest.mark.parametrize("given", ["both", "rgb", "sar"])
def test_the_pyramid_has_the_widths_and_strides_it_states(given):
    pyramid, (rgb, sar) = MarsPyramid(small_mars()), draw_images(1, 64, 96)
    with torch.no_grad():
        maps = pyramid(None if given == "sar" else rgb, None if given == "rgb" else sar)
    assert pyramid.strides == (4, 8, 16, 32)
    stated = zip(pyramid.widths, pyramid.strides, strict=True)
    assert [tuple(one.shape) for one in maps] == [(1, w, 64 // s, 96 // s) for w, s in stated]
    assert sum(1 for _ in pyramid.parameters()) == sum(1 for _ in pyramid.network.parameters())


def test_the_dense_encoder_answers_for_either_modality_and_fills_gaps():
    encoder, (rgb, sar) = MarsDenseEncoder(make_mars().train()), draw_images()
    assert (encoder.name, encoder.width, encoder.stride_px, encoder.window_px) == ("small", 12, 4, 64)
    whole = encoder.encode({"rgb": rgb, "sar": sar})
    assert tuple(whole.shape) == (2, 12, 16, 16)
    assert torch.equal(whole, encoder.encode({"rgb": rgb, "sar": sar}))
    torch.testing.assert_close(whole, encoder.network(rgb, sar).dense.detach())
    for name, image in (("rgb", rgb), ("sar", sar)):
        assert encoder.encode({name: image}).shape == whole.shape
    holes, zeros = sar.clone(), sar.clone()
    holes[:, :, :9, :5], zeros[:, :, :9, :5] = float("nan"), 0.0
    assert torch.equal(encoder.encode({"sar": holes}), encoder.encode({"sar": zeros}))
    with pytest.raises(InputError, match="nir"):
        encoder.encode({"nir": sar})
    with pytest.raises(InputError, match="no dense map"):
        MarsDenseEncoder(make_mars(COMPAT))
    with pytest.raises(InputError, match="no dense map"):
        make_mars(COMPAT).densify(make_mars(COMPAT).look(rgb, sar))


def bad_inputs():
    """Return name → what is given and what the error must say."""
    rgb, sar = draw_images()
    empty = sar.clone()
    empty[1] = float("nan")
    mask = draw_mask()
    return {
        "none": ((None, None), "neither"),
        "two bands": ((rgb[:, :2], sar), r"rgb has the shape \(2, 2, 64, 64\); expected \(batch, 3,"),
        "no batch": ((rgb[0], None), "expected"),
        "side": ((rgb[..., :50], None), "64 px high, 50 px wide; expected multiples of 32"),
        "sizes": ((rgb, sar[..., :32]), "differ"),
        "batches": ((rgb, sar[:1]), "differ"),
        "whole numbers": ((rgb.to(torch.uint8), sar), "uint8"),
        "no data": ((rgb, empty), "Chip 1 of 2 has no finite sar pixel"),
        "int mask": ((rgb, sar, mask.long()), "int64"),
        "pixel mask": ((rgb, sar, mask.repeat_interleave(4, 1).repeat_interleave(4, 2)), r"\(2, 16, 16\)"),
    }


@pytest.mark.parametrize("case", list(bad_inputs()))
def test_bad_images_are_refused_in_one_line(case):
    given, told = bad_inputs()[case]
    network = small_mars()
    with pytest.raises(InputError, match=told) as caught:
        network(*given)
    assert "\n" not in str(caught.value)
    if len(given) == 2:
        with pytest.raises(InputError, match=told):
            MarsPyramid(network)(*given)
