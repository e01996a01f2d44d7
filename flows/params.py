"""Define the parameters of every flow: frozen, checked before anything is read or written."""

from __future__ import annotations

import datetime as dt
import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from catalog.grid import BoundsLonLat, check_bounds, parse_crs
from infra.errors import InputError
from infra.storage import check_store_uri
from models.encoding.encoders import check_encoder, find_encoder_weights
from models.matchers import MATCHERS

Step = Literal["osm", "ingest", "register", "encode"]
STEPS: tuple[Step, ...] = ("osm", "ingest", "register", "encode")
DEFAULT_STEPS: tuple[Step, ...] = ("ingest", "register")
PLANNED_STEPS = ("describe",)
"""Steps whose names are reserved: the design knows them, this version does not do them yet."""
DEVICES = ("auto", "cpu", "cuda")
"""Where scenes may be encoded; auto is a GPU where there is one."""
RESAMPLINGS = ("nearest", "bilinear", "cubic", "average", "mode")


def _check_crs(value: str | None) -> str | None:
    if value is not None:
        parse_crs(value)
    return value


def _check_store(value: str) -> str:
    check_store_uri(value)
    return value


Bbox = Annotated[BoundsLonLat, AfterValidator(check_bounds)]
CrsText = Annotated[str | None, AfterValidator(_check_crs)]
StoreUri = Annotated[str, AfterValidator(_check_store)]


class MapAreaParams(BaseModel):
    """Say which place, time and collections become cubes, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        description="Preset (earth-search, planetary-computer), STAC API URL, or catalogue path"
    )
    collections: tuple[str, ...] = Field(min_length=1, description="Collection ids of the source")
    bbox: Bbox = Field(description="W,S,E,N degrees; W > E crosses 180°")
    datetime: str = Field(description="Interval A/B, ISO 8601; '..' leaves an end open")
    store: StoreUri = Field(description="Path or s3://bucket/prefix that products go to")
    bands: tuple[str, ...] | None = Field(
        default=None, description="Variables wanted; None takes the default"
    )
    resolution_m: float = Field(default=10.0, gt=0, le=100_000, description="Pixel edge, metres")
    crs: CrsText = Field(default=None, description="CRS of the grid; None chooses UTM")
    loader: Literal["odc", "stackstac"] = Field(default="odc", description="Library that reads the pixels")
    resampling: Literal["nearest", "bilinear", "cubic", "average", "mode"] = Field(
        default="nearest", description="Resampling of data bands; quality bands always use nearest"
    )
    mask: Literal["none", "clouds"] = Field(
        default="none", description="clouds: set cloud, shadow and fill classes of SCL/QA bands to nodata"
    )
    osm: str | None = Field(
        default=None, description="OpenStreetMap extract to publish beside the imagery, or overpass"
    )
    steps: tuple[Step, ...] = Field(
        default=DEFAULT_STEPS,
        min_length=1,
        description="Steps to run, in order; osm is implied by an extract",
    )
    matcher: str = Field(default="phase", description="What finds tie points when scenes are registered")
    encoder: str = Field(default="mars-tiny", description="Model that step encode gives vectors by")
    register_to_map: bool = Field(
        default=False, description="Also register the optical cubes to the drawn map of the request"
    )
    shard_px: int = Field(default=4096, ge=256, le=16384, description="Largest shard edge, pixels")
    max_scenes: int = Field(default=10_000, ge=1, description="Refuse searches that find more")
    max_quarantined: float = Field(
        default=0.0, ge=0, le=1, description="Share of cubes that may be quarantined before the run fails"
    )
    broken_assets: Literal["refuse", "quarantine"] = Field(
        default="refuse", description="What a truncated or absent local file does: stop the run, or its cube"
    )

    @field_validator("datetime")
    @classmethod
    def _interval_in_order(cls, value: str) -> str:
        check_interval(value)
        return value

    @field_validator("shard_px")
    @classmethod
    def _power_of_two(cls, value: int) -> int:
        if value & (value - 1):
            raise InputError(f"shard_px {value} must be a power of two, e.g. 2048 or 4096")
        return value

    @model_validator(mode="after")
    def _osm_has_a_source(self) -> Self:
        if "osm" in self.steps and self.osm is None:
            raise InputError("step 'osm' has no source; give --osm with an extract, or --osm overpass")
        for step in ("register", "encode"):
            if step in self.steps and "ingest" not in self.steps:
                raise InputError(f"step {step!r} needs cubes; give --steps ingest,{step}")
        if "encode" in self.steps:
            find_encoder_weights(self.encoder)  # not only after all cubes are written
        if self.register_to_map and "register" not in self.steps:
            raise InputError("--register-to-map is done by step 'register'; give --steps ingest,register")
        if self.register_to_map and self.osm is None:
            raise InputError("--register-to-map needs a map; give --osm with an extract, or --osm overpass")
        return self

    @field_validator("matcher")
    @classmethod
    def _matcher_is_known(cls, value: str) -> str:
        return check_matcher(value)


class OsmParams(BaseModel):
    """Say which OpenStreetMap data become a product, and what else is made of them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(description="Extract (.osm, .osm.gz, .osm.bz2, .osm.pbf), or overpass")
    bbox: Bbox | None = Field(
        default=None, description="W,S,E,N degrees; None takes the whole extract; overpass needs one"
    )
    store: StoreUri = Field(description="Path or s3://bucket/prefix that the product goes to")
    resolution_m: float | None = Field(
        default=None, gt=0, le=100_000, description="Pixel edge of the drawn map, metres; None chooses"
    )
    crs: CrsText = Field(default=None, description="CRS of the drawn map; None chooses UTM")
    graph: bool = Field(default=True, description="Also keep the graph of the features")
    network: Literal["drive", "walk", "bike", "all"] | None = Field(
        default=None, description="Also keep this street network"
    )
    network_form: Literal["graphml", "gpkg"] = Field(default="graphml", description="Its file format")
    as_of: dt.datetime | None = Field(
        default=None, description="Ask Overpass for the data as they were then, ISO 8601"
    )
    max_features: int = Field(default=2_000_000, ge=1, description="Refuse areas that hold more")

    @field_validator("as_of")
    @classmethod
    def _as_of_in_utc(cls, value: dt.datetime | None) -> dt.datetime | None:
        if value is None or value.tzinfo:
            return value
        return value.replace(tzinfo=dt.UTC)

    @model_validator(mode="after")
    def _fits_the_source(self) -> Self:
        if self.source == "overpass" and self.bbox is None:
            raise InputError("overpass has no whole to take; give --bbox W,S,E,N")
        if self.source != "overpass" and self.as_of is not None:
            raise InputError("--as-of asks Overpass for older data; an extract is as old as it is")
        return self


