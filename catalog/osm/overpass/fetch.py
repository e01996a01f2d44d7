"""Turn an Overpass answer into a local extract: fetched once, kept whole, read like any other file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import random
import shutil
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import shapely

from catalog.grid import BoundsLonLat, check_bounds
from catalog.osm.overpass.answers import LONGEST_PAUSE_S
from catalog.osm.overpass.client import download_answers, list_polygons
from catalog.osm.overpass.elements_file import write_elements_file
from catalog.osm.overpass.options import OverpassOptions, check_server
from infra.digests import sha256_of_json
from infra.errors import AppError, DataError, NotFoundError, TransientError
from infra.storage import process_lives, translate_os_error

_log = logging.getLogger(__name__)
_SUFFIX = ".osm.pbf"
_PARTS_SUFFIX = ".parts"
_SERVER_SUFFIX = ".server"
_RESUME_WITHIN_S = 3600.0  # answers of one area should be of about one state of OSM


def fetch_overpass(area: BoundsLonLat, options: OverpassOptions, *, cache: Path) -> Path:
    """Return a PBF of an area: from the cache, or else from the first Overpass server that delivers it.

    The file's header names the state of OSM it holds and the box. It is complete or absent. Answers that
    came before a failure are kept for an hour, so that another try asks only for the rest.

    Args:
        area: Box in degrees; west > east crosses the antimeridian.
        options: What is asked for, and of whom.
        cache: Folder of fetched files; made when absent.

    Returns:
        ``<sha256 of area, keys and date>.osm.pbf`` in the cache; :func:`read_server` says who sent it.

    Raises:
        InputError: not a box, or too large an area.
        TransientError: no server delivers it now; says what happened at each.
        NotFoundError: every server refuses.
        DataError: what the servers send is not OSM data.
        ConfigError: the cache cannot be written.
    """
    polygons = list_polygons(check_bounds(area), options.max_query_area_m2)
    digest = name_query(area, options)
    target = cache.absolute() / f"{digest}{_SUFFIX}"
    if _is_kept(target, options):
        return target
    with _one_process(target.parent):
        if not _is_kept(target, options):  # another process may just have fetched it
            _fetch(area, polygons, options, target)
    return target


def name_query(area: BoundsLonLat, options: OverpassOptions) -> str:
    """Name what is asked for, whomever it is asked of: sha256, 64 hexadecimal digits."""
    return sha256_of_json(
        {
            "area": [float(edge) for edge in area],
            "keys": sorted(set(options.keys)),
            "date": options.date_clause,
        }
    )


def read_server(path: Path) -> str:
    """Return the address of the server that sent a file of the cache.

    Raises:
        InputError: somebody wrote something else there.
    """
    return check_server(_server_note(path).read_text(encoding="utf-8", errors="replace"))


def _server_note(target: Path) -> Path:
    # Not in the file itself: two servers may send the same, and then it is one extract.
    return target.with_name(target.name.removesuffix(_SUFFIX) + _SERVER_SUFFIX)


def _is_kept(target: Path, options: OverpassOptions) -> bool:
    if not (target.is_file() and _server_note(target).is_file()):
        return False
    return options.max_cache_age_s is None or _age_s(target) < options.max_cache_age_s


def _age_s(path: Path) -> float:
    return time.time() - path.stat().st_mtime


@contextlib.contextmanager
def _one_process(cache: Path) -> Iterator[None]:
    """Let one process at a time ask Overpass for this cache; a lock ends with the process that holds it."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as held:
            lock = held.enter_context((cache / ".overpass.lock").open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            _sweep(cache)
            release = held.pop_all()
    except OSError as exc:
        raise translate_os_error(exc, str(cache)) from exc
    with release:
        yield


def _sweep(cache: Path) -> None:
    """Remove what earlier fetches left: answers too old or cut off, and files of processes that died."""
    for answer in cache.glob(f"*{_PARTS_SUFFIX}/*/*"):
        if answer.suffix != ".json" or _age_s(answer) > _RESUME_WITHIN_S or not _is_json(answer):
            answer.unlink()
    for folder in (*cache.glob(f"*{_PARTS_SUFFIX}/*"), *cache.glob(f"*{_PARTS_SUFFIX}")):
        with contextlib.suppress(OSError):  # not empty: in use again
            folder.rmdir()
    for part in cache.glob(f".*{_SUFFIX}.*.part"):
        process = part.name.split(".")[-2].partition("-")[0]
        if not (process.isdecimal() and process_lives(int(process[:9]))):
            part.unlink()


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):  # nested without end
        return False
    return True


