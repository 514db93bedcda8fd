"""The forget rows that a run shows as still most exposed: pictures, texts, the switch, and equal bytes."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from unlearnbench.evidence import Scores
from unlearnbench.results.exposed import LETTERS, write
from unlearnbench.runs.launch import execute, prepare
from worlds import TINY, notes, synthetic


def roles(data, index, references=2):
    """Made-up scores on forget: the unlearned model is the surer the later the row, retrained ones are not."""

    def scores(steps):
        logits = np.zeros((len(index), len(data.info.classes)), dtype=np.float32)
        logits[np.arange(len(index)), data.labels[index]] = steps
        return {"forget": Scores(logits, data.labels[index], index)}

    rng = np.random.default_rng(0)
    others = {f"retrained_{k}": scores(rng.normal(0, 0.01, len(index))) for k in range(references)}
    return {"original": scores(np.arange(len(index))), **others, "unlearned": scores(np.arange(len(index)) / 5)}


def read(folder):
    with (folder / "exposed.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_images_have_pictures_and_equal_runs_equal_bytes(tmp_path):
    data = synthetic().load()
    index = data.train[5:45]
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, data, roles(data, index), 10)
    rows = read(tmp_path / "a")
    assert [int(row["index"]) for row in rows] == index[:-11:-1].tolist()
    assert rows[0]["answer"] == data.info.classes[data.labels[index[-1]]]
    assert float(rows[0]["score"]) == pytest.approx(
        (float(rows[0]["unlearned"]) - float(rows[0]["retrained"])) / float(rows[0]["spread"])
    )
    pictures = sorted((tmp_path / "a" / "exposed").iterdir())
    assert len(pictures) == 10
    shown = np.asarray(Image.open(tmp_path / "a" / "exposed" / f"{index[-1]}.png"))
    assert np.array_equal(shown, data.images[int(index[-1])][0].numpy())
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()


def test_large_images_are_made_small_and_colours_stay(tmp_path):
    data = synthetic().load()
    large = replace(data, images=torch.full((len(data.labels), 3, 200, 300), 7, dtype=torch.uint8))
    write(tmp_path, large, roles(data, data.train[:5]), 1)
    (picture,) = (tmp_path / "exposed").iterdir()
    assert (Image.open(picture).size, Image.open(picture).mode) == ((96, 64), "RGB")


def test_texts_are_cut_and_what_a_spreadsheet_would_run_is_escaped(tmp_path):
    data = notes().load()
    index = data.train[:12]
    long = replace(data.rows[index[11]], prompt="=HYPERLINK(1)" + "x" * 1000)
    data = replace(data, rows=tuple(long if row is data.rows[index[11]] else row for row in data.rows))
    write(tmp_path, data, roles(data, index, references=0), 3)
    rows = read(tmp_path)
    assert rows[0]["question"].startswith("'=HYPERLINK") and len(rows[0]["question"]) == LETTERS + 1
    assert rows[1]["answer"] == data.answer(int(rows[1]["index"])) and rows[1]["retrained"] == ""
    assert not (tmp_path / "exposed").exists()


def test_none_are_written_for_0(tmp_path):
    data = synthetic().load()
    write(tmp_path, data, roles(data, data.train[:5]), 0)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_run_shows_ten_rows_and_none_once_it_is_asked_for_none(tmp_path):
    words = [*TINY, "forget=random", "method=none", f"outputs={tmp_path}"]
    shown = execute(prepare(words))
    assert len(read(shown.folder)) == 10 and len(list((shown.folder / "exposed").iterdir())) == 10
    assert execute(prepare(words)).reused
    hidden = execute(prepare([*words, "eval.exposed=0"]))
    assert hidden.folder == shown.folder and not (hidden.folder / "exposed").exists()
    assert not (hidden.folder / "exposed.csv").exists()