class RegisterParams(BaseModel):
    """Say which published products are registered to which, and by what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: StoreUri = Field(description="Path or s3://bucket/prefix that holds the products")
    fixed: str = Field(min_length=1, description="Id of the item that stays: a cube or a drawn map")
    moving: tuple[str, ...] = Field(min_length=1, description="Ids of the items that are moved to it")
    matcher: str = Field(default="phase", description="What finds the first tie points")
    device: str = Field(default="cpu", description="Where the matcher computes: cpu, cuda or cuda:N")

    @field_validator("matcher")
    @classmethod
    def _matcher_is_known(cls, value: str) -> str:
        return check_matcher(value)


class EncodeParams(BaseModel):
    """Say which published scenes are encoded, and by what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: StoreUri = Field(description="Path or s3://bucket/prefix that holds the scenes")
    items: tuple[str, ...] = Field(default=(), description="Ids of the scenes, each encoded by itself")
    collection: str | None = Field(
        default=None, description="In place of items: all scenes, or all of one source collection"
    )
    radar: str | None = Field(
        default=None, description="Id of a radar scene that is seen together with the one item"
    )
    model: str = Field(default="mars-tiny", description="Name of the encoder")
    weights: str | None = Field(default=None, description="Its weights; None for those that come with it")
    device: str = Field(default="auto", description="auto, cpu or cuda")
    precision: Literal["float32", "bfloat16"] = Field(default="float32", description="Of the encoder")
    stored_as: Literal["float16", "float32", "int8"] = Field(
        default="float16", description="Numbers that vectors are kept as"
    )
    overlap_px: int | None = Field(
        default=None, ge=0, description="Between windows; None takes a quarter of a window"
    )
    tile_px: int = Field(default=64, ge=1, description="Edge of the tiles that get one vector, pixels")
    batch: int | None = Field(
        default=None, ge=1, le=4096, description="Windows at a time; None takes 8 on a CPU, 64 on a GPU"
    )

    @field_validator("model")
    @classmethod
    def _encoder_is_known(cls, value: str) -> str:
        return check_encoder(value)

    @field_validator("device")
    @classmethod
    def _device_is_known(cls, value: str) -> str:
        if value not in DEVICES:
            raise InputError(f"device {value!r} cannot encode; give {', '.join(DEVICES)}")
        return value

    @model_validator(mode="after")
    def _scenes_are_named(self) -> Self:
        if bool(self.items) == (self.collection is not None):
            raise InputError("nothing says what is encoded; give --item, or --collection, not both")
        if self.radar is not None and len(self.items) != 1:
            raise InputError(f"a radar scene is seen together with one item, not {len(self.items)}")
        find_encoder_weights(self.model, None if self.weights is None else Path(self.weights))
        return self


