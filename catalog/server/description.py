"""Describe the API: as OpenAPI for programs, and on a page for people that loads nothing from elsewhere."""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from stac_fastapi.types.requests import get_base_url
from starlette.routing import Route

from catalog.server.reading import DOCS_PATH, OPENAPI_JSON, OPENAPI_PATH, answer

_PAGE = Path(__file__).with_name("docs_page.html")


def describe_itself(app: FastAPI) -> None:
    """Let an application answer its OpenAPI description and the page about it.

    Both come before the routes that FastAPI and stac-fastapi make: their page loads scripts from a foreign
    host, and their description says that it is OpenAPI 3.0.
    """
    app.router.routes.insert(0, Route(f"/{OPENAPI_PATH}", _answer_openapi, name="openapi"))
    app.router.routes.insert(0, Route(f"/{DOCS_PATH}", _answer_page, name="docs"))


def _answer_openapi(request: Request) -> Response:
    described = {**_tidy(request.app), "servers": [{"url": get_base_url(request).rstrip("/")}]}
    return answer(described, media_type=OPENAPI_JSON)


def _answer_page(request: Request) -> Response:
    page, policy = _read_page()
    return Response(page, media_type="text/html", headers={"Content-Security-Policy": policy})


@cache
def _read_page() -> tuple[str, str]:
    """Read the page, and allow exactly its own script and style."""
    page = _PAGE.read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; script-src {_hash(page, 'script')}; style-src {_hash(page, 'style')};"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page, policy


def _hash(page: str, tag: str) -> str:
    (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digest = hashlib.sha256(content.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _tidy(app: FastAPI) -> dict[str, Any]:
    """Say of malformed requests what this server answers, which is not what FastAPI takes for granted."""
    described = copy.deepcopy(app.openapi())
    schemas = described.get("components", {}).get("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Failure"] = {
        "title": "Failure",
        "type": "object",
        "required": ["code", "description"],
        "properties": {"code": {"type": "string"}, "description": {"type": "string"}},
    }
    refusal = {"$ref": "#/components/schemas/Failure"}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            _name_path_parameters(path, operation)
            if operation.get("description") == "Endpoint.":  # stac-fastapi's own word for all of them
                del operation["description"]
            if operation["responses"].pop("422", None) is not None:
                operation["responses"]["400"] = {
                    "description": "The request is malformed.",
                    "content": {"application/json": {"schema": refusal}},
                }
    return described


def _name_path_parameters(path: str, operation: dict[str, Any]) -> None:
    """Name what stands in the path: a route of stac-fastapi's own does not."""
    parameters = operation.setdefault("parameters", [])
    named = {each["name"] for each in parameters if each["in"] == "path"}
    for name in re.findall(r"{(\w+)", path):
        if name not in named:
            parameters.append({"name": name, "in": "path", "required": True, "schema": {"type": "string"}})
