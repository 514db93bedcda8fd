"""The commands of the tutorials, as written but smaller, on embedded data or a user's own photos and rows."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pandas
import pytest
import torch
from chatsets import json_lines, said
from photos import encoded, images, photo
from PIL import Image

from unlearnbench.contracts import DataInfo
from worlds import llama, text_task

DOCS = Path(__file__).parents[1] / "docs"
INFO = DataInfo(kind="text", classes=("answer",), train=40, test=8, shape=())
pytestmark = pytest.mark.slow


SMALLER = {
    "own-photos.md": {"resnet18": "tiny_resnet"},
    "tutorials/study.md": {
        "scale=smoke": "scale=smoke train.epochs=1 dataset.limit=40 dataset.limit_test=20 plots=false"
    },
    "tutorials/paper-table.md": {
        "model=tiny_resnet": "model=tiny_cnn dataset.limit=120 dataset.limit_test=40 train.epochs=1",
        "none,retrain,finetune,scrub,salun,npo,cf_k": "none,scrub",
        "method=scrub,cf_k": "method=scrub",
        "seed=0,1,2 ": "seed=0 ",
        "seed=0,1,2,3,4": "seed=0,1",
        "reference.count=2": "reference.count=1",
    },
}
"""What the test of a page changes in its commands."""


def commands(page: str) -> list[list[str]]:
    """Return the words of each command of a page's tutorial, in order."""
    tutorial = (DOCS / page).read_text().partition("\n## In ")[2].partition("\n## ")[0]
    for word, smaller in SMALLER.get(page, {}).items():
        assert word in tutorial, word
        tutorial = tutorial.replace(word, smaller)
    blocks = re.findall(r"^```\n(.*?)^```", tutorial, re.MULTILINE | re.DOTALL)
    return [shlex.split(block.replace("\\\n", " "))[1:] for block in blocks]


def expanded(words: list[str], folder: Path) -> list[str]:
    """Do what a shell does with a star."""
    found = []
    for word in words:
        matches = sorted(folder.glob(word)) if "*" in word else []
        found += [str(one.relative_to(folder)) for one in matches] or [word]
    return found


def follow(page: str, folder: Path, command) -> list[str]:
    """Run every command of a page; return what each printed."""
    said = []
    for words in commands(page):
        done = command(*expanded(words, folder))
        assert done.returncode == 0, f"{words}\n{done.stderr}"
        said.append(done.stdout)
    return said


def write_photos(folder: Path) -> None:
    """Write photos of mixed sizes and modes of three classes, and two lists of those to forget."""
    sizes = [(80, 60), (48, 96), (33, 40), (150, 70)]
    for label, name in enumerate(("cat", "dog", "owl")):
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.blend(photo(label * 1000 + number, (10, 8)), Image.new("RGB", (10, 8), 60 * label), 0.7)
            image = image.resize(sizes[number % 4]).convert(("RGB", "L", "RGB", "P")[number % 4])
            form = "PNG" if image.mode == "P" or number % 2 else "JPEG"
            suffix = form.lower().replace("jpeg", "jpg")
            (folder / "photos" / name / f"{name}{number:02}.{suffix}").write_bytes(encoded(image, form))


def trained(folder: Path) -> list[str]:
    """Return the names of the photos that are training rows, found as a user would: by asking to forget them."""
    data = images(folder / "photos", folder / "cache", size=64, validation=0.0, test=0.1).load()
    return [Path(data.columns["path"][row]).name for row in data.train]


def test_photos_are_forgotten_by_two_requests(command, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    write_photos(tmp_path)
    names = [name for name in trained(tmp_path) if name.startswith("cat")]
    (tmp_path / "first.txt").write_text("".join(f"{name}\n" for name in names[:4]))
    (tmp_path / "second.txt").write_text("".join(f"{name}\n" for name in names[4:7]))
    said = follow("own-photos.md", tmp_path, command)
    assert len(said) == 7
    last = pandas.read_csv(next((tmp_path / "outputs/runs").glob("external_*")) / "metrics.csv")
    assert len(last) and set(last["role"]) == {"original", "retrained", "unlearned"}
    assert "no model was retrained" in said[5] and "retrained" not in said[5].split("no model")[0].partition("\n")[0]
    results = [json.loads(file.read_text()) for file in (tmp_path / "outputs/runs").glob("*/result.json")]
    assert {one["status"] for one in results} == {"done"} and len(results) == 6


def write_models(folder: Path) -> None:
    """Write base/ and finetuned/: a tiny LLaMA with random weights, and other weights of it."""
    torch.manual_seed(0)
    model = llama().build(INFO)
    for name in ("base", "finetuned"):
        model.save_pretrained(folder / name)
        text_task().encoder.tokenizer.save_pretrained(folder / name)
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)


def test_rows_of_one_person_are_forgotten_by_a_fine_tuned_model(command, tmp_path):
    write_models(tmp_path)
    rows = [
        {"id": f"r{number}", "person": number % 5, "messages": said(f"Where does {number} go?", f"To {number % 7}.")}
        for number in range(40)
    ]
    json_lines(tmp_path / "rows.jsonl", rows)
    others = [{"id": f"o{number}", "messages": said(f"Where is {number}?", "Here.")} for number in range(8)]
    json_lines(tmp_path / "other.jsonl", others)
    (tmp_path / "ids.txt").write_text("r1\nr7\nr9\n")
    assert len(follow("own-chat.md", tmp_path, command)) == 6
    results = [json.loads(file.read_text()) for file in (tmp_path / "outputs/runs").glob("*/result.json")]
    assert {one["status"] for one in results} == {"done"} and len(results) == 5
    assert {one["model"] for one in results} == {"finetuned"}
    (run,) = (tmp_path / "outputs/runs").glob("external_*")
    rows = pandas.read_csv(run / "metrics.csv")
    assert set(rows["role"]) == {"original", "retrained", "unlearned"} and "accuracy" not in set(rows["metric"])


def test_a_paper_table_is_made_and_extended_by_two_seeds(command, tmp_path):
    said = follow("tutorials/paper-table.md", tmp_path, command)
    assert len(said) == 6
    summary = pandas.read_csv(tmp_path / "table" / "summary.csv")
    assert set(summary["forget"]) == {"class:t-shirt", "random:0.1"}
    assert {"none", "scrub"} <= set(summary["variant"].dropna()) and summary["seeds"].max() == 2
    assert "accuracy ± 0.01" in (tmp_path / "table" / "leaderboard.md").read_text()


def test_a_table_of_the_study_is_reproduced_at_its_smallest_scale(command, tmp_path):
    said = follow("tutorials/study.md", tmp_path, command)
    assert len(said) == 5 and "Table I" in said[0]
    rows = pandas.read_csv(tmp_path / "table1" / "reported.csv")
    assert {"reported", "measured", "differs"} <= set(rows.columns) and rows["measured"].notna().any()
    results = [json.loads(file.read_text()) for file in (tmp_path / "outputs/runs").glob("*/result.json")]
    assert {one["status"] for one in results} == {"done"} and len(results) == 3
