"""Read back where a registration says that its moving scene truly lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from catalog.receipts import RECEIPT_NAME
from catalog.registrations.plan import PRODUCTS_FOLDER, SceneFacts, SixNumbers
from catalog.registrations.product import TRANSFORM_NAME
from infra.errors import DataError, InputError, NotFoundError
from infra.storage import Storage
from infra.urls import check_id


@dataclass(frozen=True, kw_only=True)
class Correction:
    """What of a registration's ``transform.json`` moves pixels.

    Attributes:
        fixed: item of the scene that stays.
        moving: item of the one that is moved.
        registered: whether the transform may be used.
        explanation: the verdict in a sentence.
        applied: how the transform is applied: ``geotransform``, ``warp`` or ``none``.
        corrected_transform: the moving scene's geotransform; None unless it is applied so.
    """

    fixed: str
    moving: str
    registered: bool
    explanation: str
    applied: str
    corrected_transform: SixNumbers | None

    def correct(self, moving: SceneFacts) -> SceneFacts:
        """Return the moving scene where it truly lies.

        Raises:
            InputError: the scenes are not registered, or no geotransform can say where it lies.
        """
        if not self.registered:
            raise InputError(f"{self.moving} is not registered to {self.fixed}: {self.explanation}")
        if self.corrected_transform is None:
            raise InputError(
                f"the registration of {self.moving} to {self.fixed} bends its pixels, or lies in another "
                "CRS; only one that a geotransform can say is used here"
            )
        return replace(moving, grid=replace(moving.grid, transform=self.corrected_transform))


_CORRECTION = TypeAdapter(Correction)


def read_correction(storage: Storage, name: str) -> Correction:
    """Read a published registration.

    Args:
        storage: The store.
        name: Id of its item.

    Raises:
        InputError: this is no name of an item.
        NotFoundError: the store holds no such registration.
        DataError: its document is damaged.
    """
    path = f"{PRODUCTS_FOLDER}/{check_id(name, what='registration')}"
    if not storage.exists(f"{path}/{RECEIPT_NAME}"):
        raise NotFoundError(
            f"{storage.uri} holds no registration {name!r}; 'terraloom items' lists what there is"
        )
    try:
        return _CORRECTION.validate_json(storage.read(f"{path}/{TRANSFORM_NAME}"))
    except (ValidationError, NotFoundError) as exc:
        raise DataError(f"{storage.href(path)} does not say what was moved where; make it again") from exc
