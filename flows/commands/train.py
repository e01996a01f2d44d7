"""Hold the command that trains a model."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.map import Json, Store, call_flow, chosen_store

if TYPE_CHECKING:
    from flows.training_params import TrainParams

Model = Annotated[str, typer.Argument(help="Name of the model, e.g. mapglue-tiny")]
Steps = Annotated[int | None, typer.Option(help="Updates of the weights in all  [default: the model's own]")]
Minutes = Annotated[
    float | None, typer.Option(help="Stop at a checkpoint after that long; it can be resumed")
]
Seed = Annotated[int | None, typer.Option(help="Of weights and batches  [default: the model's own, 0]")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N")]
Resume = Annotated[
    str | None, typer.Option(help="Name of a training that was begun, to go on with its own numbers")
]
LearningRate = Annotated[float | None, typer.Option(help="Highest rate  [default: the model's own]")]
BatchesPerStep = Annotated[
    int | None, typer.Option(help="Batches averaged for one update, over all processes")
]
EvaluateEvery = Annotated[int | None, typer.Option(help="Steps between evaluations; 0: only at the end")]
CheckpointMinutes = Annotated[float | None, typer.Option(help="Minutes between checkpoints")]
Workers = Annotated[int | None, typer.Option(help="Processes that make batches ahead")]
Threads = Annotated[int | None, typer.Option(help="Threads of torch on the CPU")]
Processes = Annotated[
    int | None, typer.Option(help="Processes that share a step  [default: the GPUs that can]")
]
Chips = Annotated[
    str | None,
    typer.Option(metavar="FOLDER", help="What 'terraloom chips' wrote, for the other stages of mars-tiny"),
]
Start = Annotated[
    str | None, typer.Option(metavar="FILE", help="Weights that those go on from  [default: fresh ones]")
]


def train(  # noqa: PLR0913 - the options are the command's contract
    model: Model,
    store: Store = None,
    steps: Steps = None,
    minutes: Minutes = None,
    seed: Seed = None,
    device: Device = "auto",
    resume: Resume = None,
    learning_rate: LearningRate = None,
    batches_per_step: BatchesPerStep = None,
    evaluate_every: EvaluateEvery = None,
    checkpoint_minutes: CheckpointMinutes = None,
    workers: Workers = None,
    threads: Threads = None,
    processes: Processes = None,
    chips: Chips = None,
    start: Start = None,
    as_json: Json = False,
) -> int:
    """Train a model; the same request again goes on where it stopped.

    Example: terraloom train mapglue-tiny --store ./store --minutes 60 --seed 0
    """
    params = _to_params(locals())
    from flows.train_model import train_model
    from flows.training_summary import print_training, watching_training

    summary = call_flow(train_model, params, watching=watching_training(quiet=as_json))
    if as_json:
        sys.stdout.write(json.dumps(summary.model_dump(mode="json")) + "\n")
    else:
        print_training(summary)
    return 0


def _to_params(values: dict[str, Any]) -> TrainParams:
    from flows.params import parse_as
    from flows.training_params import TrainParams

    chosen = {name: value for name, value in values.items() if name in TrainParams.model_fields}
    return parse_as(TrainParams, chosen | {"store": chosen_store(chosen["store"])})
