"""Tables and JSON lines from a local folder, or from the hub where the person at the command line has it."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator, Sequence, Sized
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.files.intake import size_of, text_of

if TYPE_CHECKING:
    import pandas

SUFFIXES = (".parquet", ".csv", ".jsonl")
TABLE, ROWS, COLUMNS = 2**30, 10**7, 1000
"""Most bytes of a table, in its file and out of it, and most of its rows and columns."""
AS_PUBLISHED = "Try: the file as its authors publish it"


def check_there(root: Path | None, remedy: str = "dataset.root=FOLDER, the one that holds the data") -> None:
    """Raise UserError where a root is given that does not exist; `remedy` is what to type next."""
    if root is not None and not root.exists():
        raise UserError(f"the data's folder {root} does not exist.\nTry: {remedy}")


def check_file(root: Path | None, hub: str, name: str, remedy: str) -> None:
    """Raise UserError where a data set's local file is missing, or the hub's copy cannot be asked for."""
    check_there(root, remedy)
    if root is not None:
        table_in(root, name, remedy)
    elif importlib.util.find_spec("datasets") is None:
        raise UserError(
            f"dataset={name} comes from the hub ({hub}), which needs the extra `hub`.\n"
            f"Try: pip install 'unlearnbench[hub]', or {remedy}"
        )
    elif os.environ.get("HF_HUB_OFFLINE") == "1":
        raise UserError(f"dataset={name} is on the hub ({hub}), and HF_HUB_OFFLINE=1.\nTry: {remedy}")


def table_in(root: Path, name: str, remedy: str) -> Path:
    """Return the table at or in `root`; raise UserError where there is none, or several."""
    if root.is_file() and root.suffix in SUFFIXES:
        return root
    found = [file for file in sorted(root.glob("*")) if file.suffix in SUFFIXES] if root.is_dir() else []
    if len(found) != 1:
        raise UserError(
            f"{root} is no {', '.join(SUFFIXES)} file of {name}, nor a folder with one: {len(found)}.\nTry: {remedy}"
        )
    return found[0]


def table_files(root: Path | None, hub: str, revision: str | None, remedy: str) -> dict[str, Path]:
    """Return the files that `read_table` reads: the local table, or what the hub's client keeps of its copy."""
    if root is not None:
        return {"table": table_in(root, hub, remedy)}
    return {f"part {number}": file for number, file in enumerate(_hub_files(hub, revision, remedy))}


@cache
def _hub_files(hub: str, revision: str | None, remedy: str) -> tuple[Path, ...]:
    parts = _fetched(hub, revision, remedy).values()
    return tuple(Path(entry["filename"]) for part in parts for entry in part.cache_files)


def read_table(
    root: Path | None, hub: str, revision: str | None, columns: Sequence[str], remedy: str
) -> pandas.DataFrame:
    """Return the table as a data frame; raise UserError where it cannot be read, is empty or lacks a column."""
    table = _from_hub(hub, revision, remedy) if root is None else _from_file(table_in(root, hub, remedy), remedy)
    place = hub if root is None else root
    if not len(table):
        raise UserError(f"{place} is empty: it holds no row.\nTry: {remedy}, with rows of {', '.join(columns)}")
    if lacking := [name for name in columns if name not in table.columns]:
        raise UserError(
            f"{place} lacks the columns {lacking}; it has {list(table.columns)}.\n"
            f"Try: a table whose columns are named {', '.join(columns)}"
        )
    return table


def _from_file(file: Path, remedy: str) -> pandas.DataFrame:
    import pandas

    size_of(file, TABLE, remedy=f"Try: {remedy}")
    try:
        if file.suffix == ".parquet":
            parquet(file)
            return pandas.read_parquet(file)
        if file.suffix == ".csv":
            _check_width(file, pandas.read_csv(file, nrows=0).columns)
            return pandas.read_csv(file, keep_default_na=False)
        _check_width(file, {name for _, row in _objects(file) for name in row})
        return pandas.read_json(file, lines=True)
    except (ValueError, TypeError, OverflowError, OSError, ImportError, MemoryError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{file} cannot be read as {file.suffix.removeprefix('.')}: {reason}\nTry: {remedy}, undamaged and in UTF-8"
        ) from error


