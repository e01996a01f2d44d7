"""Speak Overpass on loopback: slot status, the queries osmnx asks, and the faults real servers have."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import shapely

Element = dict[str, Any]
Fault = Callable[["_Handler"], None]

FREE = "Rate limit: 2\n2 slots available now.\n"
STATE = "2026-03-01T12:00:00Z"


@dataclass
class OverpassServer:
    """Hold what the server knows, what goes wrong next, and what it was asked."""

    elements: list[Element]
    url: str = ""
    faults: list[Fault] = field(default_factory=list)
    """Each spoils one query, in order."""
    slots: list[str] = field(default_factory=list)
    """Each is one status answer, below the clock; afterwards a slot is free."""
    states: list[str] = field(default_factory=list)
    """Each is the timestamp of one answer; afterwards ``STATE``."""
    queries: list[str] = field(default_factory=list)
    statuses: int = 0

    def answer(self, query: str) -> Element:
        """Return the elements with the query's keys that touch its polygon, and all they consist of."""
        corners = re.search(r"poly:'([^']+)'", query)
        assert corners is not None, query
        numbers = [float(number) for number in corners.group(1).split()]
        polygon = shapely.Polygon(list(zip(numbers[1::2], numbers[::2], strict=True)))
        keys = set(re.findall(r"node\['([^']+)'\]", query))
        state = self.states.pop(0) if self.states else STATE
        return {
            "version": 0.6,
            "generator": "Overpass API 0.7.62",
            "osm3s": {"timestamp_osm_base": state, "copyright": "ODbL"},
            "elements": self._select(polygon, keys),
        }

    def _select(self, polygon: shapely.Polygon, keys: set[str]) -> list[Element]:
        index = {(element["type"], element["id"]): element for element in self.elements}
        chosen = [
            element
            for element in self.elements
            if keys & element.get("tags", {}).keys() and _shape(element, index).intersects(polygon)
        ]
        found: dict[tuple[str, int], Element] = {}
        while chosen:
            element = chosen.pop()
            found[element["type"], element["id"]] = element
            chosen += [index[part] for part in _parts(element) if part in index and part not in found]
        return list(found.values())


def _parts(element: Element) -> list[tuple[str, int]]:
    members = [(member["type"], member["ref"]) for member in element.get("members", [])]
    return members + [("node", number) for number in element.get("nodes", [])]


def _shape(element: Element, index: dict[tuple[str, int], Element]) -> shapely.Geometry:
    if element["type"] == "node":
        return shapely.Point(element["lon"], element["lat"])
    parts = [_shape(index[part], index) for part in _parts(element) if part in index]
    if element["type"] == "way" and len(parts) > 1:
        return shapely.LineString(parts)
    return shapely.GeometryCollection(parts)


@contextmanager
def serving_overpass(elements: list[Element]) -> Iterator[OverpassServer]:
    """Serve some elements on a free port."""
    state = OverpassServer(elements)

    class Handler(_Handler):
        overpass = state

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/api"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    overpass: OverpassServer

    def do_GET(self) -> None:
        assert self.path == "/api/status", self.path
        self.overpass.statuses += 1
        text = self.overpass.slots.pop(0) if self.overpass.slots else FREE
        head = "Connected as: 1\nCurrent time: 2026-03-01T12:00:10Z\nAnnounced endpoint: none\n"
        tail = "Currently running queries (pid, space limit, time limit, start time):\n"
        self.send(200, (head + text + tail).encode(), "text/plain")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        query = parse_qs(body)["data"][0]
        self.overpass.queries.append(query)
        if self.overpass.faults:
            self.overpass.faults.pop(0)(self)
        else:
            self.send(200, json.dumps(self.overpass.answer(query)).encode(), "application/json")

    def send(self, status: int, body: bytes, kind: str = "text/html", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def busy(status: int, **headers: str) -> Fault:
    """Answer as an overloaded server: an HTML page with a status, and perhaps ``Retry_After``."""
    page = b"<html><head><title>OSM3S</title></head><body><p>Too <b>busy</b></p></body></html>"
    return lambda handler: handler.send(status, page, **headers)


def page(handler: _Handler) -> None:
    """Answer with an error page, and status 200."""
    handler.send(200, b"<html><body><p><strong>Error</strong>: runtime &amp; load</p></body></html>")


def truncated(handler: _Handler) -> None:
    """Hang up in the middle of an answer."""
    handler.send(
        200, b'{"version": 0.6, "elements": [{"type": "no', "application/json", Content_Length="5000"
    )
    handler.close_connection = True


def remark(handler: _Handler) -> None:
    """Answer with what was found before the time ran out, and say so at the end."""
    answer = {
        "elements": [],
        "remark": 'runtime error: Query timed out in "query" at line 1 after 3 seconds.',
    }
    handler.send(200, json.dumps(answer).encode(), "application/json")


def raw(body: bytes) -> Fault:
    """Answer with some bytes, called JSON."""
    return lambda handler: handler.send(200, body, "application/json")


def literally(content: object) -> Fault:
    """Answer with some JSON."""
    return raw(json.dumps(content).encode())


def block_of_streets(west: float, south: float, *, step: float = 0.002, count: int = 6) -> list[Element]:
    """Lay out streets, houses, shops and a lake with an island as Overpass spells them.

    Args:
        west: Of the south-western junction, degrees; longitudes beyond 180 are wrapped.
        south: Likewise.
        step: Between streets, degrees.
        count: Streets in each direction.
    """
    elements: list[Element] = []

    def node(number: int, lon: float, lat: float, **tags: str) -> int:
        place = {"lon": round((lon + 180) % 360 - 180, 7), "lat": round(lat, 7)}
        elements.append({"type": "node", "id": number, **place, **({"tags": tags} if tags else {})})
        return number

    def way(number: int, nodes: list[int], **tags: str) -> int:
        elements.append({"type": "way", "id": number, "nodes": nodes, **({"tags": tags} if tags else {})})
        return number

    def square(number: int, lon: float, lat: float, size: float, **tags: str) -> int:
        corners = [(0.0, 0.0), (size, 0.0), (size, size), (0.0, size)]
        ring = [node(number * 10 + i, lon + x, lat + y) for i, (x, y) in enumerate(corners)]
        return way(number, [*ring, ring[0]], **tags)

    for row in range(count):
        for col in range(count):
            lon, lat = west + col * step, south + row * step
            node(1 + row * count + col, lon, lat, **({"highway": "crossing"} if row == col else {}))
            square(1000 + row * count + col, lon + step / 4, lat + step / 4, step / 4, building="house")
    for i in range(count):
        way(1 + i, [1 + i * count + k for k in range(count)], highway="residential", name=f"{i}th \u00e9 St")
        way(101 + i, [1 + i + k * count for k in range(count)], highway="footway" if i % 2 else "primary")
    node(900, west + step * 0.8, south + step * 0.8, shop="bakery", name="<b>\u2603</b>")
    outer = square(2000, west + step * 1.1, south + step * 1.6, step * 0.8)
    inner = square(2001, west + step * 1.3, south + step * 1.8, step * 0.2)
    members = [
        {"type": "way", "ref": outer, "role": "outer"},
        {"type": "way", "ref": inner, "role": "inner"},
    ]
    tags = {"type": "multipolygon", "natural": "water"}
    elements.append({"type": "relation", "id": 1, "members": members, "tags": tags})
    return elements
