"""Attacks that got through a first defence, one each: found by somebody who had not built it."""

from __future__ import annotations

import csv
import json
import shutil
import zipfile

import pytest
import torch

from unlearnbench.cli import dispatch
from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, sums
from unlearnbench.models import checkpoint, vetted
from unlearnbench.results.model import load_model
from unlearnbench.runs.finished import find
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.runs.sweep_folder import write_jobs
from worlds import TINY

FAST = (*TINY[:2], "train.epochs=1")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Two finished runs in one outputs folder."""
    outputs = tmp_path_factory.mktemp("done")
    for word in ("method=none", "method=finetune"):
        execute(prepare([*FAST, word, f"outputs={outputs}"]))
    return outputs


def test_swapped_notes_of_finished_runs_find_nothing(done, tmp_path):
    outputs = shutil.copytree(done, tmp_path / "outputs")
    one, two = sorted((outputs / "cache" / "runs").glob("*.json"))
    first, second = one.read_bytes(), two.read_bytes()
    one.write_bytes(second)
    two.write_bytes(first)
    for word in ("method=none", "method=finetune"):
        assert find(prepare([*FAST, word, f"outputs={outputs}"])) is None
    assert dispatch(["verify", str(outputs)]) == 1


def test_a_figure_of_another_run_is_seen(done, tmp_path):
    outputs = shutil.copytree(done, tmp_path / "outputs")
    run = next((outputs / "runs").iterdir())
    (run / "plots").mkdir(exist_ok=True)
    (run / "plots" / "confusion_zzz.png").write_bytes(b"\x89PNG")
    assert sums.damage(run) == ["plots/confusion_zzz.png was not there when the run ended"]


def test_an_empty_model_folder_is_no_model(done, tmp_path):
    outputs = tmp_path / "outputs"
    shutil.copytree(done / "cache" / "stages", outputs / "cache" / "stages")
    words = [*FAST, "method=none", f"outputs={outputs}"]
    run = execute(prepare([*words, "save_model=false"])).folder
    (run / "model").mkdir()
    assert load_model(execute(prepare([*words, "save_model=true"])).folder)


@pytest.mark.parametrize("word", ["outputs=choice({}1{})", "dataset.root=choice({}1{})"])
def test_brackets_in_a_choice_of_places_end_in_a_message(word):
    with pytest.raises(UserError, match="brackets more than 20 deep"):
        dispatch(["run", *FAST, word.format("[" * 900, "]" * 900)])


def rewritten(source, target, change):
    """Copy a zip file member by member, each changed by name."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))


def test_a_tensor_with_too_few_bytes_is_refused(tmp_path):
    torch.save({"a": torch.arange(16.0), "b": torch.zeros(3)}, tmp_path / "whole.pt")
    assert checkpoint.read(tmp_path / "whole.pt")["a"].tolist() == list(range(16))
    rewritten(tmp_path / "whole.pt", tmp_path / "cut.pt", lambda name, data: data[:8] if name.endswith("/0") else data)
    with pytest.raises(UserError, match="its tensor 0 has 8 bytes, not the 64 it declares"):
        checkpoint.read(tmp_path / "cut.pt")


def test_a_flipped_bit_in_a_tensor_is_seen(tmp_path):
    file = tmp_path / "weights.pt"
    torch.save({"a": torch.arange(16.0)}, file)
    content = bytearray(file.read_bytes())
    content[content.index(torch.arange(16.0).numpy().tobytes()) + 40] ^= 64
    file.write_bytes(content)
    with pytest.raises(UserError, match=r"is damaged \(its checksum"):
        checkpoint.read(file)


def test_tensors_that_share_a_storage_and_all_kinds_are_read(tmp_path):
    whole = torch.arange(12.0)
    kinds = (
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
    )
    state = {"part": whole[3:6], "whole": whole, **{str(kind): torch.ones(5, dtype=kind) for kind in kinds}}
    torch.save({"state_dict": {**state, "bool": torch.ones(2, dtype=torch.bool)}}, tmp_path / "weights.pt")
    found = checkpoint.read(tmp_path / "weights.pt")
    assert found["part"].tolist() == [3, 4, 5] and len(found) == len(state) + 1


REPLACE = {"type": "Replace", "pattern": {"String": "e"}, "content": "ee"}
GROWING = {
    "thirty doublings": {"normalizer": {"type": "Sequence", "normalizers": [REPLACE] * 30}},
    "a long prefix": {"normalizer": {"type": "Prepend", "prepend": "x" * 10**5}},
    "many special tokens": {"post_processor": {"special_tokens": {"<s>": {"ids": [1] * 10**5, "tokens": ["a"]}}}},
    "a template that repeats them": {
        "post_processor": {
            "special_tokens": {"<s>": {"ids": [1] * 100, "tokens": ["a"]}},
            "single": [{"SpecialToken": {"id": "<s>"}}] * 100,
        }
    },
    "a long replacement": {"normalizer": {**REPLACE, "pattern": {"Regex": "."}, "content": "x" * 5000}},
}


@pytest.mark.parametrize("name", GROWING)
def test_a_tokenizer_that_makes_texts_endless_is_refused(tmp_path, name):
    (tmp_path / "tokenizer.json").write_text(json.dumps(GROWING[name]))
    with pytest.raises(UserError, match="1000 times longer"):
        vetted.check(tmp_path)


def test_a_tokenizer_nested_too_deeply_is_refused(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"normalizer": ' + "[" * 700 + "]" * 700 + "}")
    with pytest.raises(UserError, match="nested too deeply"):
        vetted.check(tmp_path)


def test_an_honest_tokenizer_is_not(tmp_path):
    llama = {
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "___"},
        ]},
        "post_processor": {"special_tokens": {"<s>": {"ids": [1], "tokens": ["<s>"]}}},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(llama))
    vetted.check(tmp_path)


def test_a_count_of_labels_takes_no_memory(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"num_labels": 60_000_000}))
    with pytest.raises(UserError, match="num_labels=60000000"):
        vetted.check(tmp_path)


def test_a_row_taken_out_of_jobs_csv_is_seen(tmp_path, capsys):
    write_jobs(tmp_path, [{"job": job, "overrides": f"seed={job}", "seed": job, "status": "failed"} for job in (0, 1)])
    assert dispatch(["verify", str(tmp_path)]) == 0
    with (tmp_path / "jobs.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    with (tmp_path / "jobs.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows[:-1])
    assert dispatch(["verify", str(tmp_path)]) == 1
    assert "jobs.csv has changed since" in capsys.readouterr().out


def test_what_a_kill_leaves_below_sweeps_is_removed(tmp_path):
    dead = leftovers.named(tmp_path).name.split("-")
    name = "-".join([*dead[:2], "999999999", *dead[3:]])
    place = tmp_path / "sweeps" / "x"
    place.mkdir(parents=True)
    (place / name).write_text("")
    leftovers.clear_outputs(tmp_path)
    assert not (place / name).exists()
