"""Hold the command that encodes published scenes with a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.map import Json, Store, chosen_store, run_flow

if TYPE_CHECKING:
    from flows.params import EncodeParams

Items = Annotated[
    list[str] | None,
    typer.Option("--item", metavar="ITEM", help="Scene to encode; give it again for more"),
]
Collection = Annotated[
    str | None, typer.Option(help="In place of items: scenes for all, or one source collection")
]
Radar = Annotated[
    str | None, typer.Option(metavar="ITEM", help="Radar scene that is seen together with the one item")
]
Model = Annotated[
    str, typer.Option(help="mars-tiny, mars-base, mars-large, or filters, which needs no weights")
]
Weights = Annotated[str | None, typer.Option(help="File of its weights  [default: those that come with it]")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Precision = Annotated[str, typer.Option(help="Of the encoder: float32 or bfloat16")]
StoredAs = Annotated[str, typer.Option(help="Numbers that vectors are kept as: float16, float32 or int8")]
Overlap = Annotated[
    int | None, typer.Option("--overlap-px", min=0, help="Between windows  [default: a quarter of one]")
]
Tile = Annotated[
    int, typer.Option("--tile-px", min=1, help="Edge of the tiles that get one vector to search by")
]
Batch = Annotated[
    int | None, typer.Option(min=1, help="Windows at a time  [default: 8 on a CPU, 64 on a GPU]")
]


def encode(  # noqa: PLR0913 - the options are the command's contract
    items: Items = None,
    collection: Collection = None,
    radar: Radar = None,
    store: Store = None,
    model: Model = "mars-tiny",
    weights: Weights = None,
    device: Device = "auto",
    precision: Precision = "float32",
    stored_as: StoredAs = "float16",
    overlap_px: Overlap = None,
    tile_px: Tile = 64,
    batch: Batch = None,
    as_json: Json = False,
) -> int:
    """Give every place of published scenes a vector by a model, and publish the vectors.

    Example: terraloom encode --collection scenes --model mars-tiny --store ./store
    """
    params = _to_params(locals())
    from flows.encode_scenes import encode_scenes

    return run_flow(encode_scenes, params, as_json=as_json)


def _to_params(values: dict[str, Any]) -> EncodeParams:
    from flows.params import EncodeParams, parse_as

    chosen = {name: value for name, value in values.items() if name in EncodeParams.model_fields}
    return parse_as(
        EncodeParams, chosen | {"items": chosen["items"] or (), "store": chosen_store(chosen["store"])}
    )
