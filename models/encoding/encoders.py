"""Every encoder by its name; what one needs is imported when it is asked for."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from infra.digests import sha256_of_file
from infra.errors import DataError, InputError
from models.shipped import find_shipped

if TYPE_CHECKING:  # names are looked up where torch's weight is not wanted
    from models.encoding.encoder import DenseEncoder

FILTERS = "filters"
LEARNED_ENCODERS = ("mars-tiny", "mars-base", "mars-large")
ENCODERS = (*LEARNED_ENCODERS, FILTERS)
"""Names of all encoders."""
_KEPT = 2  # a worker that turns from one model to another and back loads none twice


def check_encoder(name: str) -> str:
    """Return the name of an encoder that there is.

    Raises:
        InputError: there is none by that name; the nearest one is given.
    """
    if name not in ENCODERS:
        near = difflib.get_close_matches(name, ENCODERS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(ENCODERS)}"
        raise InputError(f"there is no encoder {name!r}; {hint}")
    return name


def describe_windows(name: str) -> tuple[int, int, int]:
    """Return width, stride and window of an encoder, see ``DenseEncoder``, without its weights.

    Raises:
        InputError: there is no such encoder.
    """
    if check_encoder(name) == FILTERS:
        from models.encoding.filter_bank import FilterBank

        return FilterBank.width, FilterBank.stride_px, FilterBank.window_px
    from models.mars.config import PATCH_PX
    from models.mars.presets import find_preset

    preset = find_preset(name)
    return preset.dense_width, PATCH_PX, preset.image_px


def find_encoder_weights(name: str, weights: Path | None = None) -> Path | None:
    """Return the file of an encoder's weights; None for one that has none.

    Args:
        name: Of the encoder.
        weights: A file to take in place of those that come with it.

    Raises:
        InputError: there is no such encoder or file, it takes no weights, or none come with it.
    """
    if check_encoder(name) == FILTERS:
        if weights is not None:
            raise InputError(f"encoder {FILTERS!r} takes no weights, but {weights} is given; leave it out")
        return None
    if weights is not None:
        if not weights.is_file():
            raise InputError(f"there is no weights file {weights}")
        return weights
    return find_shipped(name).weights


def digest_weights(name: str, weights: Path | None = None) -> str | None:
    """Return the SHA-256 of an encoder's weights, 64 hexadecimal digits; None for one without any.

    Raises:
        InputError: see ``find_encoder_weights``.
    """
    path = find_encoder_weights(name, weights)
    return None if path is None else sha256_of_file(path)


def load_encoder(name: str, device: str, *, digest: str | None, weights: Path | None = None) -> DenseEncoder:
    """Return an encoder that is ready on a device; a process loads the same weights once.

    Args:
        name: One of :data:`ENCODERS`.
        device: As torch spells it.
        digest: What the weights must hash to; None for an encoder without any.
        weights: Their file; None for those that come with the encoder.

    Raises:
        InputError: there is no such encoder or weights.
        DataError: the file holds other weights than those that were asked for.
    """
    path = find_encoder_weights(name, weights)
    if path is not None and digest is not None and _digest_once(path, path.stat().st_mtime_ns) != digest:
        raise DataError(
            f"{path} does not hold the weights {digest[:12]} of {name} that the plan names; "
            "put the same file on every worker"
        )
    return _build(name, device, digest, path)


@lru_cache(maxsize=8)
def _digest_once(path: Path, _modified_ns: int) -> str:
    return sha256_of_file(path)


@lru_cache(maxsize=_KEPT)
def _build(name: str, device: str, _digest: str | None, path: Path | None) -> DenseEncoder:
    if name == FILTERS:
        from models.encoding.filter_bank import FilterBank

        return FilterBank()
    from models.mars.checkpoint import load_mars
    from models.mars.dense import MarsDenseEncoder
    from models.mars.presets import find_preset

    return MarsDenseEncoder(load_mars(find_preset(name), path).to(device))
