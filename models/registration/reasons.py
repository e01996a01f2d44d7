"""Name every reason for which two scenes are not registered."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

Reason: TypeAlias = Literal[
    "no-overlap",
    "too-small",
    "no-data",
    "nothing-to-see",
    "too-few-points",
    "no-agreement",
    "poor-spread",
    "large-residual",
    "halves-differ",
    "too-far",
]
REASONS: dict[Reason, str] = {
    "no-overlap": "The scenes share no ground.",
    "too-small": "The ground that the scenes share is too small to search for anything in it.",
    "no-data": "One of the scenes has no valid pixel on the ground that they share.",
    "nothing-to-see": "One of the scenes shows one value only on the ground that they share.",
    "too-few-points": "Too few places could be compared: the ground has hardly any structure.",
    "no-agreement": "The places found do not agree on one displacement more than chance would let them.",
    "poor-spread": "The places that agree lie in one part of the scenes; the rest would be guessed.",
    "large-residual": "The places that agree scatter too far about the transform.",
    "halves-differ": "The two halves of the scenes, each by itself, ask for different displacements.",
    "too-far": "The correction is larger than the scenes' geolocation can be wrong.",
}
"""Code → what it means."""
assert set(REASONS) == set(get_args(Reason))
