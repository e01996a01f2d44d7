"""Digests depend on what is said, not on how it is ordered."""

import json

from hypothesis import given
from hypothesis import strategies as st

from infra.digests import canonical_json, sha256_of_json, to_multihash

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), values, max_size=6))
def test_order_of_keys_does_not_matter(document):
    turned = dict(reversed(document.items()))
    assert canonical_json(turned) == canonical_json(document)
    assert sha256_of_json(turned) == sha256_of_json(document)


@given(values)
def test_nothing_is_lost(value):
    assert json.loads(canonical_json(value)) == value


@given(values, values)
def test_different_documents_have_different_digests(one, two):
    if canonical_json(one) != canonical_json(two):
        assert sha256_of_json(one) != sha256_of_json(two)


@given(values)
def test_multihash_has_the_digest_at_its_end(value):
    digest = sha256_of_json(value)
    assert to_multihash(digest) == f"1220{digest}"
