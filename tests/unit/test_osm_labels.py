"""Which tags say what a feature is, and how they are written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.osm.labels import LEFT_OUT_KEYS, MAX_VALUE_LENGTH, label_tags, make_label


def read_back(label):
    return dict(tag.split(":", 1) for tag in label.split(";")) if label else {}


def test_a_label_is_sorted_and_plain():
    tags = {"surface": " asphalt ", "highway": "residential", "roof:shape": "gabled"}
    assert make_label(tags) == "highway:residential;roof shape:gabled;surface:asphalt"
    assert label_tags(tags) == {"highway": "residential", "roof shape": "gabled", "surface": "asphalt"}
    assert make_label({}) == ""


NAMES = "name name:de name_1 old_name alt_name:fr brand:wikidata operator railway:ref ref ref:INSEE uic_ref"
PLACES = "addr:street addr:housenumber is_in:country ISO3166-1:alpha2 website contact:phone phone"
EDITS = "source source:date source:maxspeed:backward note note:en fixme FIXME created_by wikidata"
IMPORTS = "tiger:cfcc gnis:feature_id gns:N:xx:FULL_NAME openGeoDB:loc_id swisstopo:KANTONSNUM"
MEASURES = "opening_hours wikipedia:en ele population start_date type layer"
KINDS = "highway building natural boundary route place surface access lanes maxspeed parking:lane:both"
DETAILS = "crossing_ref generator:source plant:source building:levels fuel:octane_95 recycling:glass"


@pytest.mark.parametrize("key", f"{NAMES} {PLACES} {EDITS} {IMPORTS} {MEASURES}".split())
def test_what_describes_nothing_is_left_out(key):
    assert label_tags({key: "x", "building": "yes"}) == {"building": "yes"}


@pytest.mark.parametrize("key", f"{KINDS} {DETAILS}".split())
def test_what_describes_is_kept(key):
    assert label_tags({key: "x"}) == {key.replace(":", " "): "x"}


def test_prose_and_addresses_are_left_out():
    assert label_tags({"building": "x" * (MAX_VALUE_LENGTH + 1), "tourism": "https://evil.example"}) == {}
    assert label_tags({"building": "x" * MAX_VALUE_LENGTH}) != {}


def test_separators_inside_values_become_commas():
    assert make_label({"sport": "tennis;football", "shop": "a\x00b\nc"}) == "shop:a,b,c;sport:tennis,football"


def test_of_keys_that_end_up_alike_the_first_stays():
    assert label_tags({"roof:shape": "b", "roof shape": "a"}) == {"roof shape": "a"}
    assert label_tags({" ": "x", "a": "  ", ":": "y"}) == {}


def test_every_reason_has_keys():
    assert all(LEFT_OUT_KEYS.values())


ODD = ["highway", "roof:shape", "a;b", "\n", "yes", "half\ud800"]
TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(ODD)


@given(st.dictionaries(TEXT, TEXT, max_size=6))
def test_a_label_reads_back_to_its_tags(tags):
    kept = label_tags(tags)
    assert read_back(make_label(tags)) == kept
    assert list(kept) == sorted(kept)
    assert label_tags(kept) == kept
    assert not any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in make_label(tags))
