"""Tell radar in decibels from radar in plain numbers, and say so when the data declare the other one."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from infra.errors import DataError, InputError

RadarUnit = Literal["dB", "linear", "amplitude"]
UNITS: tuple[RadarUnit, ...] = ("dB", "linear", "amplitude")
_FEW_DECIBELS = 0.001  # even a city's echoes lie below 0 dB here and there
_FEW_POWERS = 0.01  # noise that was subtracted leaves some negative powers
_LOUDEST_DB = 100.0


def read_unit(stated: str | None) -> RadarUnit:
    """Return the unit a band states; without one its numbers are taken as linear power.

    Raises:
        InputError: a unit that is none of radar's.
    """
    told = (stated or "").strip().lower()
    for unit in UNITS:
        if told == unit.lower():
            return unit
    if told in {"", "1", "power", "intensity"}:
        return "linear"
    raise InputError(f"Radar in {stated!r} is not known; expected one of {', '.join(UNITS)}.")


def check_unit(values: NDArray[np.floating], unit: RadarUnit, where: str) -> None:
    """Compare the range of radar values with what their unit allows.

    Decibels of backscatter are mostly below 0; power and amplitude never are.

    Args:
        values: any shape; NaN where there is no data. Nothing but NaN passes.
        unit: as declared.
        where: said in the complaint, e.g. the file.

    Raises:
        DataError: the range is that of the other kind.
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return
    below = float(np.mean(known < 0))
    low, high = float(known.min()), float(known.max())
    span = f"its values go from {low:g} to {high:g}, {below:.0%} of them below 0"
    if unit == "dB" and (below < _FEW_DECIBELS or max(-low, high) > _LOUDEST_DB):
        raise DataError(f"{where} is declared as decibels, but {span}; declare it linear or amplitude.")
    if unit != "dB" and below > _FEW_POWERS:
        raise DataError(f"{where} is declared as {unit}, but {span}; declare it dB.")


def blank_zeros(values: NDArray[np.float32], unit: RadarUnit) -> NDArray[np.float32]:
    """Return backscatter with NaN where it is 0, unless it is in decibels.

    In power and amplitude 0 is how files spell "no data", for no echo is ever 0; 0 dB is an echo like others.
    """
    return values if unit == "dB" else np.where(values == 0, np.float32(np.nan), values)


def to_decibels(values: NDArray[np.float32], unit: RadarUnit) -> NDArray[np.float32]:
    """Return backscatter in decibels; NaN where there is none, or no echo at all."""
    if unit == "dB":
        return values
    factor = np.float32(10.0 if unit == "linear" else 20.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = factor * np.log10(values)
    return np.where(np.isfinite(logs), logs, np.float32(np.nan)).astype(np.float32)
