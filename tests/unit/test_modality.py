"""Training pairs: the same from the same seed, true to their transforms, within their levels and ranges."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
import torch

from infra.errors import InputError
from models.matching.images import prepare_image
from models.matching.transforms import apply_transform, image_corners, invert, warp_image
from models.matching.warps import LEVELS
from models.modality.draws import Draws
from models.modality.fields import bend, draw_field, smooth, steepness
from models.modality.labels import project
from models.modality.looks import DISTURBANCES, LOOKS, disturb, put_on
from models.modality.pairs import PairConfig, TrainingPairs, make_pairs, stretch_valid
from models.modality.renderings import RENDERINGS, draw_scene_pairs, render_scenes
from models.modality.scenes import STYLES, Cover, draw_scenes
from models.modality.sensors import draw_log_speckle

CPU = torch.device("cpu")
AS_IT_IS = PairConfig(single_looks={"plain": 1.0}, pair_looks={"plain": 1.0}, chances={}, swapped=0.0)


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pictures(count: int, channels: int = 3, side: int = 96) -> torch.Tensor:
    draws = Draws.start(seeded(9), count, CPU)
    return torch.cat([torch.sigmoid(draw_field(draws, (side, side), 8, 4)) for _ in range(channels)], 1)


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def ramps(side: int) -> torch.Tensor:
    """An image whose channels are its own pixel coordinates, so that a sample tells where it came from."""
    steps = torch.arange(float(side))
    planes = [steps.expand(side, side), steps[:, None].expand(side, side), torch.zeros(side, side)]
    return torch.stack(planes)[None] / side


def scene_pairs(seed: int, count: int = 5, size: int = 64, config: PairConfig | None = None) -> TrainingPairs:
    generator = seeded(seed)
    fixed, moving = draw_scene_pairs(count, size=96, generator=generator)
    return make_pairs(
        fixed, moving, level="hard", generator=generator, size=size, config=config or PairConfig()
    )


class TestSeeds:
    def test_same_seed_same_pairs_and_another_seed_others(self):
        first, again, other = scene_pairs(3), scene_pairs(3), scene_pairs(4)
        for layer in fields(TrainingPairs):
            assert torch.equal(getattr(first, layer.name), getattr(again, layer.name)), layer.name
        assert not torch.allclose(first.fixed_from_moving, other.fixed_from_moving)
        assert not torch.allclose(first.fixed, other.fixed)

    @pytest.mark.parametrize("paired", [False, True])
    def test_a_batch_equals_its_sources_one_by_one(self, paired):
        fixed = pictures(6)
        moving = pictures(6, 1) if paired else None
        config = PairConfig(chances=dict.fromkeys(DISTURBANCES, 0.5))
        batch = make_pairs(fixed, moving, level="normal", generator=seeded(), size=64, config=config)
        generator = seeded()
        for i in range(6):
            one = make_pairs(
                fixed[i : i + 1],
                None if moving is None else moving[i : i + 1],
                level="normal",
                generator=generator,
                size=64,
                config=config,
            )
            for layer in fields(TrainingPairs):
                expected = getattr(batch, layer.name)[i].double()
                # Sums run in another order in a batch, and a threshold can then fall the other way.
                off = (getattr(one, layer.name)[0].double() - expected).abs() > 1e-4
                assert off.double().mean() < 0.002, layer.name

    def test_scenes_belong_to_the_draw_and_not_to_the_count(self):
        many = draw_scenes(3, size=48, generator=seeded(), device=CPU)
        generator = seeded()
        for i in range(3):
            one = draw_scenes(1, size=48, generator=generator)
            assert (one.cover[0] != many.cover[i]).double().mean() < 0.002
            assert torch.allclose(one.terrain_px[0], many.terrain_px[i], atol=1e-3)

    def test_sources_are_left_alone(self):
        source = pictures(2)
        kept = source.clone()
        make_pairs(source, source, level="hard", generator=seeded(), size=48)
        assert torch.equal(source, kept)


class TestGeometry:
    @pytest.mark.parametrize("level", list(LEVELS))
    @pytest.mark.parametrize("perspective", [0.0, 0.05])
    def test_the_same_place_shows_the_same_content(self, level, perspective):
        config = PairConfig(
            single_looks={"plain": 1.0}, plain_fixed=1.0, chances={}, perspective=perspective, framed=0.0
        )
        source = ramps(160).mean(1, keepdim=True).repeat(4, 1, 1, 1)
        pairs = make_pairs(source, None, level=level, generator=seeded(2), size=64, config=config)
        grid = np.stack(np.meshgrid(np.arange(8.0, 56), np.arange(8.0, 56)), -1).reshape(-1, 2)
        for i in range(4):
            place = apply_transform(pairs.fixed_from_moving[i].numpy(), grid)
            inside = ((place > 0) & (place < 63)).all(1)
            inside &= pairs.moving_valid[i, 0].numpy()[grid[:, 1].astype(int), grid[:, 0].astype(int)]
            assert inside.sum() > 50
            shown = pairs.moving[i, 0].numpy()[grid[:, 1].astype(int), grid[:, 0].astype(int)][inside]
            there, _ = warp_image(
                pairs.fixed[i, 0].numpy(), invert(pairs.fixed_from_moving[i].numpy()), (64, 64)
            )
            there = there[grid[:, 1].astype(int), grid[:, 0].astype(int)][inside]
            middle = (np.minimum(there, shown) > 0.02) & (np.maximum(there, shown) < 0.98)
            # each side is stretched by itself, so the two agree up to a gain and an offset
            gain, offset = np.polyfit(there[middle], shown[middle], 1)
            assert gain > 0
            assert np.abs(gain * there[middle] + offset - shown[middle]).max() < 0.01

    def test_round_trip_of_the_truth(self):
        config = PairConfig(perspective=0.05)
        pairs = make_pairs(pictures(8), None, level="hard", generator=seeded(), size=64, config=config)
        xy = torch.rand(8, 40, 2, dtype=torch.float64) * 63
        there = project(torch.linalg.inv(pairs.fixed_from_moving), xy)
        assert (project(pairs.fixed_from_moving, there) - xy).abs().max() < 1e-6

    @pytest.mark.parametrize("level", list(LEVELS))
    def test_warps_stay_within_their_level(self, level):
        size, bounds = 48, LEVELS[level]
        pairs = make_pairs(
            pictures(200, 1, 49), None, level=level, generator=seeded(), size=size, config=AS_IT_IS
        )
        turns, scales, shifts = [], [], []
        for fixed_from_moving in pairs.fixed_from_moving.numpy():
            moving_from_fixed = invert(fixed_from_moving)
            a, b = moving_from_fixed[0, 0], moving_from_fixed[1, 0]
            turns.append(abs(math.degrees(math.atan2(b, a))))
            scales.append(math.hypot(a, b))
            middle = np.full((1, 2), (size - 1) / 2)
            shifts.append(np.abs(apply_transform(moving_from_fixed, middle) - middle).max() / size)
        close = 1e-9
        assert max(turns) <= bounds.rotation_deg + close
        assert max(shifts) <= bounds.shift + close
        assert bounds.scale[0] - close <= min(scales) <= max(scales) <= bounds.scale[1] + close
        if level != "none":  # and the level is used up to its ends
            assert max(turns) > 0.9 * bounds.rotation_deg
            assert max(shifts) > 0.9 * bounds.shift
            assert max(scales) - min(scales) > 0.9 * (bounds.scale[1] - bounds.scale[0])

    def test_perspective_moves_corners_by_no_more_than_asked(self):
        size = 64
        config = PairConfig(perspective=0.04)
        pairs = make_pairs(pictures(50, 1), None, level="none", generator=seeded(), size=size, config=config)
        corners = image_corners((size, size))
        moved = [
            np.linalg.norm(apply_transform(invert(t), corners) - corners, axis=1).max()
            for t in pairs.fixed_from_moving.numpy()
        ]
        assert 0.02 * size < max(moved) < 0.08 * size
        assert any(abs(t[2, 0]) > 1e-6 for t in pairs.fixed_from_moving.numpy())

    def test_crops_lie_within_the_source(self):
        pairs = make_pairs(pictures(40, 1), None, level="none", generator=seeded(), size=64, config=AS_IT_IS)
        assert pairs.fixed_valid.all()

    def test_framed_pairs_end_where_the_fixed_image_ends_and_others_go_on(self):
        source, valid = pictures(12, 1, 240), {}
        for framed in (0.0, 1.0):
            config = PairConfig(framed=framed, zoom=(0.6, 1.0))
            pairs = make_pairs(source, None, level="hard", generator=seeded(), size=48, config=config)
            valid[framed] = pairs.moving_valid
        within = []
        for fixed_from_moving in pairs.fixed_from_moving.numpy():
            _, inside = warp_image(np.ones((48, 48), np.float32), invert(fixed_from_moving), (48, 48))
            within.append(torch.from_numpy(inside))
        framed_expected = torch.stack(within)[:, None] & valid[0.0]
        assert (valid[1.0] != framed_expected).double().mean() < 0.001  # a border pixel may round either way
        assert valid[1.0].double().mean() < 0.8 < 0.95 < valid[0.0].double().mean()


class TestMasks:
    def test_invalid_pixels_are_zero_and_the_rest_fills_zero_to_one(self):
        pairs = scene_pairs(1, 12, 64)
        for image, valid in ((pairs.fixed, pairs.fixed_valid), (pairs.moving, pairs.moving_valid)):
            assert image.dtype == torch.float32
            assert valid.dtype == torch.bool
            assert image.isfinite().all()
            assert not image[~valid].any()
            assert image.min() >= 0
            assert image.max() <= 1
        assert pairs.fixed_from_moving.dtype == torch.float64
        assert not pairs.moving_valid.all()

    def test_nodata_of_the_source_is_nodata_of_the_pair(self):
        source = pictures(2)
        source[:, 1, 30:60, 30:60] = torch.nan
        pairs = make_pairs(source, None, level="easy", generator=seeded(), size=64)
        assert not pairs.fixed_valid.all()
        assert pairs.fixed.isfinite().all()
        assert pairs.moving.isfinite().all()
        everything = make_pairs(
            torch.full_like(source, torch.nan), None, level="easy", generator=seeded(), size=64
        )
        assert not everything.fixed_valid.any()
        assert not everything.fixed.any()

    def test_stretch_is_the_matchers_own(self):
        images = pictures(3, 1, 240)
        valid = draw_field(Draws.start(seeded(), 3, CPU), (240, 240), 3) < 0.8
        for stretched, image, seen in zip(stretch_valid(images, valid), images, valid, strict=True):
            expected = prepare_image(image[0].numpy(), seen[0].numpy()).grey
            assert np.abs(stretched[0].numpy() - expected).max() < 0.03
        flat = torch.full((1, 1, 32, 32), 0.4)
        assert not stretch_valid(flat, torch.ones_like(flat, dtype=torch.bool)).any()

    def test_small_images_are_stretched_to_the_digit(self):
        images = torch.rand(2, 1, 40, 40, generator=torch.Generator().manual_seed(0))
        valid = images > 0.2
        for stretched, image, seen in zip(stretch_valid(images, valid), images, valid, strict=True):
            expected = prepare_image(image[0].numpy(), seen[0].numpy()).grey
            assert np.abs(stretched[0].numpy() - expected).max() < 1e-5


class TestLooks:
    @pytest.mark.parametrize("name", [*LOOKS, *DISTURBANCES])
    @pytest.mark.parametrize("channels", [1, 3])
    def test_every_look_is_a_grey_image_of_its_own(self, name, channels):
        draws = Draws.start(seeded(), 3, CPU)
        change = LOOKS.get(name) or DISTURBANCES[name]
        image = pictures(3, channels if name in LOOKS else 1, 70)  # not a whole number of blocks
        seen = change(image, draws)
        assert seen.shape == (3, 1, 70, 70)
        assert seen.isfinite().all()
        assert seen.min() >= 0
        assert seen.max() <= 1
        if name != "plain" or channels == 3:
            assert not torch.allclose(seen, image[:, :1], atol=1e-3)

    @pytest.mark.parametrize("name", [*LOOKS, *DISTURBANCES])
    def test_a_constant_image_gives_no_nonsense(self, name):
        draws = Draws.start(seeded(), 2, CPU)
        change = LOOKS.get(name) or DISTURBANCES[name]
        seen = change(torch.full((2, 1, 32, 48), 0.5), draws)
        assert seen.shape == (2, 1, 32, 48)
        assert seen.isfinite().all()

    def test_radar_noise_has_the_variance_of_its_looks(self):
        draws = Draws.start(seeded(), 3, CPU)
        looks = torch.tensor([2.0, 4.0, 12.0])[:, None, None, None]
        intensity = draw_log_speckle(draws, (200, 200), looks).exp()
        assert torch.allclose(intensity.mean((1, 2, 3)), torch.ones(3), atol=0.03)
        assert torch.allclose(intensity.var((1, 2, 3)) * looks.flatten(), torch.ones(3), atol=0.08)

    def test_modalities_are_not_one_tone_curve_apart(self):
        fixed = pictures(8, 3, 128)
        draws = Draws.start(seeded(), 8, CPU)
        grey = put_on(fixed, ["plain"] * 8, draws)
        for name in ("map", "sar", "infrared", "relief", "edges", "night"):
            other = put_on(fixed, [name] * 8, draws)
            related = [abs(correlation(a, b)) for a, b in zip(grey, other, strict=True)]
            assert float(np.median(related)) < 0.8, name

    def test_disturbances_happen_as_often_as_asked(self):
        images = pictures(64, 1, 32)
        seen = disturb(images, {"noise": 0.5}, Draws.start(seeded(), 64, CPU))
        changed = (seen != images).flatten(1).any(1).sum()
        assert 20 <= changed <= 44
        assert torch.equal(disturb(images, {}, Draws.start(seeded(), 64, CPU)), images)

    def test_real_pairs_mostly_keep_their_own_difference(self):
        fixed, moving = pictures(30, 1), 1 - pictures(30, 1)
        config = PairConfig(chances={}, swapped=0.0, framed=0.0)
        pairs = make_pairs(fixed, moving, level="none", generator=seeded(), size=64, config=config)
        opposite = (pairs.fixed + pairs.moving - 1).abs().amax((1, 2, 3)) < 0.05
        assert 10 < opposite.sum() < 28

    def test_tone_curves_pass_through_their_knots(self):
        curve = torch.tensor([[0.0, 1.0, 0.25]])
        grey = torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]).view(1, 1, 1, 5)
        assert bend(grey, curve).flatten().tolist() == pytest.approx([0, 0.5, 1, 0.625, 0.25])

    def test_smoothing_keeps_the_mean_and_flattens(self):
        image = torch.rand(1, 1, 60, 60, generator=torch.Generator().manual_seed(0))
        assert smooth(image, 5).mean() == pytest.approx(float(image.mean()), abs=0.005)
        assert smooth(image, 5).std() < 0.2 * image.std()


class TestScenes:
    def test_every_cover_is_somewhere_and_every_style_differs(self):
        scenes = draw_scenes(40, size=64, generator=seeded())
        assert set(scenes.cover.unique().tolist()) == {int(cover) for cover in Cover}
        assert len(STYLES) >= 6
        assert (scenes.object_px >= 0).all()
        assert not scenes.object_px[(scenes.cover != Cover.ROOF) & (scenes.cover != Cover.FOREST)].any()
        assert (scenes.object_px[scenes.cover == Cover.ROOF] > 0).all()

    @pytest.mark.parametrize("name", list(RENDERINGS))
    def test_every_rendering_is_a_grey_image(self, name):
        scenes = draw_scenes(4, size=64, generator=seeded(1))
        shown = render_scenes(scenes, [name] * 4, Draws.start(seeded(2), 4, CPU))
        assert shown.shape == (4, 1, 64, 64)
        assert shown.isfinite().all()
        assert shown.min() >= 0
        assert shown.max() <= 1
        assert (shown.std((1, 2, 3)) > 0.005).all()

    def test_two_renderings_of_one_place_share_edges_and_of_two_places_do_not(self):
        first, second = draw_scene_pairs(24, size=128, generator=seeded(5))

        def edges(image: torch.Tensor) -> torch.Tensor:
            return steepness(smooth(image, 2))

        def alike(a: torch.Tensor, b: torch.Tensor) -> float:
            return float(np.median([correlation(one, other) for one, other in zip(a, b, strict=True)]))

        assert alike(edges(first), edges(second)) > 0.1
        assert abs(alike(edges(first), edges(second).roll(1, 0))) < 0.08


class TestRefusals:
    @pytest.mark.parametrize(
        ("fixed", "moving", "level", "size", "words"),
        [
            (torch.rand(1, 3, 40, 40), None, "brutal", 32, "'brutal'"),
            (torch.rand(1, 3, 40, 40), None, "easy", 8, "8 pixels"),
            (torch.rand(1, 4, 40, 40), None, "easy", 32, "(1, 4, 40, 40)"),
            (torch.zeros(1, 3, 40, 40, dtype=torch.uint8), None, "easy", 32, "uint8"),
            (torch.rand(3, 40, 40), None, "easy", 32, "(3, 40, 40)"),
            (torch.rand(1, 3, 40, 40), torch.rand(1, 1, 40, 41), "easy", 32, "(1, 1, 40, 41)"),
            (torch.rand(2, 3, 40, 40), torch.rand(1, 3, 40, 40), "easy", 32, "(1, 3, 40, 40)"),
        ],
    )
    def test_sources_that_make_no_pairs(self, fixed, moving, level, size, words):
        with pytest.raises(InputError, match=re.escape(words)):
            make_pairs(fixed, moving, level=level, generator=seeded(), size=size)

    def test_names_and_numbers_out_of_range(self):
        draws = Draws.start(seeded(), 1, CPU)
        with pytest.raises(InputError, match=r"'sonar'.*sar"):
            put_on(pictures(1), ["sonar"], draws)
        with pytest.raises(InputError, match=r"'sonar'.*noise"):
            disturb(pictures(1, 1), {"sonar": 1.0}, draws)
        with pytest.raises(InputError, match=r"'sonar'.*radar"):
            render_scenes(draw_scenes(1, size=32, generator=seeded()), ["sonar"], draws)
        with pytest.raises(InputError, match="0 scenes"):
            draw_scenes(0, size=64, generator=seeded())


def test_needs_neither_cv2_nor_rasterio_nor_scipy():
    code = (
        "import sys, models.modality.renderings, models.modality.pairs, models.modality.labels; "
        "print(sorted({'cv2', 'rasterio', 'scipy', 'prefect'} & sys.modules.keys()))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
