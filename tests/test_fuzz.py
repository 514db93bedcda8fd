"""What a stranger's bytes can do: end in a message of ours, or be read; never in a traceback.

    FUZZ_SECONDS=3600 scripts/test tests/test_fuzz.py     # the default is 1 second a target, and CI takes 12

Hypothesis draws the input; a target that finds nothing in its time passes. docs/security.md has the longest run.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import time

import pytest
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save

from run_folders import make_run
from unlearnbench import cli
from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.models import checkpoint
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.report import write
from unlearnbench.request.config import GROUPS, config_root
from unlearnbench.runs import launch
from worlds import synthetic

SECONDS = float(os.environ.get("FUZZ_SECONDS", "1"))
CHOICES = [f"{group}={file.stem}" for group in GROUPS for file in sorted((config_root() / group).glob("*.yaml"))]
KEYS = (
    "seed", "device", "precision", "threads", "outputs", "reference.count", "eval.limit", "eval.generate", "save_model",
    "train.epochs", "train.optimizer.lr", "method.epochs", "forget.classes", "forget.fraction", "dataset.limit",
    "scale", "dataset.root", "dataset.classes", "dataset.augment.crop", "model.checkpoint", "model.path",
    "model.adapter.r", "hydra.run.dir", "hydra.job.env_set", "hydra.callbacks", "experiment", "tuning", "reported",
)  # fmt: skip
VALUES = (
    "1", "0", "-1", "1e99", "null", "true", "[]", "[1]", "{}", "{a: 1}", "${seed}", "${oc.env:HOME}", "''", "nan",
    "1,2", "range(1,3)", "choice(a,b)", "glob(*)", "../x", "/etc/passwd", "9" * 40, "[" * 50, "a=b", "%", "🦄",
)  # fmt: skip
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


PRESETS = (
    "smoke", "smoke_text", "muse_books", "methods_text_smollm2", "paper_bias_instruct", "paper_bias_prompt_cpu",
    "paper_table1", "paper_figure3",
)  # fmt: skip
"""Presets to damage: of every kind, but none with a hundred jobs, of which one example would take ten seconds."""
ROUND = 200
"""Examples a round: hypothesis counts examples, and we count seconds between two rounds."""


def fuzz(**strategies):
    """Run a function on drawn values until `SECONDS` are over, in rounds of `ROUND` examples with a seed each."""
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
    few = settings(max_examples=ROUND, deadline=None, suppress_health_check=checks, database=None)

    def decorate(function):
        def target():
            end, number = time.monotonic() + SECONDS, 0

            def timed(**drawn):
                if time.monotonic() < end:
                    function(**drawn)

            while time.monotonic() < end:
                seed(number)(few(given(**strategies)(timed)))()
                number += 1

        return target

    return decorate


@pytest.fixture
def dry(monkeypatch, tmp_path):
    """Check commands and compute nothing, in an empty folder."""

    def checked(request, on_failure=None):
        assemble(request)
        return launch.Outcome("skipped", "", tmp_path, reused=True)

    monkeypatch.setattr(launch, "execute", checked)
    monkeypatch.setattr("unlearnbench.results.table.show", lambda *_what, **_how: None)
    monkeypatch.setattr("unlearnbench.runs.sweeping.launch", lambda *_what: (tmp_path, 0))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def survives(*words):
    """Dispatch words: a code, or a UserError of some words, is well; anything else is raised."""
    try:
        assert cli.dispatch(list(words)) in (0, 1)
    except UserError as error:
        assert str(error).strip()


def test_overrides_end_in_a_message(dry):
    word = st.one_of(
        st.sampled_from(CHOICES),
        st.builds("{}={}".format, st.sampled_from(KEYS), st.sampled_from(VALUES)),
        st.builds("{}{}={}".format, st.sampled_from(["", "+", "~", "++"]), st.sampled_from(KEYS), TEXT),
        TEXT.filter(lambda text: not text.startswith("-")),
    )

    @fuzz(words=st.lists(word, max_size=5), many=st.booleans())
    def target(words, many):
        survives("run", "dataset=synthetic", "model=tiny_cnn", *(["-m"] if many else []), *words)

    target()


def test_yaml_ends_in_a_message(dry):
    shipped = [(config_root() / "experiment" / f"{name}.yaml").read_bytes() for name in PRESETS]
    pieces = st.sampled_from([
        b"&a ", b"*a", b"<<: *a\n", b"!!python/object:os.system ", b"${", b"}", b"[", b"{", b": ", b"- ", b"\t", b"\0",
        b"# @package hydra\n", b"_target_: ", b"defaults:\n", b"hydra:\n  ", b"\xff", b"|", b">", b"'", b'"',
    ])  # fmt: skip
    folder = dry / "theirs" / "experiment"
    folder.mkdir(parents=True)

    @fuzz(
        base=st.sampled_from(shipped),
        cuts=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 9), pieces), max_size=4),
    )
    def target(base, cuts):
        for place, length, piece in cuts:
            base = base[: place % (len(base) + 1)] + piece + base[place % (len(base) + 1) + length :]
        (folder / "mine.yaml").write_bytes(base)
        survives("run", "--config-dir", str(folder.parent), "dataset=synthetic", "model=tiny_cnn", "experiment=mine")

    target()


def damaged(content):
    """Draw a few changes of bytes: flips, cuts, insertions, and numbers that are too large."""
    change = st.tuples(st.integers(0, len(content)), st.integers(0, 16), st.binary(max_size=8))

    def changed(changes):
        found = content
        for place, length, new in changes:
            found = found[:place] + new + found[place + length :]
        return found

    return st.lists(change, min_size=1, max_size=3).map(changed)


def test_checkpoint_bytes_end_in_a_message(tmp_path):
    state = TinyCNN(checkpoint=None).build(synthetic().info()).state_dict()
    saved, legacy = io.BytesIO(), io.BytesIO()
    torch.save(state, saved)
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    kinds = {"a.pt": saved.getvalue(), "b.pt": legacy.getvalue(), "c.safetensors": save(state)}

    @fuzz(drawn=st.one_of(*(st.tuples(st.just(name), damaged(content)) for name, content in kinds.items())))
    def target(drawn):
        name, content = drawn
        (tmp_path / name).write_bytes(content)
        try:
            checkpoint.read(tmp_path / name)
        except UserError as error:
            assert "weights_only" not in str(error)

    target()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["$\\frac{$", "=1+1", "<b>", "|", "nan"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


def test_rows_of_runs_leave_a_report(tmp_path):
    good = make_run(tmp_path / "good", "00000001", "none")
    base = make_run(tmp_path / "base", "00000002", "distill")
    facts = json.loads((base / "result.json").read_text())
    with (base / "metrics.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    cell = st.tuples(st.integers(0, len(rows) - 1), st.integers(0, len(rows[0]) - 1), TEXT | st.sampled_from(VALUES))

    @fuzz(changes=st.dictionaries(st.sampled_from(sorted(facts)), JSON, max_size=3), cells=st.lists(cell, max_size=3))
    def target(changes, cells):
        table = [list(row) for row in rows]
        for row, column, value in cells:
            table[row][column] = value
        (base / "result.json").write_text(json.dumps({**facts, **changes}))
        with (base / "metrics.csv").open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(table)
        assert (write([good, base], tmp_path / "report") / "leaderboard.md").read_text()

    target()


def test_bytes_of_run_folders_leave_a_report(tmp_path):
    good = make_run(tmp_path / "good", "00000001", "none")
    base = make_run(tmp_path / "base", "00000002", "distill")
    kinds = {file: file.read_bytes() for file in base.rglob("*") if file.is_file()}

    @fuzz(drawn=st.one_of(*(st.tuples(st.just(file), damaged(content)) for file, content in kinds.items())))
    def target(drawn):
        shutil.rmtree(base)
        for file, content in kinds.items():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(drawn[1] if file == drawn[0] else content)
        assert (write([good, base], tmp_path / "report") / "leaderboard.md").read_text()
        survives("verify", str(base))

    target()
