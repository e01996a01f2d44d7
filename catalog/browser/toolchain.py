"""Find Node, and run its programs with nothing of ours in their environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import ConfigError

OLDEST_NODE = 20
_TIMEOUT_S = 1200.0
_PASSED_ON = re.compile(
    r"PATH|HOME|USER|LANG|LC_.*|TMPDIR|XDG_.*|npm_config_.*|https?_proxy|no_proxy|NODE_EXTRA_CA_CERTS|SSL_CERT_.*",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """Name the Node.js programs of this machine."""

    node: str
    npm: str
    version: str
    """As ``node --version`` says it, e.g. ``v20.11.1``."""


def find_node(environ: Mapping[str, str] = os.environ) -> Node:
    """Find Node.js and npm on the PATH.

    Raises:
        ConfigError: none, one that does not start, or one older than ``OLDEST_NODE``.
    """
    found = [shutil.which(name, path=environ.get("PATH")) for name in ("node", "npm")]
    if not all(found):
        raise ConfigError(f"node and npm are not on the PATH: install Node.js {OLDEST_NODE} or newer")
    node, npm = (str(path) for path in found)
    try:
        done = subprocess.run(
            [node, "--version"], capture_output=True, text=True, timeout=30, check=True, env=bare(environ)
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise ConfigError(f"{node} --version fails ({exc}): repair or reinstall Node.js") from exc
    version = done.stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < OLDEST_NODE:
        raise ConfigError(f"{node} is {version[:40]!r}: Node.js {OLDEST_NODE} or newer is needed")
    return Node(node=node, npm=npm, version=version)


def bare(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a foreign build may know of our environment: no token, no credential, no setting."""
    return {name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)}


def run_logged(words: Sequence[str], *, folder: Path, log: Path, environ: Mapping[str, str]) -> None:
    """Run a program in a folder; what it says goes to the end of a log file.

    Raises:
        ConfigError: it does not start, takes too long, or ends with an error; the message names the log.
    """
    with log.open("a", encoding="utf-8") as target:
        target.write(f"$ {' '.join(words)}\n")
        target.flush()
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env=bare(environ),
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise ConfigError(f"{Path(words[0]).name} {words[1]} did not finish ({exc}): see {log}") from exc
    if done.returncode != 0:
        raise ConfigError(
            f"{Path(words[0]).name} {words[1]} ended with code {done.returncode}"
            f"{_last_error(log)}: see {log}; it needs the npm registry"
        )


def _last_error(log: Path) -> str:
    """Quote the first line in which npm says what is wrong."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    start = max((number for number, line in enumerate(lines) if line.startswith("$ ")), default=0)
    told = [line for line in lines[start:] if re.match(r"(npm (error|ERR!)|\s*ERROR|Error:)", line)]
    return f" ({told[0].strip()[:200]})" if told else ""
