"""Keep bytes under names on local disk or S3-compatible storage, atomically, behind one small interface.

Three promises hold on both: a reader never sees half an object, ``write_if_absent`` has one winner, and
foreign errors come out as ours (disk full → ConfigError, absent → NotFoundError, network → TransientError).
"""

from __future__ import annotations

import datetime as dt
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from infra.errors import AppError, ConfigError, InputError, NotFoundError, TransientError

_PART_SUFFIX = ".part"
_CREDENTIAL_REQUESTS = (
    "latest/api/token",  # the machine's metadata service, asked when the environment holds no keys
    "iam",
    "credential",
    "access denied",
    "invalidaccesskeyid",
    "signaturedoesnotmatch",
)


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """Describe one object in a store."""

    path: str
    """Relative to the store's root, ``/``-separated."""
    size: int
    """Bytes."""
    modified: dt.datetime
    """UTC."""


class Storage(Protocol):
    """Read and write whole objects under ``/``-separated paths relative to one root."""

    @property
    def uri(self) -> str:
        """Root as an absolute path or ``s3://`` URI, without a trailing slash."""
        ...

    def href(self, path: str) -> str:
        """Spell where an object is, so that GDAL, fsspec and zarr open it as it is."""
        ...

    def read(self, path: str) -> bytes:
        """Return an object's bytes; NotFoundError when absent."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a whole object atomically, replacing any older one."""
        ...

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Write a whole object unless one is there; exactly one of many callers gets True."""
        ...

    def exists(self, path: str) -> bool:
        """Say whether an object is there."""
        ...

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """List the objects below a folder, sorted by path; nothing when the folder is absent."""
        ...

    def list_folders(self, prefix: str) -> list[str]:
        """List the names of the folders directly below a folder, sorted."""
        ...

    def delete(self, path: str) -> None:
        """Delete one object; absent is fine."""
        ...

    def delete_folder(self, prefix: str) -> None:
        """Delete every object below a folder; absent is fine."""
        ...

    def free_bytes(self) -> int | None:
        """Return the room left, bytes; None when the store does not tell."""
        ...

    def sweep_leftovers(self, prefix: str) -> int:
        """Remove what writers that died left half-written below a folder; return how many."""
        ...


def open_storage(uri: str) -> Storage:
    """Open a store by its URI: ``s3://bucket/prefix``, ``file:///path`` or a path.

    S3 credentials, region and endpoint come from the usual ``AWS_*`` environment variables.

    Raises:
        InputError: a scheme this project does not write to.
    """
    check_store_uri(uri)
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return S3Storage(uri)
    return LocalStorage(Path(parts.path if parts.scheme == "file" else uri))


def check_store_uri(uri: str) -> None:
    """Refuse what cannot name a store, without touching any.

    Raises:
        InputError: no path, a scheme this project does not write to, or an S3 URI without a bucket.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        if not parts.netloc:
            raise InputError(f"store {uri!r} names no bucket; give s3://bucket/prefix")
    elif "://" in uri and parts.scheme != "file":
        raise InputError(f"store {uri!r} has an unknown scheme; give a local path or s3://bucket/prefix")
    elif not uri.strip() or "\0" in uri:
        raise InputError(f"store {uri!r} is not a path; give a local path or s3://bucket/prefix")


