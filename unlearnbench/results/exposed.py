"""exposed.csv and exposed/: the forget rows that the unlearned model still gives away most, with picture or text.

A report shows them, and the data set need not be there then. They are the rows that somebody asked to be forgotten:
`eval.exposed=0` writes none.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unlearnbench.evidence import BySplit, Scores
from unlearnbench.files.escapes import csv_row
from unlearnbench.metrics.exposure import exposure

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from unlearnbench.contracts import Data

COLUMNS = ("index", "id", "answer", "question", "score", "unlearned", "retrained", "spread")
"""`score` is `unlearned` less `retrained`, confidences in log odds, in units of `spread` where that is known."""
SIDE = 96
"""The longest side of a picture in pixels; larger images are made smaller."""
LETTERS = 400
"""Longer texts are cut."""


def write(folder: Path, data: Data, roles: Mapping[str, BySplit], count: int) -> None:
    """Write the `count` most exposed rows of forget, the highest first; nothing for 0.

    `data` are images or text, and `roles` the scores of all models. Of equal runs all bytes are equal.
    """
    if not count:
        return
    scores = roles["unlearned"]["forget"]
    found = exposure(scores, [one["forget"] for role, one in roles.items() if role.startswith("retrained")])
    chosen = found.most(count, scores.index)
    with (folder / "exposed.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for place in chosen.tolist():
            numbers = {
                "score": found.score[place], "unlearned": found.unlearned[place],
                "retrained": found.retrained[place], "spread": found.spread,
            }  # fmt: skip
            told = {name: "" if math.isnan(value) else repr(float(value)) for name, value in numbers.items()}
            writer.writerow(csv_row({**_named(data, scores, place), **told}))
    for position in scores.index[chosen].tolist():
        if (pixels := data.pixels(position)) is not None:
            (folder / "exposed").mkdir(exist_ok=True)
            _picture(pixels).save(folder / "exposed" / f"{position}.png", format="PNG")


def _named(data: Data, scores: Scores, place: int) -> dict[str, str]:
    """Return what a row is: its position and id, its class, or its question and the answer to forget."""
    position = int(scores.index[place])
    ids = data.columns.get("id")
    question, answer = map(_cut, data.told(position))
    return {
        "index": str(position), "id": "" if ids is None else str(ids[position]), "answer": answer, "question": question,
    }  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}\N{HORIZONTAL ELLIPSIS}"


def _picture(pixels: NDArray[np.uint8]) -> Image:
    """Return an image (c, h, w) as a picture of at most SIDE a side; of more than three channels the first three."""
    from PIL.Image import fromarray

    picture = fromarray(pixels[0] if len(pixels) < 3 else np.ascontiguousarray(pixels[:3].transpose(1, 2, 0)))
    picture.thumbnail((SIDE, SIDE))
    return picture
