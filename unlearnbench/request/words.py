"""Words of the command line that name a place: taken as they are typed, whatever Hydra's grammar makes of them.

To Hydra a bracket begins a list, `1e3` is a number, and letters beyond ASCII are an error. Commas keep their meaning:
they separate the values of a sweep, unless the value stands in quotes of its own, inside those of the shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from unlearnbench.errors import UserError

PLACES = (
    "outputs", "dataset.root", "eval.root", "model.path", "model.checkpoint", "model.pretrained", "hydra.sweep.dir",
)  # fmt: skip
"""Keys whose values are places; a further one with a path as its type belongs here too."""
ONE = ("outputs", "hydra.sweep.dir")
"""Places of which a sweep has one."""

_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.\.?/)[A-Za-z0-9_./-]*|\.\.?")
_WORDS = ("true", "false", "null", "inf", "nan")
_FUNCTION = re.compile(r"(?:choice|shuffle|sort|glob|extend_list)\(.*\)", re.DOTALL)
_QUOTED = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_PIECE = re.compile(rf"{_QUOTED}(?=,|\Z)|[^,]*", re.DOTALL)


def literal(words: Iterable[str]) -> list[str]:
    """Quote the places among overrides for Hydra, where they need it and are not quoted yet."""
    return [_literal(word) for word in words]


def text(value: str) -> str:
    """Return a value in quotes, in which Hydra takes every letter as it is."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(value, Quote.double).with_quotes()


def typed(key: str, value: str) -> str:
    """Return what to type in a shell so that the value, commas included, is one text."""
    return shlex.quote(f"{key}={text(value)}")


def several(word: str) -> bool:
    """Return whether an override of a place holds several values."""
    return _key(word) in PLACES and len(_pieces(word.partition("=")[2])) > 1


def refuse_several(words: Sequence[str]) -> None:
    """Raise UserError if a sweep is given several places of which it has one."""
    for word in words:
        key, _, value = word.partition("=")
        if _key(word) in ONE and several(word):
            raise UserError(
                f"{word}: a sweep writes into one folder, and a comma separates values.\n"
                f"Try: {typed(key, value)} where the comma is part of the name"
            )


def escaped(words: Sequence[str]) -> str:
    """Return a hint for the first place with a dollar sign and a brace, which refer to another value, or nothing."""
    for word in words:
        key, _, value = word.partition("=")
        if _key(word) in PLACES and "${" in value:
            return f"\nTry: {typed(key, value.replace('${', chr(92) + '${'))} where ${{ is part of the name"
    return ""


def meant_as_one(words: Sequence[str]) -> str:
    """Return a hint for the first place that a comma cut in two though it is there as a whole, or an empty text."""
    for word in words:
        key, _, value = word.partition("=")
        if several(word) and Path(value).exists():
            return f"\nA comma separates values here, and {value} is there as a whole.\nTry: {typed(key, value)}"
    return ""


def _literal(word: str) -> str:
    key, mark, value = word.partition("=")
    if not mark or _key(word) not in PLACES or is_function(value):
        return word
    return f"{key}={','.join(_quoted(piece, key) for piece in _pieces(value))}"


def is_function(value: str) -> bool:
    """Return whether a value is one of Hydra's functions over several values, which is never quoted."""
    return _FUNCTION.fullmatch(value) is not None


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _pieces(value: str) -> list[str]:
    """Return the values that commas outside of quotes separate."""
    pieces, rest = [], value
    while True:
        piece = _PIECE.match(rest)[0]  # type: ignore[index]
        pieces.append(piece)
        if len(piece) == len(rest):
            return pieces
        rest = rest[len(piece) + 1 :]


def _quoted(piece: str, key: str) -> str:
    """Return one value as Hydra must see it."""
    own = _WORDS if key.lstrip("+") == "model.pretrained" else ("null",)
    kept = piece.lower() in own or _is_quoted(piece) or not piece
    plain = _PLAIN.fullmatch(piece) is not None and piece.lower() not in _WORDS
    return piece if kept or plain else text(piece)


def _is_quoted(piece: str) -> bool:
    return re.fullmatch(rf"\s*{_QUOTED}\s*", piece, re.DOTALL) is not None
