"""Run the terraloom command line: parse, call a command, turn errors into one line and an exit code.

Exit codes: 0 done · 1 anything unexpected · 2 wrong input, settings or place · 3 finished, but more cubes
than allowed went to quarantine.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

import typer
from typer._click.exceptions import UsageError  # typer carries its own click and exports no such name

from flows.commands import catalogue, chips, evaluate, models
from flows.commands.browse import browse
from flows.commands.demo import demo
from flows.commands.doctor import doctor
from flows.commands.encode import encode
from flows.commands.export import export
from flows.commands.map import ingest, map_command, plan
from flows.commands.osm import osm
from flows.commands.register import register
from flows.commands.serve import serve
from flows.commands.similar import similar
from flows.commands.stac import stac
from flows.commands.store import gc, items
from flows.commands.train import train
from infra.errors import AppError, ConfigError, DataError, InputError, NotFoundError

EXIT_UNEXPECTED = 1
EXIT_INPUT = 2

app = typer.Typer(
    name="terraloom",
    help="A place and a time in, catalogued analysis-ready cubes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo)
app.command("map")(map_command)
app.command("ingest")(ingest)
app.command("osm")(osm)
app.command("register")(register)
app.command("encode")(encode)
app.command("similar")(similar)
app.command("plan")(plan)
app.command("serve")(serve)
app.command("browse")(browse)
app.command("items")(items)
app.command("export")(export)
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(evaluate.app, name="evaluate")
app.add_typer(chips.app, name="chips")
app.command("train")(train)
app.add_typer(models.app, name="models")
app.command("gc")(gc)
app.command("stac")(stac)
app.command("doctor")(doctor)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code.

    Args:
        arguments: Words after ``terraloom``; the process's own when None.
    """
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code instead of leaving."""
    try:
        code = app(args=arguments, standalone_mode=False)
    except UsageError as exc:
        return _fail(_usage_complaint(exc, sys.argv[1:] if arguments is None else arguments), EXIT_INPUT)
    except typer.Exit as exc:
        return exc.exit_code
    except (typer.Abort, KeyboardInterrupt):
        return _fail("stopped", EXIT_UNEXPECTED)
    except (InputError, ConfigError, NotFoundError, DataError) as exc:
        return _fail(exc.message, EXIT_INPUT)
    except AppError as exc:
        return _fail(exc.message, EXIT_UNEXPECTED)
    return code if isinstance(code, int) else 0


def _usage_complaint(exc: UsageError, words: Sequence[str]) -> str:
    """Spell a usage error with the value that is wrong, which typer leaves out."""
    options = set(getattr(getattr(exc, "param", None), "opts", ()))
    given = next((value for word, value in itertools.pairwise(words) if word in options), None)
    message = exc.format_message()
    return message if given is None or given in message else f"{message}; {given!r} was given"


def _fail(message: str, code: int) -> int:
    # One line, whatever a foreign message holds: an escape sequence could rewrite the terminal.
    line = "".join(letter for letter in " ".join(message.split()) if letter.isprintable())
    sys.stderr.write(f"terraloom: {line}\n")
    return code
