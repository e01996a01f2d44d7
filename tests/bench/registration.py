"""Measure registration on sample worlds: how near to the truth, and how often it is refused, rightly or not.

Each trial is a pair of an optical and a radar picture. *True*: the same ground, off by the world's own shift,
turn and scale and by up to 8 pixels more. *Unrelated*: ground of two different worlds. *Sea*: the same open
sea at two moments, with its ships, in squares of 256 pixels. Worlds are drawn from seeds that no default
uses; trials from --seed.

    python -m tests.bench.registration [--matcher phase] [--trials 200] [--edge 384] [--folder DIR]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from models.matchers import build_matcher
from models.matching.matches import Matcher
from tests.support.registration import Pair, Town, cut_pair, draw_corners, error_px, load_town, register_pair

_MOST_EXTRA_PX = 8
_MOST_WET = 0.5
_SEA_EDGE = 256  # worlds have no larger squares of nothing but sea; some have none


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    options.add_argument("--matcher", default="phase")
    options.add_argument("--device", default="cpu")
    options.add_argument("--trials", type=int, default=200)
    options.add_argument("--edge", type=int, default=384, help="of the pictures, pixels")
    options.add_argument("--worlds", type=int, default=4)
    options.add_argument("--size", type=int, default=1024, help="of a world, pixels")
    options.add_argument("--kinds", nargs="+", choices=sorted(DRAWS), default=sorted(DRAWS))
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--folder", type=Path, help="keep the worlds here")
    asked = options.parse_args()
    matcher = build_matcher(asked.matcher, asked.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = asked.folder or Path(scratch)
        towns = [
            load_town(folder / f"world-{number}", seed=9000 + number, size_px=asked.size, radar=number % 2)
            for number in range(asked.worlds)
        ]
        print(
            f"{asked.matcher} on {asked.device}, pictures of {asked.edge} px, seed {asked.seed}", flush=True
        )
        for name in asked.kinds:
            pairs = DRAWS[name](towns, asked.edge, np.random.default_rng(asked.seed))
            report(name, pairs, matcher, asked.trials)


def draw_true(towns: list[Town], edge: int, rng: np.random.Generator) -> Iterator[Pair]:
    corners = [draw_corners(town, edge, rng, most_wet=_MOST_WET) for town in towns]
    while True:
        number = int(rng.integers(len(towns)))
        row, col = next(corners[number])
        down, right = rng.integers(-_MOST_EXTRA_PX, _MOST_EXTRA_PX + 1, 2).tolist()
        yield cut_pair(towns[number], towns[number], (row, col), (row + down, col + right), edge)


def draw_unrelated(towns: list[Town], edge: int, rng: np.random.Generator) -> Iterator[Pair]:
    corners = [draw_corners(town, edge, rng, most_wet=_MOST_WET) for town in towns]
    while True:
        first, second = rng.choice(len(towns), 2, replace=False).tolist()
        yield cut_pair(towns[first], towns[second], next(corners[first]), next(corners[second]), edge)


def draw_sea(towns: list[Town], edge: int, rng: np.random.Generator) -> Iterator[Pair]:
    edge = min(edge, _SEA_EDGE)
    places = [(town, draw_corners(town, edge, rng, only_sea=True)) for town in towns]
    places = [(town, corners) for town, corners in places if next(corners, None) is not None]
    while places:
        town, corners = places[int(rng.integers(len(places)))]
        corner = next(corners)
        yield cut_pair(town, town, corner, corner, edge)


DRAWS: dict[str, Callable[[list[Town], int, np.random.Generator], Iterator[Pair]]] = {
    "true": draw_true,
    "unrelated": draw_unrelated,
    "sea": draw_sea,
}


def report(name: str, pairs: Iterator[Pair], matcher: Matcher, trials: int) -> None:
    reasons: Counter[str] = Counter()
    errors: list[float] = []
    started = time.perf_counter()
    for _, pair in zip(range(trials), pairs, strict=False):
        registration = register_pair(pair, matcher)
        reasons[registration.verdict.reason or "registered"] += 1
        if registration.verdict.registered and name == "true":
            errors.append(error_px(registration, pair))
    seconds = (time.perf_counter() - started) / trials
    told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    print(f"{name:>10}: {trials} trials, {seconds:.2f} s each: {told}", flush=True)
    if errors:
        quantiles = np.quantile(errors, (0.5, 0.9, 1.0))
        print(
            f"{'':>10}  error against the truth: median {quantiles[0]:.2f}, 90 % {quantiles[1]:.2f}, "
            f"largest {quantiles[2]:.2f} px; within 0.5 px {np.mean(np.array(errors) <= 0.5):.0%}"
        )


if __name__ == "__main__":
    main()
