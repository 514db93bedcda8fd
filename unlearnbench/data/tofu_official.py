"""TOFU's official folder (locuslab/TOFU on the hub): its rows, forget sets and questions.

Maini et al.: TOFU: A Task of Fictitious Unlearning for LLMs, COLM 2024, arXiv:2401.06121. Reads JSON lines, as
published, or the hub's parquet. A forget set is the last rows of `full`; its retain set is all rows before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.data.files import json_lines, need_pyarrow, parquet
from unlearnbench.errors import UserError

FULL = 4000
FORGET = {"forget01": 40, "forget05": 200, "forget10": 400}
"""The official forget sets, each with its number of rows at the end of `full`."""
RETAIN = {"forget01": "retain99", "forget05": "retain95", "forget10": "retain90"}
RETAIN_ASKED = "retain_perturbed"
HELD_OUT = ("real_authors", "world_facts")
COUNTS = {"full": FULL, RETAIN_ASKED: 400, "real_authors_perturbed": 100, "world_facts_perturbed": 117}
"""The number of rows of `full`, and of the files that are not part of it."""
ASKED = (*(f"{name}_perturbed" for name in FORGET), RETAIN_ASKED, *(f"{part}_perturbed" for part in HELD_OUT))
NEEDED = ("full", *FORGET, *ASKED)
PLAIN = "dataset.root=FOLDER with TOFU's JSON lines"
ENTIRE = "Try: dataset.root=FOLDER with TOFU's published files, all of one version"

Lines = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Official:
    """The folder's rows: `full`, and by file those to score on (forgetNN_perturbed, retain_perturbed, held out)."""

    full: Lines
    asked: dict[str, Lines]


def files_of(root: Path, name: str) -> list[Path]:
    """Return the files of one part, JSON lines or parquet; empty if it is missing."""
    for file in (root / f"{name}.json", root / f"{name}.jsonl", root / f"{name}.parquet"):
        if file.is_file():
            return [file]
    patterns = (f"{name}/*.parquet", f"{name}/train/*.parquet", f"data/{name}-*.parquet", f"data/{name}.parquet")
    return next((found for pattern in patterns if (found := sorted(root.glob(pattern)))), [])


def files(root: Path) -> list[Path]:
    """Return every file that is read or checked."""
    return [file for name in (*NEEDED, *RETAIN.values()) for file in files_of(root, name)]


def is_official(root: Path) -> bool:
    """Return whether a folder has the official layout; the continual variant has no `full`."""
    return bool(files_of(root, "full"))


def check(root: Path) -> None:
    """Raise UserError if a part is missing, or is parquet and pyarrow is not installed."""
    if lacking := [name for name in NEEDED if not files_of(root, name)]:
        raise UserError(f"dataset.root={root} lacks TOFU's {', '.join(lacking)} (.json or parquet).\n{ENTIRE}")
    for file in (file for name in NEEDED for file in files_of(root, name) if file.suffix == ".parquet"):
        need_pyarrow(file, PLAIN)


def read(root: Path) -> Official:
    """Read the folder; raise UserError if its files do not belong together."""
    full = rows_of(root, "full")
    asked = {name: rows_of(root, name) for name in ASKED}
    for name, count in COUNTS.items():
        if (held := len({"full": full, **asked}[name])) != count:
            raise UserError(f"{_place(root, name)} holds {held} rows; TOFU's {name} has {count}.\n{ENTIRE}")
    for name, count in FORGET.items():
        _check_rows(root, name, full[FULL - count :], f"the last {count} rows of full")
        if files_of(root, RETAIN[name]):
            _check_rows(root, RETAIN[name], full[: FULL - count], f"the first {FULL - count} rows of full")
    for name, count in FORGET.items():
        _check_asked(root, f"{name}_perturbed", asked[f"{name}_perturbed"], full[FULL - count :], name)
    _check_known(root, asked[RETAIN_ASKED], full[: FULL - FORGET["forget10"]])
    return Official(full=full, asked=asked)


def rows_of(root: Path, name: str, needed: Sequence[str] = ("question", "answer")) -> Lines:
    """Read one part; raise UserError if it cannot be read or a row lacks a `needed` column."""
    rows: Lines = []
    for file in files_of(root, name):
        rows += json_lines(file, needed) if file.suffix != ".parquet" else _parquet_rows(file, needed)
    return rows


def _parquet_rows(file: Path, needed: Sequence[str]) -> Lines:
    need_pyarrow(file, PLAIN)
    try:
        rows: Lines = parquet(file).read().to_pylist()
    except (OSError, ValueError, MemoryError) as error:
        raise UserError(f"{file} cannot be read as parquet: {str(error).splitlines()[0]}\n{ENTIRE}") from error
    for number, row in enumerate(rows, 1):
        if lacking := [name for name in needed if row.get(name) is None]:
            raise UserError(f"{file}, row {number} lacks {', '.join(lacking)}.\n{ENTIRE}")
    return rows


def _check_rows(root: Path, name: str, expected: Lines, where: str) -> None:
    """Raise UserError if a part is not the section of `full` that it should be."""
    rows, place = rows_of(root, name), _place(root, name)
    if len(rows) != len(expected):
        raise UserError(
            f"{place} holds {len(rows)} rows; TOFU's {name} has {len(expected)}: {where}."
            f" (The continual variant has more, and no full.)\n{ENTIRE}"
        )
    if [_said(row) for row in rows] != [_said(row) for row in expected]:
        raise UserError(f"{place} is not {where}: the versions differ.\n{ENTIRE}")


def _check_asked(root: Path, name: str, rows: Lines, forgotten: Lines, of: str) -> None:
    """Raise UserError if the rows to score are not the forget set's questions, or lack wrong answers."""
    if [row["question"] for row in rows] != [row["question"] for row in forgotten]:
        raise UserError(
            f"{_place(root, name)} does not have the {len(forgotten)} questions of {of}: it has {len(rows)} rows of"
            f" another version.\n{ENTIRE}"
        )
    _check_wrong(root, name, rows)


def _check_known(root: Path, rows: Lines, retained: Lines) -> None:
    """Raise UserError if the retain questions are not in the retain set or lack wrong answers."""
    known = {_said(row) for row in retained}
    if strange := [row for row in rows if _said(row) not in known]:
        raise UserError(
            f"{_place(root, RETAIN_ASKED)} has {len(strange)} questions that are not in retain90, such as "
            f"{strange[0]['question'][:60]!r}.\n{ENTIRE}"
        )
    _check_wrong(root, RETAIN_ASKED, rows)


def _check_wrong(root: Path, name: str, rows: Lines) -> None:
    lacking = sum(not row.get("perturbed_answer") or not row.get("paraphrased_answer") for row in rows)
    if lacking:
        raise UserError(f"{_place(root, name)}: {lacking} rows have no perturbed or paraphrased answer.\n{ENTIRE}")


def _said(row: dict[str, Any]) -> tuple[str, str]:
    return row["question"], row["answer"]


def _place(root: Path, name: str) -> Path:
    return files_of(root, name)[0]
