"""Make a model that was trained elsewhere stand in a store: one that comes with the package, or a result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from prefect import task

from catalog.models.card import read_card
from catalog.models.plan import ModelPlan, plan_model
from catalog.models.product import CARD_NAME, FILE_NAMES, WEIGHTS_NAME, find_model, write_model
from infra.digests import sha256_of_file
from infra.errors import ConfigError, NotFoundError
from infra.storage import open_storage
from models.matchers import LEARNED_MATCHERS
from models.shipped import find_shipped, read_shipped
from tasks.policies import NETWORK


def plan_shipped(name: str) -> ModelPlan:
    """Name the product of a model that comes with the package; nothing is written.

    Raises:
        InputError: none of that name does.
    """
    return plan_model(name, sha256_of_file(find_shipped(name).weights))


def plan_matcher(matcher: str) -> ModelPlan | None:
    """Name the product of the weights that come with a learned matcher; None for a matcher without any.

    Raises:
        InputError: the matcher is learned, and no weights come with it.
    """
    return plan_shipped(matcher) if matcher in LEARNED_MATCHERS else None


@task(**NETWORK)
def keep_shipped(store_uri: str, name: str) -> ModelPlan:
    """Copy a model that comes with the package into a store, unless one of its weights stands there.

    Args:
        store_uri: Root of the store.
        name: Of the model.

    Raises:
        InputError: none of that name comes with the package.
        DataError: its card is not that of its weights.
        ConfigError: the store is full or may not be written.
    """
    plan = plan_shipped(name)
    if find_model(open_storage(store_uri), plan) is not None:
        return plan  # a later package may word its card otherwise; nobody who uses the model need care
    return _keep(store_uri, read_shipped(find_shipped(name)), f"the model {name} of the package")


@task(**NETWORK)
def keep_result(store_uri: str, folder: Path) -> ModelPlan:
    """Copy what a training left in a folder into a store, unless it stands there.

    Args:
        store_uri: Root of the store.
        folder: With weights, card and what else a training leaves.

    Raises:
        NotFoundError: the folder is no result of a training.
        DataError: its files are not of one training, or the model stands with another card.
        ConfigError: the store is full or may not be written, or a file cannot be read.
    """
    files: dict[str, bytes] = {}
    for name in FILE_NAMES:
        try:
            if (folder / name).is_file():
                files[name] = (folder / name).read_bytes()
        except OSError as exc:
            raise ConfigError(f"{folder / name} cannot be read: {exc.strerror}; see its permissions") from exc
    missing = [name for name in (WEIGHTS_NAME, CARD_NAME) if name not in files]
    if missing:
        raise NotFoundError(f"{folder} holds no {missing[0]}; give the folder that a training has left")
    return _keep(store_uri, files, str(folder / CARD_NAME))


def _keep(store_uri: str, files: Mapping[str, bytes], where: str) -> ModelPlan:
    name = read_card(files[CARD_NAME], where).name
    plan = plan_model(name, hashlib.sha256(files[WEIGHTS_NAME]).hexdigest())
    write_model(open_storage(store_uri), plan, files)
    return plan