class PublishModelsParams(BaseModel):
    """Say which trained models are copied into a store; all that stand there are published."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: StoreUri = Field(description="Path or s3://bucket/prefix that the models go to")
    names: tuple[str, ...] = Field(default=(), description="Models of the package; none for all of them")
    result: str | None = Field(default=None, description="Folder that a training has left, instead of them")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.result is not None and self.names:
            raise InputError(f"{self.names[0]!r} and --result are given; publish one, then the other")
        return self


def check_matcher(name: str) -> str:
    """Return the name of a matcher that there is.

    Raises:
        InputError: there is none by that name.
    """
    if name not in MATCHERS:
        raise InputError(f"there is no matcher {name!r}; choose from {', '.join(MATCHERS)}")
    return name


Params = TypeVar("Params", bound=BaseModel)


def parse_params(values: dict[str, Any]) -> MapAreaParams:
    """Build the parameters of ``map_area``; see ``parse_as``."""
    return parse_as(MapAreaParams, values)


def parse_as(model: type[Params], values: dict[str, Any]) -> Params:
    """Build parameters from raw values, or say in one line what is wrong with which.

    Raises:
        InputError: an unknown name (the nearest valid one is named) or a wrong value.
    """
    for name, value in values.items():
        # Bytes of the command line that are no UTF-8 come as half surrogates; no record could hold them.
        if isinstance(value, str) and value != value.encode(errors="replace").decode():
            raise InputError(f"{name} {value!a} is not UTF-8; rename what it names")
    try:
        return model.model_validate(values)
    except ValidationError as exc:
        raise InputError(_first_complaint(exc, model)) from exc


def check_interval(text: str) -> tuple[dt.datetime | None, dt.datetime | None]:
    """Parse ``A/B`` (or one instant or date); None where an end is open.

    Raises:
        InputError: not ISO 8601, or the ends are swapped.
    """
    start_text, slash, end_text = text.partition("/")
    start = _parse_end(start_text, text, last=False)
    end = _parse_end(end_text if slash else start_text, text, last=True)
    if start is None and end is None:
        raise InputError(f"datetime {text!r} has no end; give A/B, e.g. 2024-06-01/2024-06-30")
    if start is not None and end is not None and start > end:
        raise InputError(f"datetime {text!r} runs backwards; did you mean {end_text}/{start_text}?")
    return start, end


def _parse_end(part: str, text: str, *, last: bool) -> dt.datetime | None:
    if part in {"", ".."}:
        return None
    try:
        instant = dt.datetime.fromisoformat(part)
    except ValueError as exc:
        raise InputError(
            f"datetime {text!r}: {part!r} is not ISO 8601; give A/B, e.g. 2024-06-01/2024-06-30"
        ) from exc
    if len(part) == len("2024-06-01") and last:
        instant += dt.timedelta(days=1, microseconds=-1)
    return instant if instant.tzinfo else instant.replace(tzinfo=dt.UTC)


def _first_complaint(exc: ValidationError, model: type[BaseModel]) -> str:
    error = exc.errors(include_url=False)[0]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause.message
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place), list(model.model_fields), n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(model.model_fields)}"
        return f"parameter {place!r} is unknown; {hint}"
    if error["type"] == "missing":
        return f"parameter {place!r} is required; {model.model_fields[str(error['loc'][0])].description}"
    if place.startswith("steps") and model is MapAreaParams:
        return _step_complaint(str(error["input"]))
    return f"{place} {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _step_complaint(step: str) -> str:
    if step in PLANNED_STEPS:
        return f"step {step!r} is not in this version yet; available: {', '.join(STEPS)}"
    near = difflib.get_close_matches(step, [*STEPS, *PLANNED_STEPS], n=1)
    hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(STEPS)}"
    return f"step {step!r} is unknown; {hint}"
