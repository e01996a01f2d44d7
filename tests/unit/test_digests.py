"""Digests: one spelling of JSON, files in blocks, multihash as STAC wants it."""

import hashlib

import pytest

from infra.digests import canonical_json, sha256_of_file, sha256_of_json, to_multihash


def test_canonical_json_sorts_keys_and_leaves_no_blanks():
    assert canonical_json({"b": [1, 2.5, None], "a": "Köln"}) == '{"a":"Köln","b":[1,2.5,null]}'.encode()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_what_json_cannot_spell_is_refused(value):
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(value)


def test_known_digest_of_json():
    assert sha256_of_json({}) == hashlib.sha256(b"{}").hexdigest()


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_file_digest_does_not_depend_on_block_borders(tmp_path, size):
    data = bytes(range(256)) * (size // 256 + 1)
    file = tmp_path / "file"
    file.write_bytes(data[:size])
    assert sha256_of_file(file) == hashlib.sha256(data[:size]).hexdigest()


def test_multihash_names_algorithm_and_length():
    text = to_multihash("00" * 32)
    assert bytes.fromhex(text)[:2] == bytes([0x12, 32])
    assert len(bytes.fromhex(text)) == 34
