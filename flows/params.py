"""Define the parameters of every flow: frozen, checked before anything is read or written."""

from __future__ import annotations

import datetime as dt
import difflib
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from catalog.grid import check_bounds, parse_crs
from infra.errors import InputError
from infra.storage import check_store_uri

Step = Literal["ingest"]
STEPS: tuple[Step, ...] = ("ingest",)
PLANNED_STEPS = ("osm", "register", "encode", "describe")
"""Steps whose names are reserved: the design knows them, this version does not do them yet."""
RESAMPLINGS = ("nearest", "bilinear", "cubic", "average", "mode")


class MapAreaParams(BaseModel):
    """Say which place, time and collections become cubes, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = Field(
        description="Preset (earth-search, planetary-computer), STAC API URL, or catalogue path"
    )
    collections: tuple[str, ...] = Field(min_length=1, description="Collection ids of the source")
    bbox: tuple[float, float, float, float] = Field(description="W,S,E,N degrees; W > E crosses 180°")
    datetime: str = Field(description="Interval A/B, ISO 8601; '..' leaves an end open")
    store: str = Field(description="Path or s3://bucket/prefix that products go to")
    bands: tuple[str, ...] | None = Field(
        default=None, description="Variables wanted; None takes the default"
    )
    resolution_m: float = Field(default=10.0, gt=0, le=100_000, description="Pixel edge, metres")
    crs: str | None = Field(default=None, description="CRS of the grid; None chooses UTM")
    loader: Literal["odc", "stackstac"] = Field(default="odc", description="Library that reads the pixels")
    resampling: Literal["nearest", "bilinear", "cubic", "average", "mode"] = Field(
        default="nearest", description="Resampling of data bands; quality bands always use nearest"
    )
    mask: Literal["none", "clouds"] = Field(
        default="none", description="clouds: set cloud, shadow and fill classes of SCL/QA bands to nodata"
    )
    steps: tuple[Step, ...] = Field(default=STEPS, min_length=1, description="Steps to run, in order")
    shard_px: int = Field(default=4096, ge=256, le=16384, description="Largest shard edge, pixels")
    max_scenes: int = Field(default=10_000, ge=1, description="Refuse searches that find more")
    max_quarantined: float = Field(
        default=0.0, ge=0, le=1, description="Share of cubes that may be quarantined before the run fails"
    )
    broken_assets: Literal["refuse", "quarantine"] = Field(
        default="refuse", description="What a truncated or absent local file does: stop the run, or its cube"
    )

    @field_validator("bbox")
    @classmethod
    def _bbox_on_earth(cls, value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        return check_bounds(value)

    @field_validator("crs")
    @classmethod
    def _crs_known(cls, value: str | None) -> str | None:
        if value is not None:
            parse_crs(value)
        return value

    @field_validator("store")
    @classmethod
    def _store_known(cls, value: str) -> str:
        check_store_uri(value)
        return value

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


def parse_params(values: dict[str, Any]) -> MapAreaParams:
    """Build parameters from raw values, or say in one line what is wrong with which.

    Raises:
        InputError: an unknown name (the nearest valid one is named) or a wrong value.
    """
    try:
        return MapAreaParams.model_validate(values)
    except ValidationError as exc:
        raise InputError(_first_complaint(exc)) from exc


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


def _first_complaint(exc: ValidationError) -> str:
    error = exc.errors(include_url=False)[0]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, InputError):
        return cause.message
    place = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(place), list(MapAreaParams.model_fields), n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(MapAreaParams.model_fields)}"
        return f"parameter {place!r} is unknown; {hint}"
    if error["type"] == "missing":
        return (
            f"parameter {place!r} is required; {MapAreaParams.model_fields[str(error['loc'][0])].description}"
        )
    if place.startswith("steps"):
        return _step_complaint(str(error["input"]))
    return f"{place} {error['input']!r}: {error['msg'][0].lower()}{error['msg'][1:]}"


def _step_complaint(step: str) -> str:
    if step in PLANNED_STEPS:
        return f"step {step!r} is not in this version yet; available: {', '.join(STEPS)}"
    near = difflib.get_close_matches(step, [*STEPS, *PLANNED_STEPS], n=1)
    hint = f"did you mean {near[0]}?" if near else f"available: {', '.join(STEPS)}"
    return f"step {step!r} is unknown; {hint}"
