"""Read a trained model's card, as a training writes it: JSON that may come from anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from infra.errors import DataError

_MAX_BYTES = 1 << 20
MODEL_NAME = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
"""It becomes part of paths and of item ids."""
SHA256 = r"^[0-9a-f]{64}$"
ModelName = Annotated[str, Field(pattern=MODEL_NAME, max_length=64)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
Count = Annotated[int, Field(ge=0)]
Figure = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class ArrayCard:
    """Describe one array that a model takes or gives."""

    name: str
    description: str
    axes: tuple[str, ...]
    """Names of its axes in order, e.g. ``height``."""
    shape: tuple[int, ...]
    """One length per axis; -1 for any."""
    dtype: str
    bands: tuple[str, ...] = ()
    """Along the axis ``bands``, in order; none where any will do."""
    scaling: tuple[dict[str, Any], ...] = ()
    """What is done to its values beforehand: MLM's value scaling objects, one for all bands or one each."""
    prepared_by: str | None = None
    """``module:function`` of this project that makes it of raw pixels."""


@dataclass(frozen=True, kw_only=True)
class SignatureCard:
    """Say what kind of network a model is, what goes in and what comes out."""

    architecture: str
    tasks: tuple[str, ...]
    """Of MLM's list."""
    inputs: tuple[ArrayCard, ...]
    outputs: tuple[ArrayCard, ...]


@dataclass(frozen=True, kw_only=True)
class WeightsCard:
    """Describe the file of weights."""

    size: Count
    sha256: Sha256
    parameters: Count
    numbers: str = "float16"


@dataclass(frozen=True, kw_only=True)
class StartCard:
    """Name the model whose weights another one goes on from."""

    name: ModelName
    sha256: Sha256


@dataclass(frozen=True, kw_only=True)
class TrainingCard:
    """Say how a model was trained."""

    steps: Count
    best_step: Count
    minutes: Figure
    device: str
    processes: Count
    precision: str
    seed: Count
    config: dict[str, Any]
    """Every number of the training."""


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Hold what a card says of a trained model."""

    name: ModelName
    title: str
    summary: str
    data: tuple[str, ...]
    """What it is trained on, one source a line, with licences."""
    validation: str
    licence: str
    """SPDX identifier, or ``other``."""
    signature: SignatureCard
    weights: WeightsCard
    training: TrainingCard
    start: StartCard | None = None
    """Whose weights it goes on from; None for fresh ones."""
    figures: dict[str, Figure | None] = field(default_factory=dict)
    """What the model's own evaluation says; None for what is no number."""
    limits: tuple[str, ...] = ()
    software: dict[str, str] = field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The figure by which its weights were chosen; None where there is none."""
        return self.figures.get("score")


_CARD = TypeAdapter(ModelCard)


def read_card(document: bytes | Mapping[str, Any], where: str) -> ModelCard:
    """Read a card; what it says beyond a :class:`ModelCard` is passed over.

    Args:
        document: The JSON file, or its content.
        where: What to call it in messages.

    Raises:
        DataError: it is no card, or says too little; the first fault is named.
    """
    if isinstance(document, bytes) and len(document) > _MAX_BYTES:
        raise DataError(f"{where} has {len(document)} bytes; a model's card has {_MAX_BYTES} at most")
    try:
        if isinstance(document, bytes):
            return _CARD.validate_json(document)
        return _CARD.validate_python(document)
    except ValidationError as exc:
        fault = exc.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, fault["loc"])) or "the whole"
        raise DataError(f"{where} is no model's card: {place}: {fault['msg']}; train the model anew") from exc
