"""Figures on answers whose figures are known: by hand, in closed form, or by another way of counting."""

import numpy as np
import pytest

from infra.errors import InputError
from models.scores.detection import Detections, TrueBoxes, overlap_boxes, score_detections
from models.scores.pictures import measure_psnr, measure_ssim
from models.scores.probe import fit_logistic
from models.scores.regression import score_regression
from models.scores.retrieval import rank_partners, recall_at
from models.scores.segmentation import count_confusion, score_confusion

# --- class maps ---------------------------------------------------------------------------------------


def test_class_maps_are_scored_as_by_hand():
    truth = np.array([[0, 0, 1, 1], [2, 2, 2, 9]])
    answer = np.array([[0, 1, 1, 1], [2, 2, 0, 1]])
    table = count_confusion(truth, answer, 4, ignored=9)
    assert table.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 2, 0], [0, 0, 0, 0]]
    scores = score_confusion(table)
    np.testing.assert_allclose(scores.iou, [1 / 3, 2 / 3, 2 / 3, np.nan])
    np.testing.assert_allclose(scores.f1, [1 / 2, 4 / 5, 4 / 5, np.nan])
    assert scores.mean_iou == pytest.approx(5 / 9)
    assert scores.mean_f1 == pytest.approx(0.7)
    assert scores.accuracy == pytest.approx(5 / 7)


def test_tables_of_images_add_up(rng):
    truth, answer = rng.integers(0, 5, (2, 6, 20, 20))
    whole = count_confusion(truth, answer, 5)
    parts = sum(count_confusion(one, other, 5) for one, other in zip(truth, answer, strict=True))
    np.testing.assert_array_equal(whole, parts)
    per_class = [
        ((truth == c) & (answer == c)).sum() / ((truth == c) | (answer == c)).sum() for c in range(5)
    ]
    np.testing.assert_allclose(score_confusion(whole).iou, per_class)


@pytest.mark.parametrize(
    ("truth", "answer"),
    [
        (np.zeros((2, 2), int), np.zeros((2, 3), int)),
        (np.zeros(3), np.zeros(3)),
        (np.array([3]), np.array([0])),
        (np.array([0]), np.array([-1])),
    ],
)
def test_classes_that_cannot_be_counted_are_refused(truth, answer):
    with pytest.raises(InputError):
        count_confusion(truth, answer, 3)


# --- boxes --------------------------------------------------------------------------------------------


def boxes(*rows):
    return np.array(rows, np.float64).reshape(-1, 4)


def truth_of(*rows, labels=None, crowd=None):
    crowd = None if crowd is None else np.array(crowd)
    return TrueBoxes(boxes(*rows), np.array(labels or [0] * len(rows), np.int64), crowd)


def found_of(*rows, scores, labels=None):
    return Detections(
        boxes(*rows), np.array(labels or [0] * len(rows), np.int64), np.array(scores, np.float64)
    )


BOX, FAR = (0, 0, 10, 10), (50, 50, 60, 60)


def test_overlap_is_the_shared_part():
    found = boxes((0, 0, 10, 10), (20, 20, 20, 30))
    true = boxes((0, 5, 10, 15), (100, 100, 110, 110))
    np.testing.assert_allclose(overlap_boxes(found, true), [[50 / 150, 0], [0, 0]])
    np.testing.assert_allclose(overlap_boxes(found, true, np.array([True, False]))[0], [0.5, 0])


def test_a_perfect_detector_has_everything():
    scores = score_detections(
        [truth_of(BOX, FAR), truth_of(BOX)],
        [found_of(FAR, BOX, scores=[0.9, 0.2]), found_of(BOX, scores=[0.4])],
    )
    assert (scores.ap, scores.ap50, scores.ap75, scores.recall) == (1, 1, 1, 1)
    assert scores.ap_by_area["small"] == 1
    assert np.isnan(scores.ap_by_area["large"])


def test_a_wrong_box_costs_by_its_place_in_the_order():
    # Two to find. Found in order: right, wrong, right. Precision is 1 up to a recall of 1/2 (51 of the 101
    # recalls), then 2/3.
    after = score_detections(
        [truth_of(BOX, FAR)], [found_of(BOX, (200, 200, 210, 210), FAR, scores=[0.9, 0.8, 0.7])]
    )
    assert after.ap == pytest.approx((51 + 50 * 2 / 3) / 101)
    # Wrong first: 1/2 at the first, 2/3 at the second; the falling curve is 2/3 everywhere.
    before = score_detections(
        [truth_of(BOX, FAR)], [found_of((200, 200, 210, 210), BOX, FAR, scores=[0.9, 0.8, 0.7])]
    )
    assert before.ap == pytest.approx(2 / 3)
    missed = score_detections([truth_of(BOX, FAR)], [found_of(BOX, scores=[0.9])])
    assert (missed.ap, missed.recall) == (pytest.approx(51 / 101), 0.5)
    doubled = score_detections([truth_of(BOX)], [found_of(BOX, BOX, scores=[0.9, 0.8])])
    assert doubled.ap == 1.0  # the second comes after the recall is full
    assert score_detections([truth_of(BOX)], [found_of(scores=[])]).ap == 0


