"""Read tables and JSON lines from a local folder, or a table from the Hugging Face hub."""

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
"""The most bytes of a table, on disk and in memory, and its most rows and columns."""
AS_PUBLISHED = "Try: the file as published by its authors"


def check_there(root: Path | None, remedy: str = "dataset.root=FOLDER, the one that holds the data") -> None:
    """Raise UserError if the given root does not exist; `remedy` is what to type next."""
    if root is not None and not root.exists():
        raise UserError(f"the data folder {root} does not exist.\nTry: {remedy}")


def check_file(root: Path | None, hub: str, name: str, remedy: str) -> None:
    """Raise UserError if a data set's local file is missing, or the hub cannot be used."""
    check_there(root, remedy)
    if root is not None:
        table_in(root, name, remedy)
    elif importlib.util.find_spec("datasets") is None:
        raise UserError(
            f"dataset={name} comes from the hub ({hub}), which needs the extra `hub`.\n"
            f"Try: pip install 'unlearnbench[hub]', or {remedy}"
        )
    elif os.environ.get("HF_HUB_OFFLINE") == "1":
        raise UserError(f"dataset={name} is on the hub ({hub}), but HF_HUB_OFFLINE=1.\nTry: {remedy}")


def table_in(root: Path, name: str, remedy: str) -> Path:
    """Return the table at or in `root`; raise UserError if there is none or more than one."""
    if root.is_file() and root.suffix in SUFFIXES:
        return root
    found = [file for file in sorted(root.glob("*")) if file.suffix in SUFFIXES] if root.is_dir() else []
    if len(found) != 1:
        raise UserError(
            f"{root}: expected a {', '.join(SUFFIXES)} file of {name}, or a folder with one; found {len(found)}.\n"
            f"Try: {remedy}"
        )
    return found[0]


def table_files(root: Path | None, hub: str, revision: str | None, remedy: str) -> dict[str, Path]:
    """Return the files that `read_table` reads: the local table, or the hub client's cached copy."""
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
    """Return the table as a data frame.

    Raises UserError if it cannot be read, is empty or lacks a column.
    """
    table = _from_hub(hub, revision, remedy) if root is None else _from_file(table_in(root, hub, remedy), remedy)
    place = hub if root is None else root
    if not len(table):
        raise UserError(f"{place} is empty: it has no rows.\nTry: {remedy}, with rows of {', '.join(columns)}")
    if lacking := [name for name in columns if name not in table.columns]:
        raise UserError(
            f"{place} lacks the columns {lacking}; it has {list(table.columns)}.\n"
            f"Try: a table with the columns {', '.join(columns)}"
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


def need_pyarrow(file: Path, instead: str) -> None:
    """Raise UserError if pyarrow, which reads parquet, is not installed; `instead` is what to give in its place."""
    try:
        import pyarrow.parquet  # type: ignore[import-untyped] # noqa: F401
    except ImportError as error:
        raise UserError(
            f"{file} is parquet, which needs pyarrow, and pyarrow is not installed.\n"
            f"Try: pip install pyarrow, or {instead}"
        ) from error


def parquet(file: Path, remedy: str = AS_PUBLISHED) -> Any:
    """Return pyarrow's reader for a parquet file; raise UserError if its table is too large.

    The file stores a repeated text only once, so we add up the full size before any row is expanded.
    """
    import pyarrow.parquet as reader

    size_of(file, TABLE, remedy=remedy)
    held = reader.ParquetFile(file).metadata
    _check_width(file, range(held.num_columns), remedy)
    columns = [held.schema.column(place) for place in range(held.num_columns)]
    groups = [held.row_group(number) for number in range(held.num_row_groups)]
    size = sum(group.column(place).total_uncompressed_size for group in groups for place in range(held.num_columns))
    if size <= TABLE and held.num_rows <= ROWS:
        texts = [column.path for column in columns if column.physical_type == "BYTE_ARRAY"]
        for batch in reader.ParquetFile(file, read_dictionary=texts).iter_batches(10_000):
            size += sum(written_out(column) for column in batch.columns)
            if size > 2 * TABLE:
                break
        else:
            return reader.ParquetFile(file)
    raise UserError(f"{file} holds {held.num_rows:,} rows of {size:,} bytes or more, too many.\n{remedy}")


def written_out(column: Any) -> int:
    """Return a pyarrow column's size in bytes with every text expanded.

    Raises ValueError for types whose size is not known.
    """
    import pyarrow
    import pyarrow.compute as compute  # type: ignore[import-untyped]

    kinds = pyarrow.types
    while kinds.is_list(column.type) or kinds.is_large_list(column.type):
        column = column.flatten()
    if kinds.is_struct(column.type):
        return sum(written_out(part) for part in column.flatten())
    if not kinds.is_dictionary(column.type):
        if kinds.is_nested(column.type):
            raise ValueError(f"a column is of the type {column.type}")
        return int(column.nbytes)
    return int(compute.sum(compute.binary_length(column.dictionary).take(column.indices)).as_py() or 0)


def _check_width(file: Path, columns: Sized, remedy: str = AS_PUBLISHED) -> None:
    """Raise UserError for a table with too many columns.

    Even a short row gets a cell for each of them.
    """
    if len(columns) > COLUMNS:
        raise UserError(f"{file} has {len(columns):,} columns; at most {COLUMNS:,} are read.\n{remedy}")


def _from_hub(hub: str, revision: str | None, remedy: str) -> pandas.DataFrame:
    from datasets import concatenate_datasets

    table: pandas.DataFrame = concatenate_datasets(list(_fetched(hub, revision, remedy).values())).to_pandas()
    return table


def _fetched(hub: str, revision: str | None, remedy: str) -> dict[str, Any]:
    """Return the data set's parts by name; raise UserError if they are not available."""
    from datasets import load_dataset

    try:
        return dict(load_dataset(hub, revision=revision))
    except Exception as error:  # the hub's client raises a dozen kinds; all mean that the data is missing
        raise UserError(
            f"{hub} cannot be loaded from the hub: {(str(error) or type(error).__name__).splitlines()[0]}\n"
            f"Try: log in if its terms ask for it, or use a local copy: {remedy}"
        ) from error


def json_lines(file: Path, needed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read a file of JSON lines; raise UserError for a missing file or a damaged line."""
    if not file.exists():
        raise UserError(f"{file} does not exist.\nTry: the folder that holds it")
    rows = []
    for number, row in _objects(file):
        if lacking := [name for name in needed if row.get(name) is None]:
            raise UserError(f"{file}, line {number} lacks {', '.join(lacking)}.\n{AS_PUBLISHED}")
        rows.append(row)
    if not rows:
        raise UserError(f"{file} is empty: it has no rows.\n{AS_PUBLISHED}")
    return rows


def _objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number and the object of each line."""
    lines = text_of(file, TABLE, AS_PUBLISHED).split("\n")  # splitlines() would also split inside a text
    for number, line in enumerate(lines, 1):
        if line.strip():
            row = parsed(line, f"{file}, line {number}")
            if not isinstance(row, dict):
                raise UserError(f"{file}, line {number}: expected an object.\n{AS_PUBLISHED}")
            yield number, row


def parsed(text: str, where: str) -> Any:
    """Return the value of a JSON text.

    Raises UserError if it is invalid, too deep, or has a number of over 4,300 digits.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: {error}\n{AS_PUBLISHED}") from error
