"""Hold the command that registers one published product to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.map import Json, Store, chosen_store, run_flow

if TYPE_CHECKING:
    from flows.params import RegisterParams

Fixed = Annotated[str, typer.Option(metavar="ITEM", help="Item that stays: a cube or a drawn map")]
Moving = Annotated[list[str], typer.Option(metavar="ITEM", help="Item to move to it; give it again for more")]
Matcher = Annotated[str, typer.Option(help="What finds tie points: phase, template, sift or mapglue-tiny")]
Device = Annotated[str, typer.Option(help="Where the matcher computes: cpu, cuda or cuda:N")]


def register(
    fixed: Fixed,
    moving: Moving,
    store: Store = None,
    matcher: Matcher = "phase",
    device: Device = "cpu",
    as_json: Json = False,
) -> int:
    """Register scenes to another product, with a verdict.

    Example: terraloom register --fixed sample-optical-20250918-… --moving sample-radar-20250917-…
    --store ./store
    """
    params = _to_params(locals())
    from flows.register_scenes import register_scenes

    return run_flow(register_scenes, params, as_json=as_json)


def _to_params(values: dict[str, Any]) -> RegisterParams:
    from flows.params import RegisterParams, parse_as

    chosen = {name: value for name, value in values.items() if name in RegisterParams.model_fields}
    return parse_as(RegisterParams, chosen | {"store": chosen_store(chosen["store"])})
