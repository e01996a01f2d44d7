"""The same request gives the same products wherever it is computed."""

from __future__ import annotations

import pytest

from tests.support.snapshots import comparable_items, receipts, store_tree


@pytest.mark.long
def test_a_cluster_of_separate_processes_gives_the_same_products(undisturbed, quick_terraloom, store):
    told = quick_terraloom.run(*undisturbed.world.mapping(store), "--json").told
    assert told["item_ids"] == undisturbed.summary["item_ids"]
    assert receipts(store) == receipts(undisturbed.store)
    assert store_tree(store) == store_tree(undisturbed.store)
    assert comparable_items(store) == comparable_items(undisturbed.store)
    assert (store / "runs" / told["run"] / "dask-report.html").is_file()
