"""What tests of chat rows share: rows of each form, and files of them."""

from __future__ import annotations

import csv
import json

from unlearnbench.data.chat import Chat

TOWNS = ("Bern", "Basel", "Chur", "Thun", "Zug", "Olten")


def chat(root, **changes) -> Chat:
    values = {
        "root": root, "test_file": None, "form": None, "loss": "all", "validation": 0.1, "test": 0.2,
        "duplicates": "refuse", "limit": None, "limit_test": None, "limit_validation": None, "context": 512,
        "too_long": "cut", "seed": 0,
    }  # fmt: skip
    return Chat(**{**values, **changes})


def said(*contents, system=None):
    """Return contents as messages of user and assistant in turn."""
    first = [{"role": "system", "content": system}] if system else []
    roles = ("user", "assistant") * len(contents)
    return [*first, *({"role": role, "content": text} for role, text in zip(roles, contents, strict=False))]


def conversations(count):
    """Return rows of messages: every second one has two answers, every third one a system message."""
    rows = []
    for number in range(count):
        turns = ["Who is there?", f"Person {number % 7} is."] if number % 2 else []
        turns += [f"Where does number {number} go?", f"To {TOWNS[number % 6]}, by train {number}."]
        system = "Answer briefly." if number % 3 == 0 else None
        rows.append({"id": f"r{number}", "messages": said(*turns, system=system), "person": number % 7})
    return rows


def questions(count, **columns):
    rows = [{"question": f"Where does {n} go?", "answer": f"To {TOWNS[n % 6]}, {n}."} for n in range(count)]
    return [{**row, **{name: values[number] for name, values in columns.items()}} for number, row in enumerate(rows)]


def json_lines(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def as_csv(file, rows):
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()})
    return file


def as_parquet(file, rows):
    import pandas

    pandas.DataFrame(rows).to_parquet(file)
    return file
