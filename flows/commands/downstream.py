"""Hold the command that trains downstream tasks, on drawn places or labelled images, and measures them."""

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
    Path | None, typer.Option(help="Measure these, which a training of the task left, and train nothing")
]
Data = Annotated[
    str | None, typer.Option(help="Folder of labelled images to learn from; its last part may be a pattern")
]
Test = Annotated[str | None, typer.Option(help="Likewise, to measure on")]
Out = Annotated[
    Path | None, typer.Option(help="Keep the training and its weights here and go on with what is there")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object")]


def downstream(  # noqa: PLR0913 - the options are the command's contract
    task: TaskName,
    seed: Seed = None,
    steps: Steps = None,
    config: Config = None,
    pyramid: Pyramid = None,
    frozen: Frozen = False,
    data: Data = None,
    test: Test = None,
    weights: Weights = None,
    out: Out = None,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    r"""Train a task and measure it on places it never saw, beside what can be said without learning.

    Without --data and without [data] in the configuration the places are drawn ones.

    Example: terraloom evaluate downstream --task roads --data "chips/\*_west.tif" --test "chips/\*_east.tif"
    """
    from models.downstream.evaluation import measure_task, train_task
    from models.training.devices import choose_device

    numbers = {"seed": seed, "steps": steps}
    changes = {"pyramid": pyramid, "tuned": not frozen, "training": numbers, "data": data, "test": test}
    found = _find_learners(task, config)
    if len(found) > 1 and (weights, config, data, test) != (None, None, None, None):
        raise InputError("A configuration, weights or data are of one task, but all are asked for; name one.")
    learners = [_prepare(one, changes) for one in found]
    where = choose_device(device)
    results = []
    for learner in learners:
        if weights is not None:
            results.append(measure_task(learner, weights, where))
            continue
        with _training_folder(out, learner) as folder, _progress_of(learner, quiet=as_json) as follow:
            results.append(train_task(learner, folder, where, follow))
        if len(learners) > 1 and not as_json:  # hours may lie between the first and the last
            _print_one(results[-1])
    _print(results, as_json=as_json)
    return 0


def _prepare(learner: DownstreamLearner, changes: dict[str, Any]) -> DownstreamLearner:
    """Return a learner as the options ask for it, with its labelled set opened."""
    from flows.labelled_lessons import open_lessons
    from models.downstream.evaluation import override_config

    changed = override_config(learner, **changes)
    return dataclasses.replace(changed, labelled=open_lessons(changed.config))


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
    if len(results) == 1:
        _print_one(results[0])
        return
    from flows.terminal import print_rows

    better = sum(result.better for result in results)
    title = f"All tasks beside the trivial answer: {better} of {len(results)} better; {_setting(results[0])}"
    print_rows(title, [_row(result) for result in results])


def _print_one(result: TaskResult) -> None:
    """Print every figure of a task."""
    from flows.terminal import print_rows

    rows = [
        {"figure": name, "trained": f"{value:.3f}", "trivial": f"{result.trivial[name]:.3f}"}
        for name, value in result.figures.items()
        if name != "score"
    ]
    title = f"{result.task}: {result.title}. {result.chips} chips of {result.data}; {_setting(result)}"
    print_rows(f"{title}, {result.steps} steps, {result.seconds:.0f} s; trivial: {result.trivial_name}", rows)


def _setting(result: TaskResult) -> str:
    return f"pyramid {result.pyramid}, seed {result.seed}, {result.device}"


def _row(result: TaskResult) -> dict[str, Any]:
    return {
        "task": result.task,
        "figure": result.headline,
        "trained": f"{result.figures[result.headline]:.3f}",
        "trivial": f"{result.trivial[result.headline]:.3f}",
        "what is trivial": result.trivial_name,
        "better": "yes" if result.better else "no",
        "steps": result.steps,
        "s": f"{result.seconds:.0f}",
    }
