"""Hold the commands that list trained models and publish them."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from flows.commands.map import Json, Store, call_flow, chosen_store
from infra.storage import open_storage

app = typer.Typer(
    help="List trained models, those that come with the package and those of a store; publish them.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
Names = Annotated[list[str] | None, typer.Argument(help="Models of the package  [default: all]")]
Result = Annotated[Path | None, typer.Option(help="Folder that a training has left, instead of them")]


@app.callback(invoke_without_command=True)
def models(context: typer.Context, store: Store = None, as_json: Json = False) -> None:
    """List the models that come with the package, and those that stand in the store.

    Example: terraloom models --store ./store
    """
    if context.invoked_subcommand is not None:
        context.obj = store
        return
    rows = list_rows(chosen_store(store))
    if as_json:
        sys.stdout.write(json.dumps(rows) + "\n")
        return
    from flows.terminal import print_rows

    shown = [
        {
            "model": row["name"],
            "parameters": f"{row['parameters']:,}",
            "sha256": row["sha256"][:12],
            "origin": row["origin"],
            "score": "–" if row["score"] is None else f"{row['score']:.4g}",
            "in the store": "yes" if row["in_store"] else "no",
        }
        for row in rows
    ]
    print_rows("Trained models", shown)


@app.command("publish")
def publish(
    context: typer.Context,
    names: Names = None,
    store: Store = None,
    result: Result = None,
    as_json: Json = False,
) -> None:
    """Copy models into the store and publish all that stand there.

    Example: terraloom models publish --store ./store
    """
    from flows.params import PublishModelsParams, parse_as
    from flows.publish_models import publish_models
    from flows.terminal import keep_logs_off_terminal

    asked = {
        "store": chosen_store(store or context.obj),
        "names": names or (),
        "result": result and str(result.resolve()),
    }
    params = parse_as(PublishModelsParams, asked)
    keep_logs_off_terminal()
    told = call_flow(publish_models, params, watching=nullcontext())
    if as_json:
        sys.stdout.write(json.dumps(told.model_dump(mode="json")) + "\n")
    else:
        lines = [*(f"item       {item}" for item in told.item_ids), f"catalogue  {told.catalogue}"]
        sys.stdout.write("\n".join(lines) + "\n")


def list_rows(store: str) -> list[dict[str, Any]]:
    """Describe every model of the package and of a store, a row each; the same weights are one row.

    Args:
        store: Path or ``s3://`` URI.

    Raises:
        DataError: a card or receipt cannot be read.
    """
    from catalog.models.card import read_card
    from catalog.models.plan import plan_model
    from catalog.models.product import list_models
    from infra.digests import sha256_of_file
    from models.shipped import shipped_models

    cards = {}
    for name, shipped in shipped_models().items():
        plan = plan_model(name, sha256_of_file(shipped.weights))
        cards[plan.id] = read_card(shipped.card.read_bytes(), str(shipped.card))
    ours = set(cards)
    standing = {receipt.id: receipt.card for receipt in list_models(open_storage(store))}
    return [
        {
            "name": card.name,
            "item": item,
            "parameters": card.weights.parameters,
            "sha256": card.weights.sha256,
            "origin": "shipped" if item in ours else "trained",
            "score": card.score,
            "in_store": item in standing,
        }
        for item, card in sorted((cards | standing).items())
    ]
