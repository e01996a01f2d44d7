"""Sort every failure by what the caller can do about it.

    AppError
    ├── InputError (ValueError)       an argument or parameter is wrong       → fail, do not retry
    ├── ConfigError                   settings, machine or disk are wrong      → fail at the start
    ├── NotFoundError (LookupError)   an item, asset or catalogue is absent    → fail the item
    ├── DataError                     data are there but unusable              → quarantine
    ├── TransientError                network, throttling, a lost worker       → retry (nothing else is)
    └── InternalError                 a broken invariant: a bug                → fail loudly

The message says what failed, with value and place, what was expected, and what to do.
"""

from __future__ import annotations

from typing import Any


class AppError(Exception):
    """Carry a message and keyword context; picklable, so it crosses worker processes whole.

    Args:
        message: One line: what failed, with value and place, what was expected, what to do.
        **context: Small facts for machines (ids, paths, counts).
    """

    def __init__(self, message: str, **context: object) -> None:
        super().__init__(message)
        self.message = message
        self.context = context

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from message and context: keyword arguments are lost by default."""
        return _rebuild, (type(self), self.message, self.context)


def _rebuild(kind: type[AppError], message: str, context: dict[str, Any]) -> AppError:
    return kind(message, **context)


class InputError(AppError, ValueError):
    """The caller's argument or parameter is wrong: fail, do not retry."""


class ConfigError(AppError):
    """Settings, machine, lock or disk are wrong: fail at the start."""


class NotFoundError(AppError, LookupError):
    """An item, asset, collection or catalogue is absent: fail the item."""


class DataError(AppError):
    """Data are there but unusable (corrupt, blank, off the grid): quarantine."""


class TransientError(AppError):
    """Network, throttling or a lost worker: retry. The only class retried."""


class InternalError(AppError):
    """An invariant is broken, which is a bug: fail loudly."""
