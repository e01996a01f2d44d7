"""Lessons, configurations, learners and the matcher of the downstream tasks."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from infra.errors import DataError, InputError, NotFoundError
from models.decoders.small_pyramids import ConvPyramid, FixedPyramid
from models.downstream.boxes import MOST_BOXES, box_loss, find_boxes, pad_boxes
from models.downstream.config import find_config, parse_config, read_config
from models.downstream.descriptors import match_descriptors
from models.downstream.drawn import HELD_OUT_SEED
from models.downstream.evaluation import (
    WEIGHTS_NAME,
    load_network,
    measure_task,
    override_config,
    read_learner,
    train_task,
)
from models.downstream.learner import DownstreamLearner, learner_of, measure
from models.downstream.lessons import LessonConfig, cut_chips, draw_batch, show_only
from models.downstream.matcher import FeatureMatcher, load_matcher
from models.downstream.network import DownstreamNetwork
from models.downstream.pyramids import build_pyramid
from models.downstream.registration import TRANSFORM, resample_parts, standardise_images
from models.downstream.segmentation import CLASSES
from models.downstream.tasks import TASKS, find_task
from models.matchers import build_matcher
from models.matching.transforms import apply_transform, similarity
from models.training.registry import TRAINABLES, load_trainable

CPU = torch.device("cpu")
TINY = {
    "pyramid": {"name": "fixed", "tuned": False},
    "decoder": {"width": 8},
    "lessons": {"chips": 4, "size_px": 32, "held_out": 1},
    "training": {"steps": 2, "warmup_steps": 0, "threads": 1},
}


def tiny(task, **tables):
    return DownstreamLearner(parse_config({"task": task} | TINY | tables, "a test"))


def tensors_of(batch):
    return [image for view in batch.views for image in view if image is not None] + list(batch.truth.values())


# --- lessons ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TASKS)
def test_the_same_seed_and_number_give_the_same_chips_in_any_order(name):
    place, config = TASKS[name].place, LessonConfig(chips=4, size_px=32)
    first = draw_batch(place, config, 3, 5, held_out=False)
    others = [
        draw_batch(place, config, *numbers, held_out=held)
        for numbers, held in (((3, 6), False), ((4, 5), False), ((3, 5), True))
    ]
    again = draw_batch(place, config, 3, 5, held_out=False)
    assert all(torch.equal(*pair) for pair in zip(tensors_of(first), tensors_of(again), strict=True))
    for other in others:
        assert not torch.equal(tensors_of(first)[0], tensors_of(other)[0])
    assert len(first) == 4
    assert all(len(one) == 4 for one in tensors_of(first))


def test_chips_are_the_four_quarters_of_a_place():
    layer = torch.arange(2 * 6 * 6.0).view(1, 2, 6, 6)
    chips = cut_chips(layer)
    torch.testing.assert_close(chips[0], layer[0, :, :3, :3])
    torch.testing.assert_close(chips[1], layer[0, :, :3, 3:])
    torch.testing.assert_close(chips[2], layer[0, :, 3:, :3])


@pytest.mark.parametrize(
    "numbers", [{"chips": 6}, {"size_px": 48}, {"held_out": 0}, {"missing": 1.5}, {"reuse": 0}]
)
def test_lessons_that_cannot_be_are_refused(numbers):
    with pytest.raises(InputError):
        LessonConfig(**numbers)


def test_changes_are_where_the_two_days_differ_most():
    batch = draw_batch(TASKS["change"].place, LessonConfig(chips=8, size_px=64), 1, 0, held_out=True)
    before, after = (view.rgb for view in batch.views)
    off = (before - after).abs().mean(dim=1)
    changed = batch.truth[CLASSES] == 1
    assert 0.01 < changed.float().mean() < 0.4
    assert off[changed].mean() > 1.1 * off[~changed].mean()


def test_the_true_transform_says_where_each_pixel_was_taken():
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    truth = torch.from_numpy(np.stack([similarity(rotation_deg=20, scale=1.1, shift=(3, 9))] * 2))
    corners = torch.tensor([[10.0, 20.0], [40.0, 30.0]], dtype=torch.float64)
    across, down = (resample_parts(axis[None, None], truth, corners, 48)[:, 0] for axis in (x, y))
    for part, corner in enumerate(corners.numpy()):
        for column, row in ((8, 4), (30, 20), (40, 31)):
            meant = apply_transform(truth[part].numpy(), np.array([[column, row]], float))[0] + corner
            got = across[part, row, column].item(), down[part, row, column].item()
            assert got == pytest.approx(meant, abs=1e-3)


def test_shifts_and_scales_of_the_registration_task_are_those_it_states():
    batch = draw_batch(TASKS["registration"].place, LessonConfig(chips=8, size_px=64), 5, 0, held_out=True)
    truth = batch.truth[TRANSFORM]
    assert truth.shape == (8, 3, 3)
    scales = np.sqrt(np.linalg.det(truth[:, :2, :2].numpy()))
    assert (abs(scales - 1) < 0.08).all()
    moved = (truth[:, :2, 2].abs().amax(dim=1) > 4).float().mean()
    assert moved > 0.5


def test_a_missing_image_is_taken_away_for_the_whole_batch():
    learner = tiny("mapping", lessons=TINY["lessons"] | {"missing": 0.5})
    shown = [tuple(image is not None for image in learner.batch(0, step, CPU).views[0]) for step in range(12)]
    assert {(True, True), (True, False), (False, True)} == set(shown)
    only = show_only(learner.batch(0, 0, CPU), "sar")
    assert only.views[0].rgb is None


# --- boxes --------------------------------------------------------------------------------------------


def test_boxes_that_are_answered_exactly_cost_nothing_and_are_found():
    boxes = torch.tensor([[[8.0, 12.0, 20.0, 22.0], [40.0, 36.0, 52.0, 60.0]]])
    labels = torch.tensor([[0, 0]])
    output = torch.full((1, 5, 16, 16), 0.01)
    output[:, 0] = -12
    for left, top, right, bottom in boxes[0].tolist():
        column, row = int((left + right) / 8), int((top + bottom) / 8)
        output[0, 0, row, column] = 8
        for y in range(16):
            for x in range(16):
                if abs(y - row) <= 2 and abs(x - column) <= 2:
                    middle_x, middle_y = 4 * x + 2, 4 * y + 2
                    reach = middle_x - left, middle_y - top, right - middle_x, bottom - middle_y
                    output[0, 1:, y, x] = torch.tensor(reach) / 4
    middles, sides = box_loss(output, boxes, labels)
    assert float(middles) < 0.01
    assert float(sides) < 1e-4
    (found,) = find_boxes(output)
    best = found.scores > 0.5
    torch.testing.assert_close(found.boxes_xyxy[best].sort(dim=0).values, boxes[0].sort(dim=0).values)
    nothing = box_loss(output, torch.zeros(1, 3, 4), torch.full((1, 3), -1))
    assert all(torch.isfinite(part) for part in nothing)


def test_more_boxes_than_are_learned_from_lose_the_smallest():
    sides = torch.arange(1.0, 101.0)
    corners = torch.stack([0 * sides, 0 * sides, sides, sides], dim=1)
    boxes, labels = pad_boxes(corners, torch.zeros(100, dtype=torch.int64))
    assert boxes.shape == (MOST_BOXES, 4)
    assert boxes[:, 2].min() == 100 - MOST_BOXES + 1
    few, labels = pad_boxes(torch.ones(2, 4), torch.zeros(2, dtype=torch.int64))
    assert few.shape == (MOST_BOXES, 4)
    assert labels.tolist() == [0, 0] + [-1] * (MOST_BOXES - 2)


# --- registration -------------------------------------------------------------------------------------


def test_descriptions_that_are_unlike_find_their_partners():
    generator = torch.Generator().manual_seed(0)
    cells = torch.nn.functional.normalize(torch.randn(16, 12, 20, generator=generator), dim=0)
    moving = cells.roll((2, -3), (1, 2))
    matches = match_descriptors(cells, moving)
    inner = (matches.fixed_xy[:, 0] > 16) & (matches.fixed_xy[:, 1] < 36)
    shift = matches.moving_xy[inner] - matches.fixed_xy[inner]
    assert len(shift) > 100
    np.testing.assert_allclose(np.median(shift, axis=0), [-12, 8], atol=0.2)
    assert (np.diff(matches.scores) <= 0).all()
    assert matches.fixed_xy.dtype == np.float32


@pytest.fixture(scope="module")
def matcher():
    torch.manual_seed(0)
    head = find_task("registration").make_head(8)
    return FeatureMatcher(DownstreamNetwork(FixedPyramid(), "fpn", 8, head, tuned=False))


def test_the_matcher_follows_the_protocol(matcher, rng):
    image = np.kron(rng.integers(0, 255, (12, 18)), np.ones((6, 6))).astype(np.uint8)
    colour = np.dstack([image] * 3)
    valid = np.ones(image.shape, np.bool_)
    valid[:, :40] = False
    matches = matcher.match(image, image, fixed_valid=valid, moving_valid=valid)
    assert len(matches) > 20
    assert (matches.fixed_xy[:, 0] >= 39).all()
    assert (matches.moving_xy.max(axis=0) <= [107.5, 71.5]).all()
    assert np.median(np.abs(matches.fixed_xy - matches.moving_xy)) < 1
    again = matcher.match(image, image, fixed_valid=valid, moving_valid=valid)
    np.testing.assert_array_equal(matches.moving_xy, again.moving_xy)
    assert matcher.match(colour, image[:50, :70]).scores.ndim == 1
    with_nan = np.where(valid, image, np.nan)
    assert (matcher.match(with_nan, image).fixed_xy[:, 0] >= 39).all()
    assert len(matcher.match(np.zeros_like(image), image)) == 0
    with pytest.raises(InputError):
        matcher.match(np.zeros((3, 3, 3, 3)), image)


def test_a_matcher_is_loaded_by_the_weights_of_the_registration_task(tmp_path, rng):
    module = learner_of("registration").build(0)
    save_file(dict(module.state_dict()), tmp_path / "weights.safetensors")
    loaded = load_matcher(tmp_path / "weights.safetensors")
    image = rng.uniform(size=(40, 50))
    assert loaded.match(image, image).fixed_xy.shape[1] == 2
    with pytest.raises(NotFoundError):
        load_matcher(tmp_path / "none.safetensors")


def test_a_trained_matcher_is_one_among_the_others(tmp_path, rng):
    train_task(tiny("registration"), tmp_path, CPU)
    weights = tmp_path / WEIGHTS_NAME
    image = rng.uniform(size=(40, 50))
    assert build_matcher("features", weights=weights).match(image, image).fixed_xy.shape[1] == 2
    with pytest.raises(InputError, match="No weights come with 'features'"):
        build_matcher("features")
    train_task(tiny("roads"), tmp_path / "roads", CPU)
    with pytest.raises(DataError, match="trained for roads"):
        build_matcher("features", weights=tmp_path / "roads" / WEIGHTS_NAME)


def test_images_of_any_range_are_standardised():
    images = torch.rand(2, 3, 8, 8) * torch.tensor([1.0, 100.0, 1e4]).view(1, 3, 1, 1)
    shown = standardise_images(images)
    assert float(shown.mean().abs()) < 1e-4
    assert torch.isfinite(standardise_images(torch.zeros(1, 1, 8, 8))).all()


# --- networks and learners ----------------------------------------------------------------------------


def test_a_frozen_pyramid_stays_as_it_is():
    task = find_task("roads")
    network = DownstreamNetwork(ConvPyramid((8, 8, 8, 8)), "fpn", 8, task.make_head(8), tuned=False).train()
    assert not network.pyramid.training
    assert network.head.training
    batch = draw_batch(task.place, LessonConfig(chips=4, size_px=32), 0, 0, held_out=False)
    task.loss(network(batch.views), batch)[0].backward()
    assert all(weight.grad is None for weight in network.pyramid.parameters())
    assert all(weight.grad is not None for weight in network.decoder.parameters())


def test_every_task_has_a_configuration_and_can_be_trained_by_name():
    for name in TASKS:
        config = find_config(name)
        assert config.task == name
        learner = load_trainable(f"downstream-{name}")
        assert learner.defaults == config.training
        assert learner.name.startswith(f"downstream-{name}-")
        assert learner.name == DownstreamLearner(config).name
        facts = learner.facts
        assert facts.signature.inputs
        assert facts.signature.outputs
        assert TASKS[name].title in facts.summary
    assert {f"downstream-{name}" for name in TASKS} <= set(TRAINABLES)


@pytest.mark.parametrize("name", TASKS)
def test_every_learner_is_measured_beside_the_trivial_answer(name):
    learner = tiny(name)
    module = learner.build(0)
    loss, parts = learner.loss(module, learner.batch(0, 0, CPU))
    assert torch.isfinite(loss)
    assert parts
    module.train()
    figures = learner.evaluate(module, CPU)
    assert module.training
    assert figures == learner.evaluate(module, CPU)
    trivial = learner.measure_trivial(0)
    assert set(figures) == set(trivial)
    assert {"score", learner.task.headline} <= set(figures)
    assert all(np.isfinite(value) for value in trivial.values())


def test_another_pyramid_is_another_training():
    assert tiny("roads").name != tiny("roads", pyramid={"name": "conv"}).name != "downstream-roads"
    assert tiny("roads").name == tiny("roads", training={"steps": 9}).name


def test_an_edited_file_is_another_training(tmp_path):
    filed = Path("config/downstream/roads.toml").read_text()
    path = tmp_path / "roads.toml"
    names = set()
    for text in (filed, filed.replace("width = 24", "width = 16"), filed.replace("reuse = 4", "reuse = 2")):
        path.write_text(text)
        names.add(DownstreamLearner(read_config(path)).name)
    assert len(names) == 3
    assert learner_of("roads").name in names


def test_weights_that_hold_the_pyramid_need_no_others(tmp_path):
    config = parse_config(
        {
            "task": "registration",
            "decoder": {"width": 8},
            "pyramid": {"name": "mars-tiny", "weights": "none"},
        },
        "a test",
    )
    learner = DownstreamLearner(config)
    with pytest.raises(NotFoundError):
        learner.build(0)
    module = learner.build_bare()
    weights = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file(weights, tmp_path / "weights.safetensors")
    read = load_network(learner, tmp_path / "weights.safetensors")
    assert all(torch.equal(value, read.state_dict()[name]) for name, value in weights.items())


def test_a_task_is_trained_kept_and_measured_again(tmp_path):
    learner = tiny("roads", training=TINY["training"] | {"steps": 3, "evaluate_every": 1})
    result = train_task(learner, tmp_path / "run", CPU)
    assert (result.steps, result.chips, result.task) == (3, 4, "roads")
    assert result.better == (result.figures["score"] > result.trivial["score"])
    kept = read_learner(tmp_path / "run" / WEIGHTS_NAME)
    assert (kept.config.task, kept.config.pyramid.name, kept.config.decoder.width) == ("roads", "fixed", 8)
    again = measure_task(learner, tmp_path / "run" / WEIGHTS_NAME, CPU)
    assert again.figures == pytest.approx(result.figures)
    module = learner.build(0)
    state = {name: value.contiguous() for name, value in module.state_dict().items()}
    save_file(state, tmp_path / "weights.safetensors")
    measured = measure_task(learner, tmp_path / "weights.safetensors", CPU)
    held_out = draw_batch(learner.task.place, learner.config.lessons, HELD_OUT_SEED, 0, held_out=True)
    assert measured.figures == measure(learner.task, module, [held_out])
    first = next(iter(state))
    wrong = torch.zeros(1), state[first] * torch.nan
    for broken in ({first: state[first]}, *(state | {first: one} for one in wrong)):
        save_file(broken, tmp_path / "broken.safetensors")
        with pytest.raises(DataError, match=r"broken\.safetensors"):
            load_network(learner, tmp_path / "broken.safetensors")
    other = override_config(learner, pyramid="conv", tuned=True, training={"steps": 3})
    with pytest.raises(InputError):
        train_task(other, tmp_path / "run", CPU)


def test_mars_is_a_pyramid_like_the_others():
    config = parse_config(
        {"task": "roads", "pyramid": {"name": "mars-tiny", "weights": "fresh"}}, "x"
    ).pyramid
    torch.manual_seed(0)
    pyramid = build_pyramid(config)
    maps = pyramid(torch.randn(1, 3, 64, 64), None)
    assert [one.shape[1] for one in maps] == list(pyramid.widths)
    assert [64 // one.shape[2] for one in maps] == list(pyramid.strides)
    for name, weights in (("vgg", ""), ("conv", "a.safetensors"), ("fixed", "fresh")):
        with pytest.raises(InputError):
            build_pyramid(dataclasses.replace(config, name=name, weights=weights))
    with pytest.raises(NotFoundError):
        build_pyramid(dataclasses.replace(config, weights="none.safetensors"))


# --- configurations -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('task = "roads"\n[training]\nstep = 3', "did you mean 'steps'"),
        ('task = "roads"\n[training]\nsteps = "many"', "expected int"),
        ('task = "roads"\n[training]\nsteps = 1.5', "expected int"),
        ('task = "roads"\n[training]\nsteps = true', "expected int"),
        ('task = "roads"\n[training]\nsteps = 0', "1 or more"),
        ('task = "roads"\n[training]\nprecision = "half"', "float32"),
        ('task = "roads"\n[lessons]\nchips = 5', "multiple of 4"),
        ('task = "roads"\npyramid = "conv"', "expected a table"),
        ("[lessons]\nchips = 8", "lacks task"),
        ('task = "roads"\n[data]\ntrain = "a"', "lacks test"),
        ('task = "roads"\n[data]\ntrain = "a"\ntest = ""', "name both"),
        ('task = "roads"\n[data]\ntrain = "a"\ntest = "b"\nkind = "zip"', "choose one of"),
        ('task = "roads"\n[data]\ntrain = "a"\ntest = "b"\ntest_part = "middle"', "left, right"),
        ('task = "roads"\n[data]\ntrain = "a"\ntest = "b"\nrgb_bands = [4, 3]', "three bands"),
        ('task = "roads"\n[data]\ntrain = "a"\ntest = "b"\nrgb_bands = 4', "expected a list"),
        ('task = "roads"\n[data]\ntrain = "a"\ntest = "b"\nvalues = ["water"]', "expected a table"),
        ("task = roads", "no TOML"),
        ("task = 5", "expected str"),
    ],
)
def test_configurations_are_read_strictly(tmp_path, text, words):
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


def test_configurations_take_whole_numbers_for_parts(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text('task = "roads"\n[lessons]\nmissing = 1\n[training]\nthreads = 2')
    config = read_config(path)
    assert config.lessons.missing == 1.0
    assert config.training.threads == 2
    with pytest.raises(NotFoundError):
        read_config(tmp_path / "none.toml")
    with pytest.raises(InputError, match="no downstream task"):
        find_task("road")