def test_a_box_that_is_off_counts_at_the_overlaps_it_reaches():
    # 10 × 10 against 10 × 8 within it: an overlap of 0.8 passes 0.50 to 0.80, seven of ten.
    scores = score_detections([truth_of(BOX)], [found_of((0, 0, 10, 8), scores=[1.0])])
    assert scores.ap == pytest.approx(0.7)
    assert (scores.ap50, scores.ap75) == (1, 1)


def test_classes_are_averaged_and_those_without_boxes_left_out():
    truths = [truth_of(BOX, FAR, labels=[1, 7])]
    scores = score_detections(truths, [found_of(BOX, BOX, FAR, scores=[0.9, 0.8, 0.7], labels=[1, 3, 3])])
    assert scores.ap == pytest.approx(0.5)
    assert np.isnan(score_detections([truth_of()], [found_of(BOX, scores=[1.0])]).ap)


def test_detections_in_a_crowd_count_neither_way():
    crowd = (100, 100, 200, 200)
    truths = [truth_of(BOX, crowd, crowd=[False, True])]
    inside = [(110, 110, 120, 120), (130, 130, 140, 140)]
    scores = score_detections(truths, [found_of(*inside, BOX, scores=[0.9, 0.8, 0.7])])
    assert scores.ap == 1.0


def test_sizes_are_told_apart():
    large = (0, 0, 200, 200)
    scores = score_detections(
        [truth_of(BOX, large)], [found_of(large, (300, 300, 310, 310), scores=[0.9, 0.95])]
    )
    assert scores.ap_by_area["large"] == 1.0  # the small false one is set aside among the large
    assert scores.ap_by_area["small"] == 0.0


def test_only_a_hundred_detections_of_an_image_count():
    wrong = [(300 + 10 * i, 0, 305 + 10 * i, 5) for i in range(100)]
    rows = found_of(*wrong, BOX, scores=[*np.linspace(1, 0.5, 100), 0.1])
    assert score_detections([truth_of(BOX)], [rows]).ap == 0
    more = score_detections(
        [truth_of(BOX)], [found_of(*wrong[1:], BOX, scores=[*np.linspace(1, 0.5, 99), 0.1])]
    )
    assert more.ap == pytest.approx(0.01)


def test_average_precision_equals_a_plain_count(rng):
    """Count again, one overlap and one class, straight from the definition."""
    truths, answers = [], []
    for _ in range(12):
        corners = rng.uniform(0, 80, (6, 2))
        true = np.hstack([corners, corners + rng.uniform(8, 20, (6, 2))])
        moved = true[:5] + rng.normal(0, 1.5, (5, 4))
        stray = rng.uniform(0, 60, (4, 2))
        found = np.vstack([moved, np.hstack([stray, stray + 12])])
        truths.append(TrueBoxes(true, np.zeros(6, np.int64)))
        answers.append(Detections(found, np.zeros(9, np.int64), rng.uniform(size=9)))
    rows = []
    for truth, answer in zip(truths, answers, strict=True):
        free = set(range(6))
        for index in np.argsort(-answer.scores):
            shares = overlap_boxes(answer.boxes_xyxy[[index]], truth.boxes_xyxy)[0]
            best = max(free, key=lambda one: shares[one], default=None)
            hit = best is not None and shares[best] >= 0.5
            free -= {best} if hit else set()
            rows.append((answer.scores[index], hit))
    rows.sort(reverse=True)
    hits = np.cumsum([hit for _, hit in rows])
    recall, precision = hits / 72, hits / np.arange(1, len(rows) + 1)
    expected = np.mean([precision[recall >= r].max(initial=0) for r in np.linspace(0, 1, 101)])
    assert score_detections(truths, answers).ap50 == pytest.approx(expected)
    assert 0.2 < expected < 0.95


def test_boxes_that_make_no_sense_are_refused():
    for answer in (
        found_of((10, 10, 0, 0), scores=[1.0]),
        found_of((0, 0, np.nan, 1), scores=[1.0]),
        found_of(BOX, scores=[np.nan]),
        found_of(BOX, scores=[1.0, 0.5]),
    ):
        with pytest.raises(InputError):
            score_detections([truth_of(BOX)], [answer])
    with pytest.raises(InputError):
        score_detections([truth_of(BOX)], [])


