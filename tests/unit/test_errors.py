"""The tree of errors: whose fault it is, and that it survives the way between processes."""

import pickle

import pytest

from infra.errors import (
    AppError,
    ConfigError,
    DataError,
    InputError,
    InternalError,
    NotFoundError,
    TransientError,
)

KINDS = [InputError, ConfigError, NotFoundError, DataError, TransientError, InternalError]


def test_tree_has_exactly_these_branches():
    direct = {kind for kind in AppError.__subclasses__() if kind.__module__ == "infra.errors"}
    assert direct == set(KINDS)


@pytest.mark.parametrize(("kind", "builtin"), [(InputError, ValueError), (NotFoundError, LookupError)])
def test_two_branches_are_builtins_too(kind, builtin):
    assert issubclass(kind, builtin)


def test_not_found_shows_its_message_unquoted():
    assert str(NotFoundError("item 'a' is absent")) == "item 'a' is absent"


@pytest.mark.parametrize("kind", KINDS)
def test_pickle_keeps_kind_message_and_context(kind):
    error = kind("tile 0-1 is blank", band="red", tiles=3)
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert str(back) == back.message == "tile 0-1 is blank"
    assert back.context == {"band": "red", "tiles": 3}


def test_every_error_of_the_project_pickles():
    def below(kind):
        return {kind, *(leaf for child in kind.__subclasses__() for leaf in below(child))}

    for kind in below(AppError):
        back = pickle.loads(pickle.dumps(kind("message", place="here")))
        assert (type(back), back.message, back.context) == (kind, "message", {"place": "here"})
