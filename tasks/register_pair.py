"""Register one product to another: read both on one grid, find the transform, keep it with its verdict."""

from __future__ import annotations

import dataclasses
import math
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from prefect import task

from catalog.products import ProductOutcome
from catalog.registrations.grids import share_ground
from catalog.registrations.plan import RegistrationPlan
from catalog.registrations.product import Outcome, write_registration
from catalog.registrations.reading import read_scene
from catalog.registrations.tie_points import FoundPoints
from infra.errors import DataError, NotFoundError
from infra.storage import open_storage
from tasks.policies import PIXELS

if TYPE_CHECKING:
    from models.registration.scenes import Registration, RegistrationConfig


@task(task_run_name="register-{plan.id}", **PIXELS)
def register_pair(store_uri: str, plan: RegistrationPlan, *, device: str = "cpu") -> ProductOutcome:
    """Make a registration stand; that two scenes cannot be registered is one as well.

    Args:
        store_uri: Root of the store that holds both products.
        plan: What is registered to what.
        device: Where the matcher computes, as torch spells it.

    Returns:
        What was done; damaged pixels quarantine the pair instead of failing the run.

    Raises:
        InputError: no such matcher or device, or its weights are lacking.
        ConfigError: the store is full or may not be written.
    """
    started = time.perf_counter()
    storage = open_storage(store_uri)
    try:
        fixed, moving = (read_scene(storage, scene, plan.grid) for scene in (plan.fixed, plan.moving))
    except (DataError, NotFoundError) as exc:
        return ProductOutcome(id=plan.id, quarantined=exc.message)
    outcome = _to_outcome(_register(plan, fixed.values, moving.values, device))
    try:
        receipt = write_registration(storage, plan, outcome, fixed, moving)
    except DataError as exc:  # of a variable that was not compared, but is resampled
        return ProductOutcome(id=plan.id, quarantined=exc.message)
    return ProductOutcome(
        id=plan.id,
        tiles_read=2,
        bytes_written=receipt.total_bytes,
        seconds=time.perf_counter() - started,
    )


def registration_settings() -> dict[str, Any]:
    """Return every number that a registration depends on: one setting for all pairs."""
    from models.registration.scenes import RegistrationConfig

    return dataclasses.asdict(RegistrationConfig())


def find_lean(plan: RegistrationPlan) -> tuple[float, float] | None:
    """Return the direction on the grid in which what stands leans in the moving scene, against the fixed one.

    Radar shows what is high nearer to the sensor. Between two radar scenes, as between two others, nothing
    is expected.
    """
    fixed, moving = plan.fixed.look_azimuth_deg, plan.moving.look_azimuth_deg
    if (fixed is None) == (moving is None):
        return None
    azimuth = math.radians(moving if moving is not None else fixed or 0.0)
    sign = 1.0 if moving is not None else -1.0
    a, b, _, d, e, _ = plan.grid.transform
    # World to pixels: the grid may be turned, and its rows run south.
    x, y = np.linalg.solve(np.array([[a, b], [d, e]]), [-math.sin(azimuth), -math.cos(azimuth)])
    length = math.hypot(x, y)
    return sign * float(x) / length, sign * float(y) / length


def _register(
    plan: RegistrationPlan, fixed: np.ndarray[Any, Any], moving: np.ndarray[Any, Any], device: str
) -> Registration:
    # Only here: torch takes seconds to import, which no other command should pay.
    from models.matchers import build_matcher
    from models.matching.images import prepare_image
    from models.registration.scenes import Registration, register_scenes

    matcher = build_matcher(plan.matcher, device)
    if not share_ground(plan.fixed.grid, plan.moving.grid):
        return Registration.refused("no-overlap")
    return register_scenes(
        prepare_image(fixed), prepare_image(moving), matcher, _settings_of(plan), lean_xy=find_lean(plan)
    )


def _settings_of(plan: RegistrationPlan) -> RegistrationConfig:
    """Return the settings that a plan was made with."""
    from pydantic import TypeAdapter

    from models.registration.scenes import RegistrationConfig

    return TypeAdapter(RegistrationConfig).validate_python(plan.settings)


def _to_outcome(registration: Registration) -> Outcome:
    from models.registration.fits import PlaneFit, invert_at
    from models.registration.gate import residuals_px
    from models.registration.words import describe_transform, explain_verdict

    fit, points, verdict = registration.fit, registration.points, registration.verdict
    residual = np.full(len(points), np.nan) if fit is None else residuals_px(points, fit)
    figures = dataclasses.asdict(verdict.figures) | {"ratio": verdict.figures.ratio}
    if registration.lean is not None:
        figures |= {"lean_px": registration.lean.mean_px}
    return Outcome(
        reason=verdict.reason,
        explanation=explain_verdict(registration),
        model=None if fit is None else fit.kind,
        fixed_from_moving=fit.fixed_from_moving if isinstance(fit, PlaneFit) else None,
        description=describe_transform(fit),
        moving_from_fixed=None if fit is None else lambda xy: invert_at(fit, xy),
        figures=figures | {"matched": registration.matched},
        left_out_px={str(kind): value for kind, value in registration.residual_px.items()},
        points=FoundPoints(
            fixed_xy=points.fixed_xy,
            moving_xy=points.moving_xy,
            scores=points.scores,
            residual_px=residual,
            agrees=registration.inliers,
        ),
    )