# --- quantities, pictures, neighbours -----------------------------------------------------------------


def test_heights_are_scored_as_by_hand():
    truth = np.array([0.0, 2.0, 4.0, 8.0, np.nan])
    answer = np.array([1.0, 2.4, 6.0, -1.0, 3.0])
    scores = score_regression(truth, answer)
    assert scores.rmse == pytest.approx(np.sqrt((1 + 0.16 + 4 + 81) / 4))
    assert scores.mae == pytest.approx((1 + 0.4 + 2 + 9) / 4)
    assert scores.deltas == (pytest.approx(1 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert scores.count == 4
    assert score_regression(truth, answer, valid=truth < 5).count == 3
    with pytest.raises(InputError):
        score_regression(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(InputError):
        score_regression(np.array([1.0]), np.array([np.inf]))


def test_psnr_is_the_ratio_in_decibels():
    truth = np.zeros((3, 20, 20))
    assert measure_psnr(truth, truth + 0.1) == pytest.approx(20)
    assert measure_psnr(255 * truth, 255 * truth + 25.5, span=255) == pytest.approx(20)
    assert measure_psnr(truth, truth) == float("inf")


def test_ssim_equals_the_formula_window_by_window(rng):
    truth = rng.uniform(size=(2, 16, 19))
    answer = np.clip(truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    offset = np.arange(-5, 6)
    window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for band in range(2):
        for y in range(5, 11):
            for x in range(5, 14):
                one = truth[band, y - 5 : y + 6, x - 5 : x + 6]
                other = answer[band, y - 5 : y + 6, x - 5 : x + 6]
                mean_1, mean_2 = (window * one).sum(), (window * other).sum()
                var_1 = (window * (one - mean_1) ** 2).sum()
                var_2 = (window * (other - mean_2) ** 2).sum()
                cov = (window * (one - mean_1) * (other - mean_2)).sum()
                values.append(
                    (2 * mean_1 * mean_2 + 1e-4)
                    * (2 * cov + 9e-4)
                    / ((mean_1**2 + mean_2**2 + 1e-4) * (var_1 + var_2 + 9e-4))
                )
    assert measure_ssim(truth, answer) == pytest.approx(np.mean(values), rel=1e-10)
    assert measure_ssim(truth, truth) == pytest.approx(1)
    flat = np.full((1, 12, 12), 0.25)
    closed = (2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4)
    assert measure_ssim(flat, 3 * flat) == pytest.approx(closed)
    with pytest.raises(InputError):
        measure_ssim(truth[:, :8], answer[:, :8])


def test_partners_are_ranked_among_all(rng):
    gallery = np.eye(4)
    queries = np.array([[1, 0, 0, 0], [0.9, 1, 0, 0], [1, 1, 0.5, 0], [0.0, 0, 0, 3]])
    assert rank_partners(queries, gallery).tolist() == [0, 0, 2, 0]
    assert recall_at(rank_partners(queries, gallery), (1, 2, 3)) == {1: 0.75, 2: 0.75, 3: 1.0}
    same = np.ones((30, 5))
    assert recall_at(rank_partners(same, same))[1] == 0.0
    many = rng.normal(size=(2500, 8))
    assert recall_at(rank_partners(many, np.vstack([many, rng.normal(size=(9, 8))])))[1] == 1.0
    with pytest.raises(InputError):
        rank_partners(many, many[:10])


def test_logistic_regression_reaches_the_optimum(rng):
    features = rng.normal(size=(300, 3)) * [1, 5, 0.2] + [0, 2, -1]
    labels = (features[:, 0] + 0.5 * rng.normal(size=300) > 0).astype(int) + (features[:, 1] > 6)
    probe = fit_logistic(features, labels, 3, strength=0.01)
    assert (probe.classify(features) == labels).mean() > 0.7
    scale = features.std(axis=0)
    x = (features - features.mean(axis=0)) / scale
    logits = probe.predict(features)
    part = np.exp(logits - logits.max(axis=1, keepdims=True))
    off = part / part.sum(axis=1, keepdims=True) - np.eye(3)[labels]
    gradient = x.T @ off / 300 + 0.01 * probe.weights * scale[:, None]
    np.testing.assert_allclose(gradient, 0, atol=1e-5)
    np.testing.assert_allclose(off.mean(axis=0), 0, atol=1e-5)
    with pytest.raises(InputError):
        fit_logistic(features, labels, 2)
    with pytest.raises(InputError):
        fit_logistic(np.full((3, 2), np.nan), labels[:3] * 0, 2)
