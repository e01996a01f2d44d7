"""List the kinds of products there are: where their receipts and items come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from catalog import plan as cube_plans
from catalog.embeddings import plan as embedding_plans
from catalog.embeddings.plan import EMBEDDING_RECEIPT, EmbeddingPlan, EmbeddingReceipt
from catalog.items.collections import EMBEDDINGS, MODELS, OSM, REGISTRATIONS, SCENES
from catalog.items.embedding import embedding_item
from catalog.items.model import model_item
from catalog.items.osm import osm_item
from catalog.items.registration import registration_item
from catalog.items.scene import scene_item
from catalog.models import plan as model_plans
from catalog.models.plan import MODEL_RECEIPT, ModelPlan, ModelReceipt
from catalog.osm import plan as osm_plans
from catalog.osm.plan import OSM_RECEIPT, OsmPlan, OsmReceipt
from catalog.receipts import read_receipt
from catalog.records import CUBE_RECEIPT, CubePlan, CubeReceipt
from catalog.registrations import plan as registration_plans
from catalog.registrations.plan import REGISTRATION_RECEIPT, RegistrationPlan, RegistrationReceipt
from infra.errors import InternalError
from infra.storage import Storage

PlacedPlan = CubePlan | OsmPlan | RegistrationPlan | EmbeddingPlan
"""Products of one place, on a grid."""
ProductPlan = PlacedPlan | ModelPlan
ProductReceipt = CubeReceipt | OsmReceipt | RegistrationReceipt | EmbeddingReceipt | ModelReceipt


@dataclass(frozen=True, kw_only=True)
class ProductOutcome:
    """Tell what became of one planned product."""

    id: str
    quarantined: str | None = None
    """Why the product could not be made; None when it stands."""
    tiles_read: int = 0
    """Work units whose input was read; the others stood already."""
    bytes_written: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class _Kind:
    """What is done with one kind of product."""

    collection: str
    receipt: TypeAdapter[Any]
    digest: Callable[[Any], str]
    item: Callable[..., dict[str, Any]]


_KINDS: dict[type[ProductPlan], _Kind] = {
    CubePlan: _Kind(SCENES, CUBE_RECEIPT, cube_plans.plan_digest, scene_item),
    OsmPlan: _Kind(OSM, OSM_RECEIPT, osm_plans.plan_digest, osm_item),
    EmbeddingPlan: _Kind(EMBEDDINGS, EMBEDDING_RECEIPT, embedding_plans.plan_digest, embedding_item),
    ModelPlan: _Kind(MODELS, MODEL_RECEIPT, model_plans.plan_digest, model_item),
    RegistrationPlan: _Kind(
        REGISTRATIONS, REGISTRATION_RECEIPT, registration_plans.plan_digest, registration_item
    ),
}


def collection_of(plan: ProductPlan) -> str:
    """Return the id of the collection that a product is published into."""
    return _KINDS[type(plan)].collection


def digest_of(plan: ProductPlan) -> str:
    """Return the digest of a plan, 64 hexadecimal digits."""
    return _KINDS[type(plan)].digest(plan)


def receipt_of(storage: Storage, plan: ProductPlan) -> ProductReceipt | None:
    """Return the receipt of a product; None while it does not exist.

    Raises:
        DataError: what is stored there is no receipt.
    """
    receipt: ProductReceipt | None = read_receipt(storage, plan.path, _KINDS[type(plan)].receipt)
    return receipt


def item_of(storage: Storage, plan: ProductPlan, *, execution_href: str | None) -> dict[str, Any]:
    """Describe a product that stands as a STAC item.

    Args:
        storage: Where it stands.
        plan: What it is.
        execution_href: Lasting URL of the run that made it; None leaves it out.

    Raises:
        InternalError: it has no receipt, so it must not be published.
    """
    receipt = receipt_of(storage, plan)
    if receipt is None:
        raise InternalError(f"product {plan.id} was to be published, but has no receipt")
    make_item = _KINDS[type(plan)].item
    return make_item(plan, receipt, root_href=storage.uri, execution_href=execution_href)
