"""Every downstream task learns eight chips by heart, and is measured on places it never saw."""

import math

import pytest
import torch

from models.decoders.small_pyramids import ConvPyramid
from models.downstream.learner import measure
from models.downstream.lessons import LessonConfig, draw_batch
from models.downstream.network import DownstreamNetwork
from models.downstream.tasks import TASKS, find_task

LESSONS = LessonConfig(chips=8, size_px=32)


pytestmark = pytest.mark.usefixtures("one_thread")


def small_network(task):
    torch.manual_seed(0)
    return DownstreamNetwork(ConvPyramid((16, 16, 24, 32)), "fpn", 16, task.make_head(16), tuned=True)


def learn_by_heart(task, batch, steps):
    network = small_network(task)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(steps):
        warm = min(1.0, (step + 1) / 5)
        optimiser.param_groups[0]["lr"] = 1e-2 * warm * (0.52 + 0.5 * math.cos(math.pi * step / steps))
        loss, _ = task.loss(network(batch.views), batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
    return measure(task, network, [batch])


# Seed of the chips, figure, what it reaches, and in how many steps. What is left is speckle and the sun,
# which so few steps do not tell from structure, and tie points that are 4 pixels apart.
CEILINGS = {
    "registration": (1, "auc_10px", 0.65, 45),
    "translation": (1, "psnr_db", 20.0, 95),
    "mapping": (1, "miou", 0.7, 80),
    "targets": (1, "ap", 0.8, 45),
    "buildings": (1, "ap", 0.8, 50),
    "height": (1, "delta1", 0.75, 70),
    "change": (1, "iou", 0.8, 70),
    "roads": (2, "iou", 0.75, 80),
    "damage": (2, "f1", 0.8, 80),
}


@pytest.mark.parametrize("name", TASKS)
def test_eight_chips_are_learned_by_heart(name):
    task = find_task(name)
    seed, figure, ceiling, steps = CEILINGS[name]
    batch = draw_batch(task.place, LESSONS, seed, 0, held_out=False)
    learned = learn_by_heart(task, batch, steps)
    trivial = task.measure(task.learn_trivial([batch]), [batch])
    assert learned[figure] >= ceiling
    assert learned["score"] > trivial["score"]
    assert set(learned) == set(trivial)
    assert task.headline in learned