class LocalStorage:
    """Keep objects as files below a folder.

    A write goes to a hidden ``.part`` file that names its process, then is renamed: what a killed process
    leaves behind can be told from what a living one is still writing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.expanduser().absolute()

    @property
    def uri(self) -> str:
        """Absolute path of the root folder."""
        return str(self._root)

    def _path(self, path: str) -> Path:
        if path.startswith("/") or ".." in path.split("/"):
            raise InputError(f"object name {path!r} leaves the store; names are relative, without '..'")
        return self._root / path

    def href(self, path: str) -> str:
        """Absolute path of an object."""
        return str(self._path(path))

    def read(self, path: str) -> bytes:
        """Return a file's bytes."""
        with _local_errors(self._path(path)):
            return self._path(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Write a file whole by renaming."""
        target = self._path(path)
        with _local_errors(target):
            part = _write_part(target, data)
            try:
                part.replace(target)
            finally:
                part.unlink(missing_ok=True)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Write a file whole unless there is one; a hard link makes the check and the write one step."""
        target = self._path(path)
        with _local_errors(target):
            part = _write_part(target, data)
            try:
                os.link(part, target)
            except FileExistsError:
                return False
            finally:
                part.unlink()
        return True

    def exists(self, path: str) -> bool:
        """Say whether a file is there."""
        return self._path(path).is_file()

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """List the finished files below a folder."""
        folder = self._path(prefix)
        for file in sorted(folder.rglob("*")):
            if file.is_file() and not _is_part(file):
                stat = file.stat()
                yield StoredObject(
                    path=file.relative_to(self._root).as_posix(),
                    size=stat.st_size,
                    modified=dt.datetime.fromtimestamp(stat.st_mtime, dt.UTC),
                )

    def list_folders(self, prefix: str) -> list[str]:
        """List the folders directly below a folder."""
        folder = self._path(prefix)
        return sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []

    def delete(self, path: str) -> None:
        """Delete one file."""
        self._path(path).unlink(missing_ok=True)

    def delete_folder(self, prefix: str) -> None:
        """Delete a folder whole."""
        folder = self._path(prefix)
        if folder.is_dir():
            with _local_errors(folder):
                shutil.rmtree(folder)

    def free_bytes(self) -> int | None:
        """Return the room left on the disk of the root."""
        existing = next(path for path in (self._root, *self._root.parents) if path.exists())
        return shutil.disk_usage(existing).free

    def sweep_leftovers(self, prefix: str) -> int:
        """Remove ``.part`` files whose process is gone."""
        dead = [part for part in self._path(prefix).rglob(f".*{_PART_SUFFIX}") if not _writer_lives(part)]
        for part in dead:
            part.unlink(missing_ok=True)
        return len(dead)


class S3Storage:
    """Keep objects in an S3-compatible bucket through obstore.

    ``write_if_absent`` needs a server that honours ``If-None-Match: *`` (AWS S3, MinIO, moto do).
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        self._insecure = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        self.objects = S3Store.from_url(self._uri, client_options={"allow_http": self._insecure})

    @property
    def uri(self) -> str:
        """``s3://bucket/prefix``."""
        return self._uri

    def href(self, path: str) -> str:
        """``s3://`` URI of an object."""
        return f"{self._uri}/{path}"

    def read(self, path: str) -> bytes:
        """Return an object's bytes."""
        with _s3_errors(self.href(path)):
            return bytes(obstore.get(self.objects, path).bytes())

    def write(self, path: str, data: bytes) -> None:
        """Put an object; S3 puts are atomic."""
        with _s3_errors(self.href(path)):
            obstore.put(self.objects, path, data)

    def write_if_absent(self, path: str, data: bytes) -> bool:
        """Put an object on condition that there is none."""
        with _s3_errors(self.href(path)):
            try:
                obstore.put(self.objects, path, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def exists(self, path: str) -> bool:
        """Say whether an object is there, by a HEAD request."""
        with _s3_errors(self.href(path)):
            try:
                obstore.head(self.objects, path)
            except FileNotFoundError:
                return False
        return True

    def list_objects(self, prefix: str) -> Iterator[StoredObject]:
        """List the objects below a folder."""
        with _s3_errors(self.href(prefix)):
            found = [entry for page in obstore.list(self.objects, prefix) for entry in page]
        for entry in sorted(found, key=lambda entry: entry["path"]):
            yield StoredObject(path=entry["path"], size=entry["size"], modified=entry["last_modified"])

    def list_folders(self, prefix: str) -> list[str]:
        """List the common prefixes directly below a folder."""
        with _s3_errors(self.href(prefix)):
            listing: Any = obstore.list_with_delimiter(self.objects, prefix)
        return sorted(folder.rstrip("/").rsplit("/", 1)[-1] for folder in listing["common_prefixes"])

    def delete(self, path: str) -> None:
        """Delete one object."""
        with _s3_errors(self.href(path)):
            obstore.delete(self.objects, path)

    def delete_folder(self, prefix: str) -> None:
        """Delete every object below a folder."""
        paths = [entry.path for entry in self.list_objects(prefix)]
        if paths:
            with _s3_errors(self.href(prefix)):
                obstore.delete(self.objects, paths)

    def below(self, folder: str) -> S3Store:
        """Open a folder of this store as an obstore store of its own."""
        return S3Store.from_url(self.href(folder), client_options={"allow_http": self._insecure})

    def free_bytes(self) -> int | None:
        """S3 does not tell."""
        return None

    def sweep_leftovers(self, prefix: str) -> int:
        """Nothing to do: an S3 put is whole or absent."""
        return 0


def _write_part(target: Path, data: bytes) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}{_PART_SUFFIX}")
    try:
        part.write_bytes(data)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return part


def _is_part(file: Path) -> bool:
    return file.name.startswith(".") and file.name.endswith(_PART_SUFFIX)


def _writer_lives(part: Path) -> bool:
    pid = part.name.removesuffix(_PART_SUFFIX).rsplit(".", 1)[-1].partition("-")[0]
    return pid.isdigit() and process_lives(int(pid))


def process_lives(pid: int) -> bool:
    """Say whether a process of this machine is alive (a zombie is not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return False
        return _answers_signal(pid)
    return state != "Z"


def _answers_signal(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _local_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as exc:
        raise NotFoundError(f"{path} does not exist") from exc
    except OSError as exc:
        raise translate_os_error(exc, str(path)) from exc


def translate_os_error(exc: OSError, place: str) -> AppError:
    """Say what an operating-system error means to the caller."""
    if exc.errno in {errno.ENOSPC, errno.EDQUOT}:
        return ConfigError(f"no space left on the disk of {place}; free some or choose another --store")
    if exc.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return ConfigError(f"{place} may not be written: {exc.strerror}; choose another --store")
    if exc.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG}:
        return ConfigError(f"{place} cannot be a store folder: {exc.strerror}; choose another --store")
    return TransientError(f"{place}: {exc.strerror or exc}")


@contextmanager
def _s3_errors(place: str) -> Iterator[None]:
    try:
        yield
    except AppError:
        raise
    except FileNotFoundError as exc:
        raise NotFoundError(f"{place} does not exist") from exc
    except (PermissionDeniedError, UnauthenticatedError) as exc:
        raise ConfigError(f"{place}: access refused; check the AWS_* credentials") from exc
    except BaseError as exc:
        line = str(exc).splitlines()[0]
        if any(word in line.lower() for word in _CREDENTIAL_REQUESTS):
            raise ConfigError(f"{place}: {line}; check the AWS_* credentials") from exc
        raise TransientError(f"{place}: {line}") from exc
