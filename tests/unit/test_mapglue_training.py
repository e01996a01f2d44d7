"""MapGlue learns: a small one knows eight pairs by heart, and the tiny one's lessons are what they say."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from models.mapglue.config import DetectionConfig, GlueConfig, MapGlueConfig
from models.mapglue.lessons import LessonConfig, draw_lesson
from models.mapglue.loss import confidence_loss, descriptor_loss, masked_mean, match_loss
from models.mapglue.network import BlockAnswer
from models.mapglue.training import MapGlueLearner, look_at, mapglue_tiny
from models.matching.metrics import area_under_curve, measure_corner_error
from models.modality.pairs import TrainingPairs

SMALL = MapGlueConfig(
    "small",
    extractor="structure",
    descriptor_width=16,
    semantic_width=16,
    detection=DetectionConfig(radii_px=(2, 3), border_px=2, max_keypoints=64),
    glue=GlueConfig(width=32, heads=2, blocks=2, neighbours=6),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def shifted_pairs(count, size):
    """Draw random blocks, and the same reversed and moved by whole cells: keypoints fall on keypoints."""
    rng = np.random.default_rng(5)
    fixed, moving, transforms = [], [], []
    for _ in range(count):
        image = np.full((size + 32, size + 32), 0.5, np.float32)
        for _ in range(90):
            y, x, height, width = *rng.integers(0, size + 32, 2), *rng.integers(5, 22, 2)
            image[y : y + height, x : x + width] = rng.uniform()
        right, down = 4 * rng.integers(-3, 4, 2)
        fixed.append(image[16 : 16 + size, 16 : 16 + size])
        moving.append(1 - image[16 - down : 16 - down + size, 16 - right : 16 - right + size])
        transforms.append(np.array([[1.0, 0, -right], [0, 1, -down], [0, 0, 1]]))
    images = [torch.from_numpy(np.stack(side))[:, None] for side in (fixed, moving)]
    valid = torch.ones_like(images[0], dtype=torch.bool)
    return TrainingPairs(images[0], images[1], torch.from_numpy(np.stack(transforms)), valid, valid)


def test_eight_pairs_are_learned_by_heart():
    learner = MapGlueLearner(SMALL, keypoints=48)
    module = learner.build(0)
    batch = shifted_pairs(8, 80)
    optimiser = torch.optim.AdamW(module.parameters(), lr=6e-3)
    first = last = float("nan")
    for step in range(32):
        loss, _ = learner.loss(module, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        last = loss.item()
        first = last if step == 0 else first
    module.eval()
    with torch.no_grad():
        both = look_at(module, batch, 48)
        partner, _ = module.glue(both.points(0), both.points(1))
    errors = []
    for i in range(8):
        rows = torch.nonzero(partner[i] >= 0)[:, 0]
        fixed = both.keypoints[0].xy[i, rows].numpy().astype(np.float64)
        moving = both.keypoints[1].xy[i, partner[i, rows]].numpy().astype(np.float64)
        found = cv2.estimateAffinePartial2D(moving, fixed, ransacReprojThreshold=0.5)[0]
        assert found is not None
        found = np.vstack([found, [0, 0, 1]])
        errors.append(measure_corner_error(found, batch.fixed_from_moving[i].numpy(), (80, 80)))
    assert last < 0.5 * first
    assert area_under_curve(errors, 3.0) > 0.95


def test_the_tiny_preset_learns_from_the_same_batch_each_time_it_is_asked():
    learner = mapglue_tiny()
    lessons = LessonConfig(pairs=2, size_px=96, scene_px=128, scenes=2)
    first, other = draw_lesson(lessons, 3, 5), draw_lesson(lessons, 3, 6)
    again = draw_lesson(lessons, 3, 5)
    assert torch.equal(first.fixed, again.fixed)
    assert torch.equal(first.fixed_from_moving, again.fixed_from_moving)
    assert not torch.equal(first.fixed, other.fixed)
    assert first.fixed.shape == (2, 1, 96, 96)
    module = learner.build(1)
    loss, parts = learner.loss(module, first)
    loss.backward()
    assert {"matches", "confidence", "descriptors"} == set(parts)
    assert float(loss.detach()) == pytest.approx(
        sum(float(part.detach()) for part in parts.values()), rel=1e-5
    )
    still = [name for name, weight in module.named_parameters() if weight.grad is None]
    assert not still
    torch.testing.assert_close(learner.build(1).state_dict(), module.state_dict())


def test_the_tiny_preset_is_scored_on_places_it_never_learns_from():
    learner = MapGlueLearner(SMALL, LessonConfig(pairs=2, size_px=96, scene_px=128, scenes=2), keypoints=32)
    module = learner.build(0)
    scores = learner.evaluate(module, torch.device("cpu"))
    assert set(scores) == {"score", "precision_3px", "recall_3px"}
    assert all(0 <= value <= 1 for value in scores.values())
    assert scores == learner.evaluate(module, torch.device("cpu"))
    assert not module.training


def test_tiny_weights_stay_below_ten_megabytes():
    module = mapglue_tiny().build(0)
    assert 2 * sum(value.numel() for value in module.state_dict().values()) < 10e6


def answer(scores, lonely0, lonely1, sure=0.0):
    return BlockAnswer(
        scores, lonely0, lonely1, torch.full_like(lonely0, sure), torch.full_like(lonely1, sure)
    )


def test_match_loss_is_the_written_out_sum():
    scores = torch.tensor([[[-0.1, -3.0], [-2.0, -0.4]]])
    lonely0, lonely1 = torch.tensor([[-5.0, -0.2]]), torch.tensor([[-4.0, -0.3]])
    partner = torch.tensor([[0, -1]])
    loss = match_loss(
        [answer(scores, lonely0, lonely1)],
        partner,
        torch.tensor([[False, True]]),
        torch.tensor([[False, True]]),
    )
    assert float(loss) == pytest.approx(0.5 * 0.1 + 0.25 * 0.2 + 0.25 * 0.3)
    both = [answer(scores, lonely0, lonely1), answer(scores - 1, lonely0, lonely1)]
    none = torch.zeros(1, 2, dtype=torch.bool)
    assert float(match_loss(both, partner, none, none)) == pytest.approx(0.5 * (0.1 + 1.1) / 2)
    assert float(match_loss(both, torch.full((1, 2), -1), none, none)) == 0.0


def test_confidence_learns_whether_the_last_block_agrees():
    same, turned = torch.tensor([[[-0.1, -3.0], [-2.0, -0.4]]]), torch.tensor([[[-3.0, -0.1], [-0.4, -2.0]]])
    zero = torch.zeros(1, 2)
    agreeing = confidence_loss([answer(same, zero, zero, sure=5.0), answer(same, zero, zero)])
    deceived = confidence_loss([answer(turned, zero, zero, sure=5.0), answer(same, zero, zero)])
    assert float(agreeing) < 0.01
    assert float(deceived) > 4
    assert float(confidence_loss([answer(same, zero, zero)])) == 0.0


def test_descriptor_loss_counts_neither_close_nor_unseen_places_as_wrong():
    similarity = torch.tensor([[[5.0, 5.0, 0.0], [5.0, 5.0, 0.0], [0.0, 0.0, 5.0]]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    apart, near = torch.zeros(1, 3, 3, dtype=torch.bool), torch.zeros(1, 3, 3, dtype=torch.bool)
    near[0, 0, 1] = near[0, 1, 0] = True
    assert float(descriptor_loss(similarity, valid, apart)) > 0.4
    assert float(descriptor_loss(similarity, valid, near)) < 0.05
    assert float(descriptor_loss(similarity, torch.tensor([[True, False, True]]), apart)) < 0.05
    assert float(masked_mean(torch.tensor([1.0, torch.nan]), torch.tensor([True, False]))) == 1.0
    assert float(masked_mean(torch.ones(2), torch.zeros(2, dtype=torch.bool))) == 0.0
