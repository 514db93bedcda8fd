"""Evidence and bundles of real runs, by the commands that a user types."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

pytestmark = pytest.mark.slow
TWO = "forget.requests=[{forget: class, classes: [0]}, {forget: class, classes: [1]}]"
IMAGES = ("dataset=digits", "dataset.limit=300", "model=tiny_cnn", "train.epochs=1", "plots=false")


def said(done):
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def test_a_stream_of_images_with_a_method_that_does_nothing(command, tmp_path):
    said(command("run", *IMAGES, "method=none", "forget=stream", TWO, "eval=[standard,rmia]", "reference.count=2"))
    (run,) = (tmp_path / "outputs" / "runs").iterdir()
    assert "evidence.html" in said(command("report", str(run), "--evidence", "--to", "told"))
    found = json.loads((tmp_path / "told" / "evidence.json").read_text())
    first, last = (np.load(run / place)["forget"] for place in ("requests/1/splits.npz", "splits.npz"))
    assert found["request"]["in_words"].startswith("2 requests one after the other")
    assert found["request"]["rows_to_forget"] == len(first) + len(last)
    assert {"original", "unlearned", "retrained_0"} <= found["model"]["sha256"].keys()
    assert set(found["data"]["sha256"]) == {"retain", "forget", "test"}
    (tmp_path / "ids.txt").write_text(f"{first[0]}\n{last[-1]}\n")
    words = ("--ids", "ids.txt", "--salt", "told/evidence.salt", "--run", str(run))
    assert "2 of 2 ids are among" in said(command("verify", "told/evidence.json", *words))
    assert "No weight of the model was changed" in (tmp_path / "told" / "evidence.html").read_text()

    said(command("report", "outputs", "--bundle", "b.zip", "--weights"))
    checked = said(command("verify", "b.zip"))
    assert "all is well" in checked and "since scores are not enough" not in checked
    said(command("report", "b.zip", "--to", "again"))
    with (tmp_path / "again" / "runs.csv").open(newline="") as file:
        assert [row["folder"] for row in csv.DictReader(file)] == [f"b.zip/runs/{run.name}"]
    refused = command("verify", "b.zip", "--ids", "ids.txt")
    assert refused.returncode == 2 and "are about evidence" in refused.stderr


def test_text_without_a_retrained_model(command, tmp_path):
    said(command("run", "experiment=smoke_text", "reference.count=0", "plots=false", "save_model=false"))
    said(command("report", "--evidence"))
    found = json.loads((tmp_path / "report" / "evidence.json").read_text())
    assert found["method"]["papers"] and found["model"]["retrained"] == 0
    assert any("No model was retrained" in line for line in found["unknown"])
    page = (tmp_path / "report" / "evidence.html").read_text()
    assert "is_biased=True" not in page and "saved no model" in page
    said(command("report", "--bundle", "b.zip"))
    assert "all is well" in said(command("verify", "b.zip"))
