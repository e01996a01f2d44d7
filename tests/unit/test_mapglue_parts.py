"""The parts of MapGlue that can be checked without any weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from infra.errors import InputError
from models.mapglue.adaptive_nms import best_keypoints, radius_levels, suppress
from models.mapglue.assignment import double_softmax, mutual_best
from models.mapglue.attention import DualGraphAttention, RotaryPositions
from models.mapglue.config import GlueConfig, MapGlueConfig
from models.mapglue.graph import plane_graph, semantic_graph
from models.mapglue.network import GlueNetwork
from models.mapglue.offsets import fit_affine, local_offsets
from models.mapglue.presets import PRESETS, find_preset
from models.mapglue.saliency import saliency_map
from models.mapglue.semantic import sample_map
from models.mapglue.side import Points
from models.mapglue.superpoint import SuperPoint

TINY = PRESETS["mapglue-tiny"]
EARLY = MapGlueConfig(
    "early",
    descriptor_width=48,
    semantic_width=16,
    glue=GlueConfig(width=32, heads=2, blocks=3, neighbours=6, exit_share=0.95, prune_below=0.01),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def points(config, count, seed, *, invalid=0):
    draw = torch.Generator().manual_seed(seed)
    descriptors = torch.randn(2, count, config.descriptor_width, generator=draw)
    valid = torch.ones(2, count, dtype=torch.bool)
    valid[:, count - invalid :] = False
    return Points(
        torch.rand(2, count, 2, generator=draw) * 2 - 1,
        torch.nn.functional.normalize(descriptors, dim=-1),
        torch.randn(2, count, config.semantic_width, generator=draw),
        valid,
    )


def glue(config=TINY, seed=0, **changes):
    torch.manual_seed(seed)
    network = GlueNetwork(config).eval()
    for name, value in changes.items():
        assert hasattr(network, name)
        setattr(network, name, value)
    with torch.no_grad():  # what starts at zero shall take part as well
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(std=0.3)
    return network


def reorder(given, order):
    return Points(*(value[:, order] for value in given))


def test_presets_are_known_by_name_and_others_are_refused():
    assert {"mapglue", "mapglue-fast", "mapglue-tiny"} == set(PRESETS)
    assert all(find_preset(name).name == name for name in PRESETS)
    with pytest.raises(InputError, match="mapglue-tiny"):
        find_preset("mapglue-huge")


def test_superpoint_has_the_published_size_and_shapes():
    network = SuperPoint().eval()
    assert sum(weight.numel() for weight in network.parameters()) == 1_300_865
    with torch.no_grad():
        features = network(torch.rand(1, 1, 64, 48))
    assert features.scores.shape == (1, 64, 48)
    assert features.descriptors.shape == (1, 256, 8, 6)
    torch.testing.assert_close(features.descriptors.norm(dim=1), torch.ones(1, 8, 6))
    cells = features.scores.unfold(1, 8, 8).unfold(2, 8, 8).sum(dim=(-1, -2))
    assert bool((cells < 1).all())


def test_suppression_equals_a_search_by_hand():
    rng = np.random.default_rng(3)
    scores = torch.from_numpy(np.round(rng.random((2, 23, 31)), 1).astype(np.float32))  # with many equals
    saliency = torch.from_numpy(rng.random((2, 23, 31)).astype(np.float32))
    radii = [1, 2, 4]
    kept = suppress(scores, saliency, radii)
    levels = radius_levels(saliency, 3, 4)
    assert set(levels.unique().tolist()) <= {0, 1, 2}
    for image in range(2):
        for y in range(23):
            for x in range(31):
                r = radii[levels[image, y, x]]
                around = scores[image, max(y - r, 0) : y + r + 1, max(x - r, 0) : x + r + 1]
                best = float(scores[image, y, x]) >= float(around.max())
                earlier = [
                    (v, u)
                    for v in range(max(y - r, 0), min(y + r + 1, 23))
                    for u in range(max(x - r, 0), min(x + r + 1, 31))
                    if scores[image, v, u] == scores[image, y, x] and (v, u) < (y, x)
                ]
                expected = scores[image, y, x] if best and not earlier else 0.0
                assert kept[image, y, x] == expected


def test_no_two_kept_points_lie_within_both_radii():
    rng = np.random.default_rng(4)
    scores = torch.from_numpy(rng.random((1, 60, 60)).astype(np.float32))
    saliency = torch.linspace(0, 1, 60).expand(1, 60, 60)
    levels = radius_levels(saliency, 2, 6)[0]
    radii = torch.tensor([2, 6])
    kept = torch.nonzero(suppress(scores, saliency, [2, 6])[0])
    apart = (kept[:, None] - kept[None]).abs().amax(dim=2) + 99 * torch.eye(len(kept), dtype=torch.long)
    radius = radii[levels[kept[:, 0], kept[:, 1]]]
    assert bool((apart > torch.minimum(radius[:, None], radius[None])).all())
    calm, busy = (kept[:, 1] < 20).sum(), (kept[:, 1] >= 40).sum()
    assert calm < busy


def test_best_keypoints_come_best_first_and_say_what_is_padding():
    scores = torch.zeros(1, 4, 5)
    scores[0, 1, 3], scores[0, 2, 0] = 0.5, 0.9
    xy, best, found = best_keypoints(scores, 3)
    assert xy[0, :2].tolist() == [[0.0, 2.0], [3.0, 1.0]]
    assert found[0].tolist() == [True, True, False]
    assert best[0, :2].tolist() == pytest.approx([0.9, 0.5])


def test_saliency_turns_with_the_image_and_is_nothing_on_flat_ground():
    image = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(1))
    turned = saliency_map(image.rot90(1, [2, 3]), 0.5)
    torch.testing.assert_close(turned, saliency_map(image, 0.5).rot90(1, [1, 2]), atol=1e-4, rtol=1e-4)
    assert saliency_map(torch.full((1, 1, 20, 20), 0.3), 0.5).max() < 0.01


def test_sampling_reads_a_ramp_at_its_pixels():
    ramp = torch.arange(16.0).reshape(1, 1, 1, 16).expand(1, 1, 8, 16)
    xy = torch.tensor([[[3.0, 2.0], [7.5, 4.25]]])
    torch.testing.assert_close(sample_map(ramp, xy, [8, 16])[0, :, 0], torch.tensor([3.0, 7.5]))
    coarse = torch.nn.functional.avg_pool2d(ramp, 4)
    torch.testing.assert_close(sample_map(coarse, xy, [8, 16])[0, :, 0], torch.tensor([3.0, 7.5]))


def test_graphs_name_the_nearest_and_never_padding():
    positions = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [0.1, 0.0]]])
    valid = torch.tensor([[True, True, True, False]])
    graph = plane_graph(positions, valid, 2)
    assert graph.nearest[0, :3].tolist() == [[0, 1], [1, 0], [2, 1]]
    assert bool(graph.valid[0, :3].all())
    torch.testing.assert_close(graph.edges[0, 0, 1], torch.tensor([1.0, 0.0, math.log(2.0)]))
    alike = semantic_graph(
        torch.tensor([[[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [1.0, 0.0]]]), positions, valid, 2
    )
    assert alike.nearest[0, 0].tolist() == [0, 2]
    few = plane_graph(positions, torch.tensor([[True, False, False, False]]), 3)
    assert few.valid[0, 0].tolist() == [True, False, False]


def test_edges_change_what_attention_sees():
    torch.manual_seed(0)
    layer, turns = DualGraphAttention(16, 2), RotaryPositions(8)
    given, positions = torch.randn(1, 12, 16), torch.rand(1, 12, 2)
    valid = torch.ones(1, 12, dtype=torch.bool)
    plane = plane_graph(positions, valid, 4)
    before = layer(given, turns(positions), plane, plane)
    with torch.no_grad():
        layer.plane_edges.weight.normal_(std=3)
    assert (layer(given, turns(positions), plane, plane) - before).abs().max() > 1e-4


def test_rows_and_columns_of_an_assignment_sum_to_at_most_one():
    mask0, mask1 = torch.ones(3, 20, dtype=torch.bool), torch.ones(3, 25, dtype=torch.bool)
    mask0[1, 7:], mask1[2, :] = False, False
    scores = double_softmax(torch.randn(3, 20, 25) * 6, mask0, mask1).exp()
    assert float(scores.sum(dim=1).max()) <= 1 + 1e-5
    assert float(scores.sum(dim=2).max()) <= 1 + 1e-5
    assert float(scores[1, 7:].max()) == 0.0
    assert float(scores[2].max()) == 0.0
    network = glue()
    with torch.no_grad():
        answers = network.answers(points(TINY, 40, 1), points(TINY, 30, 2))
    assert len(answers) == TINY.glue.blocks
    for answer in answers:
        assert float(answer.log_scores.exp().sum(dim=2).max()) <= 1
        assert float(answer.log_scores.exp().sum(dim=1).max()) <= 1


def test_mutual_best_wants_both_sides_and_the_threshold():
    scores = torch.tensor([[[0.9, 0.1], [0.8, 0.2], [0.0, 0.3]]]).log()
    partner, best = mutual_best(scores, 0.25)
    assert partner[0].tolist() == [0, -1, 1]
    assert best[0, 0] == pytest.approx(0.9)
    assert mutual_best(scores, 0.5)[0][0].tolist() == [0, -1, -1]
    assert mutual_best(torch.zeros(1, 3, 0), 0.1)[0].tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("config", [TINY, EARLY], ids=lambda config: config.name)
def test_the_answer_does_not_depend_on_the_order_of_keypoints(config):
    network = glue(config, threshold=0.0)
    given0, given1 = points(config, 40, 1, invalid=3), points(config, 30, 2)
    order0, order1 = torch.randperm(40), torch.randperm(30)
    with torch.no_grad():
        partner, scores = network(given0, given1)
        other, others = network(reorder(given0, order0), reorder(given1, order1))
    assert int((partner >= 0).sum()) > 3
    expected = partner[:, order0]
    back = torch.where(other >= 0, order1[other.clamp_min(0)], other)
    assert torch.equal(back, expected)
    torch.testing.assert_close(others, scores[:, order0], atol=1e-5, rtol=1e-3)


def test_padding_changes_nothing():
    network = glue(threshold=0.0)
    given0, given1 = points(TINY, 40, 1), points(TINY, 30, 2)
    padded = Points(*(torch.cat([value, torch.zeros_like(value[:, :9])], dim=1) for value in given1))
    with torch.no_grad():
        partner, scores = network(given0, given1)
        other, others = network(given0, padded)
    assert torch.equal(other, partner)
    torch.testing.assert_close(others, scores, atol=1e-6, rtol=1e-4)


def test_pairs_leave_when_they_are_sure_and_get_that_blocks_answer():
    config = EARLY
    network = glue(config, threshold=0.0, prune_below=0.0, exit_share=0.5)
    given0, given1 = points(config, 20, 1), points(config, 20, 2)
    with torch.no_grad():
        for doubt in network.token_confidence[:-1]:
            doubt.token[0].weight.zero_()
            doubt.token[0].bias.fill_(-9.0)
        last = network.answers(given0, given1)[-1]
        assert torch.equal(network(given0, given1)[0], mutual_best(last.log_scores, 0.0)[0])
        network.token_confidence[1].token[0].bias.fill_(9.0)
        second = network.answers(given0, given1)[1]
        assert torch.equal(network(given0, given1)[0], mutual_best(second.log_scores, 0.0)[0])


def test_points_that_will_not_match_leave_early():
    config = EARLY
    given0, given1 = points(config, 20, 1, invalid=4), points(config, 25, 2, invalid=9)
    network = glue(config, threshold=0.0, exit_share=0.0, prune_below=0.0)
    with torch.no_grad():
        for doubt in network.token_confidence[:-1]:
            doubt.token[0].weight.zero_()
            doubt.token[0].bias.fill_(9.0)
        whole = network(given0, given1)
        network.prune_below = 1e-9  # only the padding leaves: the rest is moved together
        packed = network(given0, given1)
        network.prune_below = 1.1  # all leave
        assert int((network(given0, given1)[0] >= 0).sum()) <= 2
    assert int((whole[0] >= 0).sum()) > 3
    assert torch.equal(packed[0], whole[0])
    torch.testing.assert_close(packed[1], whole[1], atol=1e-5, rtol=1e-3)


def test_offsets_find_a_shift_to_parts_of_a_cell():
    y, x = torch.meshgrid(torch.arange(40.0), torch.arange(40.0), indexing="ij")
    draw = torch.Generator().manual_seed(2)
    waves = torch.rand(24, 2, generator=draw) * 0.5, torch.rand(24, 1, 1, generator=draw) * 6

    def field(shift_x, shift_y):
        phase = waves[0][:, :1, None] * (x - shift_x) + waves[0][:, 1:, None] * (y - shift_y) + waves[1]
        return torch.nn.functional.normalize(torch.sin(phase)[None], dim=1)

    found = local_offsets(field(0, 0), field(1.3, -0.6), 3, 2)
    inner = found.xy[0, 8:-8, 8:-8]
    assert bool(found.valid[0, 8:-8, 8:-8].all())
    middle = inner.flatten(0, 1).median(dim=0).values
    torch.testing.assert_close(middle, torch.tensor([1.3, -0.6]), atol=0.1, rtol=0.0)


def test_an_affine_is_found_among_many_wrong_points():
    rng = np.random.default_rng(0)
    source = torch.from_numpy(rng.uniform(0, 300, (1, 400, 2)).astype(np.float32))
    truth = torch.tensor([[[1.03, -0.04, 5.0], [0.03, 0.98, -4.0]]])
    target = source @ truth[0, :, :2].T + truth[0, :, 2]
    wrong = torch.from_numpy(rng.uniform(-30, 30, (1, 160, 2)).astype(np.float32))
    target = torch.cat([target[:, :240], source[:, 240:] + wrong], dim=1)
    found, agreement = fit_affine(source, target, torch.ones(1, 400), [24.0, 12.0, 6.0, 3.0, 2.0, 2.0])
    moved = source @ found[0, :, :2].T + found[0, :, 2]
    assert float((moved - (source @ truth[0, :, :2].T + truth[0, :, 2])).norm(dim=2).max()) < 0.5
    assert float(agreement[0, :240].min()) > 0.8
