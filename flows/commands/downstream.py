"""Hold the command that measures downstream tasks on drawn places whose truth is known."""

from __future__ import annotations

import dataclasses
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.errors import InputError

if TYPE_CHECKING:
    from models.downstream.evaluation import TaskResult
    from models.downstream.learner import DownstreamLearner
    from models.training.history import Progress

_ALL = "all"

TaskName = Annotated[
    str,
    typer.Option(
        "--task",
        help="registration, translation, mapping, targets, buildings, height, change, roads, damage, or all",
    ),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of weights and lessons  [default: 0]")]
Steps = Annotated[int | None, typer.Option(min=1, help="Of training  [default: the configuration's]")]
Config = Annotated[Path | None, typer.Option(help="TOML file  [default: config/downstream/TASK.toml]")]
Pyramid = Annotated[
    str | None, typer.Option(help="conv, fixed, or a MaRS preset with the weights that come with it")
]
Frozen = Annotated[bool, typer.Option("--frozen", help="Leave the pyramid's weights as they are")]
Weights = Annotated[
    Path | None, typer.Option(help="Measure these, from terraloom train downstream-TASK, and train nothing")
]
Out = Annotated[Path | None, typer.Option(help="Keep the training here and go on with what is there")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]


def downstream(  # noqa: PLR0913 - the options are the command's contract
    task: TaskName,
    seed: Seed = None,
    steps: Steps = None,
    config: Config = None,
    pyramid: Pyramid = None,
    frozen: Frozen = False,
    weights: Weights = None,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Train a task on drawn places and measure it on others, beside what can be said without learning.

    Example: terraloom evaluate downstream --task roads --seed 0
    """
    from models.downstream.evaluation import measure_task, override_config, train_task
    from models.training.devices import choose_device

    learners = [
        override_config(one, pyramid=pyramid, tuned=not frozen, training={"seed": seed, "steps": steps})
        for one in _find_learners(task, config)
    ]
    if (weights is not None or config is not None) and len(learners) > 1:
        raise InputError("A configuration or weights are of one task, but all are asked for; name one.")
    where = choose_device(device)
    results = []
    for learner in learners:
        if weights is not None:
            results.append(measure_task(learner, weights, where))
            continue
        with _training_folder(out, learner) as folder, _progress_of(learner, quiet=as_json) as follow:
            results.append(train_task(learner, folder, where, follow))
    _print(results, as_json=as_json)
    return 0


def _find_learners(task: str, config: Path | None) -> list[DownstreamLearner]:
    """Return the learners asked for, all of them checked before the first one trains."""
    from models.downstream.config import read_config
    from models.downstream.learner import DownstreamLearner, learner_of
    from models.downstream.tasks import TASKS, find_task

    if task == _ALL:
        return [learner_of(name) for name in TASKS]
    find_task(task)
    if config is None:
        return [learner_of(task)]
    learner = DownstreamLearner(read_config(config))
    if learner.config.task != task:
        raise InputError(f"{config} is of the task {learner.config.task!r}, but {task!r} is asked for.")
    return [learner]


@contextmanager
def _training_folder(out: Path | None, learner: DownstreamLearner) -> Iterator[Path]:
    if out is not None:
        yield out / learner.config.task
        return
    with tempfile.TemporaryDirectory(prefix="terraloom-downstream-") as folder:
        yield Path(folder)


@contextmanager
def _progress_of(learner: DownstreamLearner, *, quiet: bool) -> Iterator[Progress]:
    """Show a bar on standard error where a person looks on."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    with Bars(console=console, transient=True, disable=quiet or not console.is_terminal) as bars:
        bar = bars.add_task(learner.config.task, total=learner.defaults.steps)
        yield lambda event: bars.update(bar, completed=event.step)


def _print(results: Sequence[TaskResult], *, as_json: bool) -> None:
    if as_json:
        told = [dataclasses.asdict(result) | {"better": result.better} for result in results]
        sys.stdout.write(json.dumps({"tasks": told}) + "\n")
        return
    from flows.terminal import print_rows

    first = results[0]
    title = f"Held-out drawn places, pyramid {first.pyramid}, seed {first.seed}, {first.device}"
    print_rows(title, [_row(result) for result in results])


def _row(result: TaskResult) -> dict[str, Any]:
    shown = [f"{name} {value:.3f}" for name, value in result.figures.items() if name != "score"]
    return {
        "task": result.task,
        "figure": result.headline,
        "trained": f"{result.figures[result.headline]:.3f}",
        "trivial": f"{result.trivial[result.headline]:.3f}",
        "what is trivial": result.trivial_name,
        "all figures": ", ".join(shown),
        "steps": result.steps,
        "s": f"{result.seconds:.0f}",
    }