def parquet(file: Path) -> Any:
    """Return pyarrow's reader of a parquet file; raise UserError where its table is far larger than one that is read.

    A text stands once in the file for all of its rows: what it comes to is counted before any row is written out.
    """
    import pyarrow.parquet as reader  # type: ignore[import-untyped]

    size_of(file, TABLE, remedy=AS_PUBLISHED)
    held = reader.ParquetFile(file).metadata
    _check_width(file, range(held.num_columns))
    columns = [held.schema.column(place) for place in range(held.num_columns)]
    groups = [held.row_group(number) for number in range(held.num_row_groups)]
    size = sum(group.column(place).total_uncompressed_size for group in groups for place in range(held.num_columns))
    if size <= TABLE and held.num_rows <= ROWS:
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        for batch in reader.ParquetFile(file, read_dictionary=texts).iter_batches(10_000):
            size += sum(_written_out(column) for column in batch.columns)
            if size > 2 * TABLE:
                break
        else:
            return reader.ParquetFile(file)
    raise UserError(f"{file} holds {held.num_rows:,} rows of {size:,} bytes or more, too many.\n{AS_PUBLISHED}")


def _written_out(column: Any) -> int:
    """Return the bytes of a column of pyarrow's once each row has its text; raise ValueError for rows within rows."""
    import pyarrow
    import pyarrow.compute as compute  # type: ignore[import-untyped]

    kinds = pyarrow.types
    while kinds.is_list(column.type) or kinds.is_large_list(column.type):
        column = column.flatten()
    if not kinds.is_dictionary(column.type):
        if kinds.is_nested(column.type):
            raise ValueError(f"a column is of the type {column.type}")
        return int(column.nbytes)
    return int(compute.sum(compute.binary_length(column.dictionary).take(column.indices)).as_py() or 0)


def _check_width(file: Path, columns: Sized) -> None:
    """Raise UserError for a table of many columns: each row, however short, has a cell for each of them."""
    if len(columns) > COLUMNS:
        raise UserError(f"{file} has {len(columns):,} columns, at most {COLUMNS:,} are read.\n{AS_PUBLISHED}")


def _from_hub(hub: str, revision: str | None, remedy: str) -> pandas.DataFrame:
    from datasets import concatenate_datasets

    table: pandas.DataFrame = concatenate_datasets(list(_fetched(hub, revision, remedy).values())).to_pandas()
    return table


def _fetched(hub: str, revision: str | None, remedy: str) -> dict[str, Any]:
    """Return the data set's parts by name; raise UserError where they cannot be had."""
    from datasets import load_dataset

    try:
        return dict(load_dataset(hub, revision=revision))
    except Exception as error:  # the hub's client raises a dozen kinds; each means that the data is not here
        raise UserError(
            f"{hub} cannot be had from the hub: {(str(error) or type(error).__name__).splitlines()[0]}\n"
            f"Try: a login that its terms ask for, or a local copy: {remedy}"
        ) from error


def json_lines(file: Path, needed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read a file of JSON lines; raise UserError for a missing file, or the line that is damaged."""
    if not file.exists():
        raise UserError(f"{file} does not exist.\nTry: the folder that holds it")
    rows = []
    for number, row in _objects(file):
        if lacking := [name for name in needed if row.get(name) is None]:
            raise UserError(f"{file}, line {number} lacks {', '.join(lacking)}.\n{AS_PUBLISHED}")
        rows.append(row)
    if not rows:
        raise UserError(f"{file} is empty: it holds no row.\n{AS_PUBLISHED}")
    return rows


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the lines' numbers and objects."""
    lines = text_of(file, TABLE, AS_PUBLISHED).split("\n")  # splitlines() would also split inside a text
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = parsed(line, f"{file}, line {number}")
            if not isinstance(row, dict):
                raise UserError(f"{file}, line {number}: expected an object.\n{AS_PUBLISHED}")
            yield number, row


def parsed(text: str, where: str) -> Any:
    """Return what a text in JSON holds; raise UserError where it is none, too deep, or has a number of 4,300 digits."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {error}\n{AS_PUBLISHED}") from error
