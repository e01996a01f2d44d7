"""Labels of keypoints: against brute force, at their thresholds, and where there is nothing to label."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from infra.errors import InputError
from models.matching.transforms import apply_transform, invert
from models.matching.warps import LEVELS, draw_warp
from models.modality.labels import label_matches, project


class TestLabels:
    def cases(self, seed: int):
        rng = np.random.default_rng(seed)
        warps = np.stack([draw_warp(LEVELS["normal"], (64, 64), rng) for _ in range(3)])
        transforms = torch.from_numpy(warps)
        moving = torch.from_numpy(rng.uniform(0, 63, (3, 50, 2)))
        there = project(transforms, moving)[:, 5:45]
        fixed = there + torch.from_numpy(rng.normal(0, 2.0, there.shape))
        fixed[0, :3], moving[1, 7] = torch.nan, torch.nan
        fixed_valid, moving_valid = torch.from_numpy(rng.uniform(size=(2, 3, 1, 64, 64)) > 0.2)
        return fixed, moving, transforms, fixed_valid, moving_valid

    @pytest.mark.parametrize("seed", range(4))
    def test_equals_brute_force(self, seed):
        fixed, moving, *truth = self.cases(seed)
        labels = label_matches(fixed, moving, *truth)
        transforms, fixed_valid, moving_valid = (part.numpy() for part in truth)
        for b in range(3):
            expected = brute_force(
                fixed[b].numpy(), moving[b].numpy(), transforms[b], fixed_valid[b, 0], moving_valid[b, 0]
            )
            found = (
                labels.fixed_to_moving[b], labels.moving_to_fixed[b],
                labels.fixed_unmatchable[b], labels.moving_unmatchable[b],
            )  # fmt: skip
            for one, other in zip(found, expected, strict=True):
                assert one.tolist() == other
        assert (labels.fixed_to_moving >= 0).any()
        assert labels.fixed_unmatchable.any()
        assert ((labels.fixed_to_moving < 0) & ~labels.fixed_unmatchable & ~fixed.isnan().any(-1)).any()

    def test_thresholds(self):
        whole = torch.ones(1, 1, 40, 40, dtype=torch.bool)
        moving = torch.tensor([[[20.0, 20.0]]])
        for apart, matched, ruled_out in ((2.9, True, False), (3.1, False, False), (5.1, False, True)):
            labels = label_matches(
                moving + torch.tensor([apart, 0.0]), moving, torch.eye(3)[None], whole, whole
            )
            assert bool(labels.fixed_to_moving[0, 0] == 0) is matched
            assert bool(labels.moving_unmatchable[0, 0]) is ruled_out

    def test_no_keypoints_at_all_on_one_side(self):
        whole = torch.ones(2, 1, 40, 40, dtype=torch.bool)
        labels = label_matches(
            torch.zeros(2, 0, 2), torch.full((2, 4, 2), 9.0), torch.eye(3).repeat(2, 1, 1), whole, whole
        )
        assert labels.fixed_to_moving.shape == (2, 0)
        assert labels.moving_to_fixed.tolist() == [[-1] * 4] * 2
        assert labels.moving_unmatchable.all()

    def test_behind_the_vanishing_line_is_unmatchable(self):
        whole = torch.ones(1, 1, 40, 40, dtype=torch.bool)
        tilted = torch.tensor([[[1.0, 0, 0], [0, 1, 0], [-0.1, 0, 1]]])
        fixed, moving = torch.tensor([[[5.0, 5.0]]]), torch.tensor([[[30.0, 5.0]]])
        labels = label_matches(fixed, moving, tilted, whole, whole)
        assert project(tilted, moving).isinf().all()
        assert labels.moving_unmatchable.all()
        assert labels.fixed_to_moving.tolist() == [[-1]]

    def test_labels_of_shapes_that_do_not_fit(self):
        whole = torch.ones(1, 1, 8, 8, dtype=torch.bool)
        with pytest.raises(InputError, match=r"\(1, 5, 3\)"):
            label_matches(torch.zeros(1, 5, 3), torch.zeros(1, 5, 2), torch.eye(3)[None], whole, whole)


def brute_force(fixed, moving, fixed_from_moving, fixed_valid, moving_valid):
    in_moving, in_fixed = (
        apply_transform(invert(fixed_from_moving), fixed),
        apply_transform(fixed_from_moving, moving),
    )
    n, m = len(fixed), len(moving)
    apart = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            both = math.dist(fixed[i], in_fixed[j]), math.dist(in_moving[i], moving[j])
            if not any(map(math.isnan, both)):
                apart[i, j] = max(both)

    def seen(place, valid):
        if np.isnan(place).any() or np.isinf(place).any():
            return False
        column, row = math.floor(place[0] + 0.5), math.floor(place[1] + 0.5)
        return 0 <= row < valid.shape[0] and 0 <= column < valid.shape[1] and bool(valid[row, column])

    forth, back = [-1] * n, [-1] * m
    for i in range(n):
        j = int(np.argmin(apart[i]))
        if apart[i, j] < 3 and int(np.argmin(apart[:, j])) == i:
            forth[i], back[j] = j, i
    far = apart > 5
    fixed_out = [
        forth[i] < 0
        and not np.isnan(fixed[i]).any()
        and bool(far[i].all() or not seen(in_moving[i], moving_valid))
        for i in range(n)
    ]
    moving_out = [
        back[j] < 0
        and not np.isnan(moving[j]).any()
        and bool(far[:, j].all() or not seen(in_fixed[j], fixed_valid))
        for j in range(m)
    ]
    return forth, back, fixed_out, moving_out
