"""Take paths on the command line literally, whatever they mean in Hydra's grammar.

For Hydra, a bracket starts a list, `1e3` is a number, and letters beyond ASCII are an error. Commas keep their meaning:
they separate the values of a sweep, unless the value has its own quotes inside those of the shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from unlearnbench.errors import UserError

PLACES = (
    "outputs", "dataset.root", "dataset.metadata", "dataset.path", "dataset.cache", "dataset.test_file", "eval.root",
    "eval.harness.root", "forget.file", "model.path", "model.checkpoint", "model.pretrained", "method.path",
    "track.tensorboard.folder", "hydra.sweep.dir",
)  # fmt: skip
"""Keys whose values are paths; any new key with a path belongs here too."""
ONE = ("outputs", "hydra.sweep.dir")
"""Paths that must be the same for a whole sweep."""

_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.\.?/)[A-Za-z0-9_./-]*|\.\.?")
_WORDS = ("true", "false", "null", "inf", "nan")
_FUNCTION = re.compile(r"(?:choice|shuffle|sort|glob|extend_list)\(.*\)", re.DOTALL)
_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_PIECE = re.compile(rf"{_QUOTED}(?=,|\Z)|[^,]*", re.DOTALL)


def literal(words: Iterable[str]) -> list[str]:
    """Quote the paths among overrides for Hydra, if they need it and are not quoted yet."""
    return [_literal(word) for word in words]


def text(value: str) -> str:
    """Return a value in quotes, so that Hydra takes it literally."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(value, Quote.double).with_quotes()


def typed(key: str, value: str) -> str:
    """Return what to type in a shell so that the value, including its commas, is one text."""
    return shlex.quote(f"{key}={text(value)}")


def several(word: str) -> bool:
    """Return whether an override of a path has several values."""
    return _key(word) in PLACES and len(_pieces(word.partition("=")[2])) > 1


def refuse_several(words: Sequence[str]) -> None:
    """Raise UserError if a sweep gets several paths where it needs one."""
    for word in words:
        key, _, value = word.partition("=")
        if _key(word) in ONE and several(word):
            raise UserError(
                f"{word}: a sweep writes into one folder, and a comma separates values.\n"
                f"Try: {typed(key, value)} if the comma is part of the name"
            )


def escaped(words: Sequence[str]) -> str:
    """Return a hint for the first path that contains ${, which refers to another value.

    "" if there is none.
    """
    for word in words:
        key, _, value = word.partition("=")
        if _key(word) in PLACES and "${" in value:
            return f"\nTry: {typed(key, value.replace('${', chr(92) + '${'))} if ${{ is part of the name"
    return ""


def meant_as_one(words: Sequence[str]) -> str:
    """Return a hint for the first existing path that was split at a comma; "" if there is none."""
    for word in words:
        key, _, value = word.partition("=")
        if several(word) and Path(value).exists():
            return f"\nA comma separates values here, but {value} exists.\nTry: {typed(key, value)}"
    return ""


def _literal(word: str) -> str:
    key, mark, value = word.partition("=")
    if not mark or _key(word) not in PLACES or is_function(value):
        return word
    return f"{key}={','.join(_quoted(piece, key) for piece in _pieces(value))}"


def is_function(value: str) -> bool:
    """Return whether a value is one of Hydra's sweep functions, which must not be quoted."""
    return _FUNCTION.fullmatch(value) is not None


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _pieces(value: str) -> list[str]:
    """Split a value at the commas outside quotes."""
    pieces, rest = [], value
    while True:
        piece = _PIECE.match(rest)[0]  # type: ignore[index]
        pieces.append(piece)
        if len(piece) == len(rest):
            return pieces
        rest = rest[len(piece) + 1 :]


def _quoted(piece: str, key: str) -> str:
    """Return one value as Hydra must get it."""
    own = _WORDS if key.lstrip("+") == "model.pretrained" else ("null",)
    kept = piece.lower() in own or _is_quoted(piece) or not piece
    plain = _PLAIN.fullmatch(piece) is not None and piece.lower() not in _WORDS
    return piece if kept or plain else text(piece)


def _is_quoted(piece: str) -> bool:
    return re.fullmatch(rf"\s*{_QUOTED}\s*", piece, re.DOTALL) is not None
