"""Compare matchers on pairs whose truth is known, by the rules of the protocol."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from models.matching.cases import KnownPair, MatchingCase, prepare_case
from models.matching.estimate import Estimate, Estimator, estimate_transform
from models.matching.matches import Matcher, Matches
from models.matching.metrics import (
    area_under_curve,
    count_within,
    measure_corner_error,
    measure_landmark_error,
    measure_precision,
)
from models.matching.protocol import MatchingProtocol


@dataclass(frozen=True)
class Fit:
    """What one estimator made of a pair's tie points.

    Attributes:
        estimate: the transform, or why there is none.
        landmark_error_px: mean; infinite for a failure, None without landmarks.
        corner_error_px: mean; infinite for a failure, None without a true transform.
    """

    estimate: Estimate
    landmark_error_px: float | None
    corner_error_px: float | None

    @property
    def error_px(self) -> float:
        """The error that success is counted by: at the landmarks, else at the corners."""
        if self.landmark_error_px is not None:
            return self.landmark_error_px
        return float("inf") if self.corner_error_px is None else self.corner_error_px


@dataclass(frozen=True)
class PairResult:
    """How a matcher did on one pair.

    Attributes:
        pair: the pair's id.
        kind: its class.
        seconds: wall time of the matcher alone.
        matches: tie points that counted.
        precision: share of them at their true places; None without a true transform.
        fits: one for each of the protocol's estimators, in that order.
    """

    pair: str
    kind: str
    seconds: float
    matches: Matches
    precision: float | None
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class Evaluation:
    """How a matcher did on all pairs."""

    matcher: str
    protocol: MatchingProtocol
    results: tuple[PairResult, ...]


def evaluate(pairs: Iterable[KnownPair], matcher: Matcher, protocol: MatchingProtocol) -> Evaluation:
    """Match every pair and measure how far off the answers are.

    Pairs are taken one at a time, so they may be read as they are needed. The first one is matched once
    beforehand, so that no time holds what a matcher does only once.
    """
    results: list[PairResult] = []
    for pair in pairs:
        case = prepare_case(pair, protocol)
        if not results:
            _match_case(matcher, case)
        results.append(_evaluate_case(case, matcher, protocol))
    return Evaluation(matcher.name, protocol, tuple(results))


def _evaluate_case(case: MatchingCase, matcher: Matcher, protocol: MatchingProtocol) -> PairResult:
    started = time.perf_counter()
    matches = _match_case(matcher, case)
    seconds = time.perf_counter() - started
    best = slice(protocol.max_keypoints)
    matches = Matches(matches.fixed_xy[best], matches.moving_xy[best], matches.scores[best])
    truth = case.fixed_from_moving
    return PairResult(
        pair=case.id,
        kind=case.kind,
        seconds=seconds,
        matches=matches,
        precision=None if truth is None else measure_precision(matches, truth, protocol.precision_px),
        fits=tuple(_fit(case, matches, estimator) for estimator in protocol.estimators),
    )


def _match_case(matcher: Matcher, case: MatchingCase) -> Matches:
    return matcher.match(
        case.fixed, case.moving, fixed_valid=case.fixed_valid, moving_valid=case.moving_valid
    )


def _fit(case: MatchingCase, matches: Matches, estimator: Estimator) -> Fit:
    estimate = estimate_transform(matches, case.moving_shape, estimator)
    found, truth = estimate.fixed_from_moving, case.fixed_from_moving
    return Fit(
        estimate=estimate,
        landmark_error_px=(
            None if case.landmarks_xy is None else measure_landmark_error(found, *case.landmarks_xy)
        ),
        corner_error_px=None if truth is None else measure_corner_error(found, truth, case.moving_shape),
    )


def summarise(evaluation: Evaluation) -> dict[str, Any]:
    """Return the figures of an evaluation as plain values.

    The headline figures are the first estimator's; ``estimators`` has those of all. ``auc_at_px`` are parts
    of 1, over the pairs whose true transform is known; None where none has one.

    Returns:
        ``name``, ``pairs``, ``success_at_px``, ``auc_at_px``, ``mean_precision``,
        ``median_seconds_per_pair``, ``by_class``, ``estimators``, ``results``.
    """
    protocol, results = evaluation.protocol, evaluation.results
    kinds = sorted({result.kind for result in results})
    return {
        "name": evaluation.matcher,
        **_figures(results, protocol),
        "median_seconds_per_pair": _round(statistics.median(result.seconds for result in results), 4),
        "by_class": {
            kind: _figures([result for result in results if result.kind == kind], protocol) for kind in kinds
        },
        "estimators": [
            {"kind": estimator.kind, "threshold_px": estimator.threshold_px}
            | _fit_figures([result.fits[number] for result in results], protocol)
            for number, estimator in enumerate(protocol.estimators)
        ],
        "results": [_pair_figures(result) for result in results],
    }


def _figures(results: Iterable[PairResult], protocol: MatchingProtocol) -> dict[str, Any]:
    results = list(results)
    precisions = [result.precision for result in results if result.precision is not None]
    return {
        "pairs": len(results),
        **_fit_figures([result.fits[0] for result in results], protocol),
        "mean_precision": _round(statistics.fmean(precisions), 4) if precisions else None,
        "median_matches": statistics.median(len(result.matches) for result in results),
    }


def _fit_figures(fits: list[Fit], protocol: MatchingProtocol) -> dict[str, Any]:
    errors = [fit.error_px for fit in fits]
    corners = [fit.corner_error_px for fit in fits if fit.corner_error_px is not None]
    return {
        "success_at_px": {f"{limit:g}": count_within(errors, limit) for limit in protocol.success_px},
        "auc_at_px": {
            f"{limit:g}": _round(area_under_curve(corners, limit), 4) if corners else None
            for limit in protocol.auc_px
        },
    }


def _pair_figures(result: PairResult) -> dict[str, Any]:
    first = result.fits[0]
    return {
        "id": result.pair,
        "class": result.kind,
        "seconds": _round(result.seconds, 4),
        "matches": len(result.matches),
        "inliers": int(first.estimate.inliers.sum()),
        "landmark_error_px": _finite(first.landmark_error_px),
        "corner_error_px": _finite(first.corner_error_px),
        "precision": None if result.precision is None else _round(result.precision, 4),
        "failure": first.estimate.reason,
    }


def _finite(error: float | None) -> float | None:
    """Return an error for JSON, which knows no infinity: None for a failure."""
    return None if error is None or error == float("inf") else _round(error, 3)


def _round(value: float, digits: int) -> float:
    return round(float(value), digits)
