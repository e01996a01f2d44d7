"""Hold the commands that measure models on data whose truth is known; this file the one for matchers."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.downstream import downstream
from infra.errors import ConfigError, InputError

if TYPE_CHECKING:
    from catalog.pairs.records import ImagePair, PairSource
    from models.matching.evaluation import Evaluation
    from models.matching.matches import Matcher

app = typer.Typer(
    help="Measure how good models are on data whose truth is known.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_SHEET_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")

Pairs = Annotated[
    Path, typer.Option(help="Folder of pairs: JSON files that describe them, or the MapData layout")
]
Matchers = Annotated[
    list[str] | None,
    typer.Option("--matcher", help="Name; give it again for more  [default: sift, phase]"),
]
Level = Annotated[str, typer.Option(help="Warp of the moving images: none, easy, normal or hard")]
Seed = Annotated[int, typer.Option(min=0, help="Of the warps")]
Device = Annotated[str, typer.Option(help="cpu, or cuda for matchers that can use it")]
Weights = Annotated[
    Path | None, typer.Option(help="Of the learned matcher  [default: those that come with it]")
]
KnownWarps = Annotated[
    bool, typer.Option("--known-warps", help="Take FOLDER for the real data, and their pairs on one grid")
]
Sheet = Annotated[Path | None, typer.Option(help="Also draw every pair into this picture")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]


@app.callback()
def evaluate() -> None:
    """Keep ``matching`` and ``downstream`` words of their own."""


app.command("downstream")(downstream)


@app.command("matching")
def matching(  # noqa: PLR0913 - the options are the command's contract
    pairs: Pairs,
    matcher: Matchers = None,
    level: Level = "none",
    seed: Seed = 0,
    device: Device = "cpu",
    weights: Weights = None,
    known_warps: KnownWarps = False,
    sheet: Sheet = None,
    as_json: Json = False,
) -> int:
    """Compare matchers on image pairs: errors at landmarks and corners, precision, time.

    Example: terraloom evaluate matching --pairs ./multimodal_rs --matcher phase --level hard --sheet hard.png
    """
    from catalog.pairs.find import find_pairs
    from catalog.pairs.known_warps import find_known_warps
    from models.matchers import DEFAULT_MATCHERS, digest_weights
    from models.matching.evaluation import evaluate as evaluate_pairs
    from models.matching.evaluation import summarise
    from models.matching.protocol import MatchingProtocol, choose_level

    names = list(dict.fromkeys(matcher or DEFAULT_MATCHERS))
    protocol = MatchingProtocol(level=choose_level(level), seed=seed)
    sheets = _name_sheets(sheet, names)
    sources = find_known_warps(pairs) if known_warps else find_pairs(pairs)
    evaluations = [
        evaluate_pairs(_read_all(sources, one.name, quiet=as_json), one, protocol)
        for one in _build(names, device, weights)
    ]
    figures = [summarise(evaluation) for evaluation in evaluations]
    rules = protocol.describe() | {"device": device, "weights_sha256": digest_weights(names, weights)}
    told = {"protocol": rules, "pairs": len(sources), "matchers": figures}
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        _print_table(told)
    # After the figures: they took long, and a sheet that cannot be written must not take them along.
    for path, evaluation in zip(sheets, evaluations, strict=False):
        _draw_sheet(path, sources, evaluation)
    return 0


def _build(names: Sequence[str], device: str, weights: Path | None) -> list[Matcher]:
    """Build all matchers before the first pair is read: a wrong name is not told after minutes."""
    from models.matchers import LEARNED_MATCHERS, build_matcher

    learned = [name for name in names if name in LEARNED_MATCHERS]
    if weights is not None and len(learned) != 1:
        raise InputError(f"Weights are for one learned matcher, but {len(learned)} are asked for; name one.")
    return [build_matcher(name, device, weights if name in learned else None) for name in names]


def _read_all(sources: Sequence[PairSource], matcher: str, *, quiet: bool) -> Iterator[ImagePair]:
    """Read pairs one at a time, with a bar on standard error where a person looks on."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    shown: Iterable[PairSource] = track(
        sources,
        description=matcher,
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
    for source in shown:
        yield source.read()


def _name_sheets(sheet: Path | None, names: Sequence[str]) -> list[Path]:
    """Return the picture of each matcher: the file that is named, with the matcher's name where several."""
    if sheet is None:
        return []
    if sheet.suffix.lower() not in _SHEET_SUFFIXES:
        raise InputError(f"The sheet {sheet} is no picture's name; end it in {', '.join(_SHEET_SUFFIXES)}.")
    if not sheet.parent.is_dir():
        raise InputError(f"There is no folder {sheet.parent} for the sheet {sheet.name}; make it first.")
    if len(names) == 1:
        return [sheet]
    return [sheet.with_stem(f"{sheet.stem}-{name}") for name in names]


def _draw_sheet(path: Path, sources: Sequence[PairSource], evaluation: Evaluation) -> None:
    from flows.evaluation_sheet import draw_sheet

    picture = draw_sheet((source.read() for source in sources), evaluation)
    try:
        picture.save(path)
    except OSError as exc:
        raise ConfigError(f"The sheet {path} cannot be written: {exc}; name another place.") from exc
    sys.stderr.write(f"sheet      {path}\n")


def _print_table(told: dict[str, Any]) -> None:
    from flows.terminal import print_rows

    protocol = told["protocol"]
    title = f"{told['pairs']} pairs, level {protocol['level']}, seed {protocol['seed']}, {protocol['device']}"
    print_rows(f"{title}; protocol {protocol['version']}", [_row(one) for one in told["matchers"]])
    kinds = sorted({kind for one in told["matchers"] for kind in one["by_class"]})
    if len(kinds) > 1:
        rows = [
            {"class": kind, "pairs": told["matchers"][0]["by_class"][kind]["pairs"]}
            | {one["name"]: _spell_success(one["by_class"][kind]) for one in told["matchers"]}
            for kind in kinds
        ]
        print_rows("Pairs within 3/5/10 px by class", rows)


def _row(figures: dict[str, Any]) -> dict[str, Any]:
    areas = [f"{100 * area:.1f}" if area is not None else "–" for area in figures["auc_at_px"].values()]
    precision = figures["mean_precision"]
    return {
        "matcher": figures["name"],
        "3/5/10 px": _spell_success(figures),
        "AUC 5/10/20 px %": "/".join(areas),
        "precise %": "–" if precision is None else f"{100 * precision:.1f}",
        "points": f"{figures['median_matches']:g}",
        "s/pair": f"{figures['median_seconds_per_pair']:.2f}",
    }


def _spell_success(figures: dict[str, Any]) -> str:
    return "/".join(str(count) for count in figures["success_at_px"].values())
