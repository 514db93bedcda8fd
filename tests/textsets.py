"""What tests of text data sets share: building one from its YAML, and looking at its rows."""

from __future__ import annotations

import json
import re

from unlearnbench.request.compose import compose
from unlearnbench.request.config import build

PLAIN = {"limit": None, "limit_test": None, "limit_validation": None, "context": 64, "too_long": "cut", "seed": 0}
WITH_GENDER = {"a", "an", "she", "he", "her", "him", "his"}


def dataset(name, *words):
    return build(compose([f"dataset={name}", *words]).request.config["dataset"], "dataset")


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def words_of(text):
    return re.findall(r"\w+", text.lower())


def facts(data, name):
    return data.columns[name]


def pairs_of(data, positions):
    found = {}
    for position in positions.tolist():
        found.setdefault(int(data.unit[position]), []).append(position)
    return list(found.values())
