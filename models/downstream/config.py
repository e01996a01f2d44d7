"""What a downstream training is: task, pyramid, decoder, lessons and lengths, from a TOML file."""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from infra.errors import InputError, NotFoundError
from models.downstream.labelled import DataConfig
from models.downstream.lessons import LessonConfig
from models.training.config import TrainingConfig

MAX_BYTES = 100_000
_FOLDERS = (
    Path(__file__).resolve().parents[2] / "config" / "downstream",  # of a checkout
    Path(__file__).resolve().parent / "configurations",  # where a wheel holds the same files
)
_Table = TypeVar("_Table")


@dataclass(frozen=True, kw_only=True)
class PyramidConfig:
    """Which features a task is trained over.

    Attributes:
        name: ``conv`` for a small network, ``fixed`` for measurements nobody trained, or a MaRS preset.
        tuned: whether its weights learn too.
        weights: of a MaRS preset: a file, ``fresh`` for random ones, or empty for those that come with it.
    """

    name: str = "conv"
    tuned: bool = True
    weights: str = ""


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """How the pyramid's maps become one.

    Attributes:
        name: ``fpn`` or ``upernet``.
        width: features of the map.
    """

    name: str = "fpn"
    width: int = 24


@dataclass(frozen=True, kw_only=True)
class DownstreamConfig:
    """All that a downstream training is made of.

    Attributes:
        task: its name.
        pyramid: the features below it.
        decoder: what brings them to one map.
        lessons: how batches are made.
        training: lengths and rates.
        data: the labelled set to learn from; None for drawn places.
    """

    task: str
    pyramid: PyramidConfig = field(default_factory=PyramidConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    lessons: LessonConfig = field(default_factory=LessonConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig | None = None


def find_config(task: str) -> DownstreamConfig:
    """Read a task's configuration from ``config/downstream`` of this checkout, or the installed copy.

    Raises:
        NotFoundError: there is no such file.
        InputError: it holds what a configuration does not.
    """
    paths = [folder / f"{task}.toml" for folder in _FOLDERS]
    return read_config(next((path for path in paths if path.is_file()), paths[0]))


def read_config(path: Path) -> DownstreamConfig:
    """Read a configuration. Names it does not know and values of another type are refused.

    Raises:
        NotFoundError: there is no such file.
        InputError: it is too large or no TOML, or a name or value does not fit.
    """
    if not path.is_file():
        raise NotFoundError(f"There is no configuration {path}; copy one of config/downstream and name it.")
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} has more than {MAX_BYTES:,} bytes; expected a short TOML file.")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as exc:  # no UTF-8, or no TOML
        raise InputError(f"{path} is no TOML: {exc}.") from exc
    return parse_config(content, str(path))


def parse_config(content: Mapping[str, Any], place: str) -> DownstreamConfig:
    """Return the configuration that a TOML file's content spells.

    Args:
        content: tables by name.
        place: where it comes from, for errors.

    Raises:
        InputError: a name or a value does not fit.
    """
    return _fill(DownstreamConfig, content, place)


def _fill(kind: type[_Table], content: Mapping[str, Any], place: str) -> _Table:
    wanted = get_type_hints(kind)
    values = {}
    for name, value in content.items():
        if name not in wanted:
            near = difflib.get_close_matches(name, wanted, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(wanted)}."
            raise InputError(f"{place} has an entry {name!r}, which nothing reads; {hint}")
        values[name] = _take(wanted[name], value, f"{place}: {name}")
    absent = [one.name for one in _fields(kind) if _needed(one) and one.name not in values]
    if absent:
        raise InputError(f"{place} lacks {', '.join(absent)}.")
    try:
        return kind(**values)
    except InputError as exc:
        raise InputError(f"{place}: {exc.message}") from exc


def _take(wanted: Any, value: Any, place: str) -> Any:  # noqa: ANN401 - any entry's type and value
    wanted = next((one for one in get_args(wanted) if dataclasses.is_dataclass(one)), wanted)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        if not isinstance(value, Mapping):
            raise InputError(f"{place} is {value!r}; expected a table.")
        return _fill(wanted, value, place)
    if get_origin(wanted) is tuple:
        return _take_many(get_args(wanted)[0], value, place)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    known = wanted if isinstance(wanted, type) else (int, str)  # what is left are choices and optional counts
    if not isinstance(value, known) or (isinstance(value, bool) and wanted is not bool):
        spelt = wanted.__name__ if isinstance(wanted, type) else "a word or a whole number"
        raise InputError(f"{place} is {value!r}; expected {spelt}.")
    return value


def _take_many(wanted: Any, value: Any, place: str) -> tuple[Any, ...]:  # noqa: ANN401 - as above
    """Return a list's entries, or a table's names and words."""
    if get_origin(wanted) is tuple:
        if not isinstance(value, Mapping):
            raise InputError(f"{place} is {value!r}; expected a table of names and words.")
        return tuple((name, _take(str, word, f"{place}: {name}")) for name, word in value.items())
    if not isinstance(value, list):
        raise InputError(f"{place} is {value!r}; expected a list.")
    return tuple(_take(wanted, one, place) for one in value)


def _fields(kind: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _needed(one: dataclasses.Field[Any]) -> bool:
    return one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
