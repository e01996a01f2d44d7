"""How the fields of items are described for filters and sorting."""

from dataclasses import dataclass

import pytest
from jsonschema import Draft202012Validator

from catalog.database.values import Kind
from catalog.server.queryables import describe_queryables, describe_sortables

URL = "https://example.org/queryables"


@dataclass
class Known:
    name: str
    kinds: Kind


def describe(*properties):
    return describe_queryables(properties, url=URL, title="All")


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (Kind.NUMBER, {"type": "integer"}),
        (Kind.NUMBER | Kind.FRACTION, {"type": "number"}),
        (Kind.HUGE, {"type": "integer"}),
        (Kind.TEXT, {"type": "string"}),
        (Kind.TEXT | Kind.LONG_TEXT, {"type": "string"}),
        (Kind.MOMENT, {"type": "string", "format": "date-time"}),
        (Kind.MOMENT | Kind.TEXT, {"type": "string"}),
        (Kind.BOOLEAN, {"type": "boolean"}),
        (Kind.ARRAY, {"type": "array"}),
        (Kind.OBJECT, {"type": "object"}),
        (Kind.TEXT | Kind.NUMBER, {"type": ["string", "integer"]}),
        (Kind(0), {}),
    ],
)
def test_kinds_become_types(kinds, expected):
    described = describe(Known("p", kinds))["properties"]["p"]
    assert described == {"title": "p", **expected}


def test_the_description_is_a_schema_that_accepts_nothing_else():
    schema = describe(Known("gsd", Kind.NUMBER), Known("datetime", Kind.MOMENT))
    Draft202012Validator.check_schema(schema)
    assert (schema["$id"], schema["type"], schema["additionalProperties"]) == (URL, "object", False)
    assert list(schema["properties"]) == ["id", "collection", "geometry", "datetime", "gsd"]
    assert schema["properties"]["datetime"]["$ref"].endswith("datetime.json#/properties/datetime")


def test_what_has_no_order_is_not_sorted_by():
    known = [Known("bands", Kind.ARRAY), Known("gsd", Kind.NUMBER), Known("mixed", Kind.ARRAY | Kind.TEXT)]
    schema = describe_sortables(known, url=URL, title="All")
    Draft202012Validator.check_schema(schema)
    assert list(schema["properties"]) == ["id", "collection", "datetime", "gsd", "mixed"]
