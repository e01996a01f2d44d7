"""Train a model without Prefect, e.g. on a GPU machine: ``python -m models.training NAME --out FOLDER``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.errors import AppError, InputError
from models.training.config import config_names
from models.training.history import TrainingEvent, to_line
from models.training.jobs import TrainingJob, run_job, share_of
from models.training.registry import entry_of, load_entry, trainable_names
from models.training.results import make_result

_RESULT_FOLDER = "result"
_KINDS = {
    "learning_rate": float,
    "final_rate": float,
    "weight_decay": float,
    "clip_norm": float,
    "checkpoint_minutes": float,
    "precision": str,
}


def main(words: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit code."""
    asked = _parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _train(asked)
    except AppError as exc:
        sys.stderr.write(f"training: {exc.message}\n")
        return 2 if isinstance(exc, InputError) else 1
    return 0


def _train(asked: argparse.Namespace) -> None:
    entry = entry_of(asked.name)
    config = load_entry(entry).defaults.override(vars(asked))
    job = TrainingJob(
        entry=entry,
        config=config,
        folder=asked.out,
        device=asked.device,
        minutes=asked.minutes,
        processes=share_of(asked.processes, asked.device, config),
    )
    outcome = run_job(job, _print)
    result = asked.out / _RESULT_FOLDER
    result.mkdir(exist_ok=True)
    for name, content in make_result(job, outcome).items():
        (result / name).write_bytes(content)
    sys.stdout.write(f"{outcome}\n{result}\n")


def _print(event: TrainingEvent) -> None:
    every = max(event.steps // 200, 1)
    if event.kind != "step" or event.step % every == 0:
        sys.stdout.write(to_line(event))
        sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("name", help=", ".join(trainable_names()))
    parser.add_argument("--out", type=Path, required=True, help="folder; what it holds is resumed")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N")
    parser.add_argument("--minutes", type=float, help="stop at a checkpoint after that long")
    parser.add_argument("--processes", type=int, help="default: as many GPUs as can share a step")
    for name in config_names():
        kind = _KINDS.get(name, int)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help="default: the model's own")
    return parser


if __name__ == "__main__":
    sys.exit(main())