def _fetch(
    area: BoundsLonLat, polygons: Sequence[shapely.Polygon], options: OverpassOptions, target: Path
) -> None:
    parts = target.with_name(target.name.removesuffix(_SUFFIX) + _PARTS_SUFFIX)
    troubles: dict[str, AppError] = {}
    for url in map(check_server, options.urls):
        folder = parts / hashlib.sha256(url.encode()).hexdigest()[:12]
        try:
            _ask_server(url, polygons, options, folder)
            _write(area, options, folder, target)
            _write_note(url, target)
        except (TransientError, NotFoundError, DataError) as exc:
            _log.warning("Overpass server %s did not deliver: %s", url, exc)
            troubles[url] = exc
            if isinstance(exc, DataError):
                shutil.rmtree(folder)  # asking again must not find the same
        except OSError as exc:
            raise translate_os_error(exc, str(target)) from exc
        else:
            shutil.rmtree(parts)
            return
    raise _sum_up(troubles)


def _ask_server(
    url: str, polygons: Sequence[shapely.Polygon], options: OverpassOptions, folder: Path
) -> None:
    """Ask one server until it has delivered everything, or failed too often in a row without any progress."""
    delivered, failures = _count_answers(folder), 0
    while True:
        try:
            return download_answers(url, polygons, options, folder=folder)
        except TransientError as exc:
            progress = _count_answers(folder) > delivered
            delivered, failures = _count_answers(folder), 1 if progress else failures + 1
            pause_s = _choose_pause(exc, failures, options)
            if failures >= options.attempts or pause_s > LONGEST_PAUSE_S:
                raise
            _log.info("Overpass server %s: %s; asking again in %.1f s", url, exc, pause_s)
            time.sleep(pause_s)


def _count_answers(folder: Path) -> int:
    return sum(1 for _ in folder.glob("*.json"))


def _choose_pause(exc: TransientError, failures: int, options: OverpassOptions) -> float:
    """Double the pause with each failure, by chance half as long or half as long again, or as asked for."""
    chance = random.uniform(0.5, 1.5)  # noqa: S311 - keeps clients apart, keeps no secret
    own = min(options.first_pause_s * 2.0 ** (failures - 1), LONGEST_PAUSE_S / 1.5) * chance
    asked = exc.context.get("retry_after_s")
    return max(own, asked) if isinstance(asked, float) else own


def _write(area: BoundsLonLat, options: OverpassOptions, folder: Path, target: Path) -> None:
    part = _part_of(target)
    try:
        write_elements_file(sorted(folder.glob("*.json")), part, bounds=area, state=options.date)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _write_note(url: str, target: Path) -> None:
    part = _part_of(target)
    try:
        part.write_text(url, encoding="utf-8")
        part.replace(_server_note(target))
    finally:
        part.unlink(missing_ok=True)


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part")


def _sum_up(troubles: dict[str, AppError]) -> AppError:
    message = "no Overpass server delivered the area: " + "; ".join(
        f"{url}: {exc}" for url, exc in troubles.items()
    )
    kinds = [type(exc) for exc in troubles.values()]
    if TransientError in kinds:
        return TransientError(message + " - try again later, or give an extract file")
    kind = DataError if DataError in kinds else NotFoundError
    return kind(message + " - correct the setting of Overpass servers, or give an extract file")
