"""Spell a registration's transform and verdict for files and people."""

from __future__ import annotations

from typing import Any

from models.registration.fits import Fit, PlaneFit, ThinPlateFit
from models.registration.gate import Verdict
from models.registration.reasons import REASONS
from models.registration.scenes import Registration

_DECIMALS = 9


def describe_transform(fit: Fit | None) -> dict[str, Any]:
    """Spell a transform as JSON, so that it can be applied from that alone; nothing for none.

    A thin plate at ``(x, y)`` is ``[1, u, v] @ plane + sum(r² log r · bends)``, with ``u, v`` and the control
    points less the origin and divided by the scale, and ``r`` their distance.
    """
    if isinstance(fit, PlaneFit):
        return {"kind": fit.kind, "fixed_from_moving_px": _round(fit.fixed_from_moving.tolist())}
    if isinstance(fit, ThinPlateFit):
        return {
            "kind": fit.kind,
            "control_px": _round(fit.control_xy.tolist()),
            "bends": _round(fit.bends.tolist()),
            "plane": _round(fit.plane.tolist()),
            "origin_px": _round([fit.origin_xy.tolist()])[0],
            "scale_px": fit.scale_px,
        }
    return {}


def explain_verdict(registration: Registration) -> str:
    """Say in one or two sentences what came out."""
    verdict, fit = registration.verdict, registration.fit
    if verdict.reason is not None:
        return f"{REASONS[verdict.reason]} {_count(verdict)}".strip()
    figures = verdict.figures
    assert fit is not None
    article = "an" if fit.kind == "affine" else "a"
    return (
        f"By {article} {fit.kind} of up to {figures.shift_px:.1f} px: {figures.inliers} of {figures.points} "
        f"tie points agree within {figures.rmse_px:.2f} px (root mean square)."
    )


def _count(verdict: Verdict) -> str:
    figures = verdict.figures
    return f"{figures.inliers} of {figures.points} tie points agree." if figures.points else ""


def _round(rows: list[list[float]]) -> list[list[float]]:
    return [[round(value, _DECIMALS) for value in row] for row in rows]
