"""Crafted YAML and overrides: each ends with one message that names file and line, in seconds and little memory."""

from __future__ import annotations

import os
import time

import pytest
from limited import watched

from unlearnbench import cli
from unlearnbench.errors import UserError
from unlearnbench.request import scan
from unlearnbench.request.catalogue import entries
from unlearnbench.request.compose import compose
from worlds import TINY

HEADER = b"# @package _global_\n"
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
GROWING = "v0: xxxxxxxxxx\n" + "".join(f"v{n + 1}: '${{v{n}}}${{v{n}}}'\n" for n in range(60))
WIDE = "v0: {x: 1}\n" + "".join(f"v{n + 1}: {{x: '${{v{n}}}', y: '${{v{n}}}'}}\n" for n in range(60))
CHAIN = "v0: 1\n" + "".join(f"v{n + 1}: ${{v{n}}}\n" for n in range(500))
NESTED = "&a [1]\n" + "".join(f"v{n}: &n{n} [*n{n - 1}]\n" for n in range(1, 3000))

FILES = {
    "a syntax error": ("seed: [1\nlr: 2\n", "line 3"),
    "a tab": ("seed:\n\tx: 1\n", "line 3"),
    "a Python object": ("seed: !!python/object/apply:os.system [id]\n", "line 2 has the tag"),
    "a tag of its own": ("a: 1\nseed: !x 1\n", "line 3 has the tag"),
    "a binary tag": ("seed: !!binary aGk=\n", "line 2 has the tag"),
    "an alias bomb": (BOMB, "line 5 has more than 10,000 values"),
    "an alias chain": ("n0: &n0 [1]\n" + NESTED.partition("\n")[2], "is nested more than 20 deep"),
    "a recursive alias": ("a: &a [*a]\n", "line 2 repeats &a"),
    "an unknown alias": ("a: *b\n", "line 2 repeats &b"),
    "brackets": (f"seed: {'[' * 2000}{']' * 2000}\n", "line 2 is nested more than 20 deep"),
    "open brackets": (f"seed: {'[' * 100_000}\n", "line 2 is nested more than 20 deep"),
    "open braces": (f"seed: {'{' * 100_000}\n", "line 2 has a name that is not a word"),
    "braces": (f"seed: {'{a: ' * 2000}1{'}' * 2000}\n", "line 2 is nested more than 20 deep"),
    "indentation": ("".join(f"{' ' * n}k{n}:\n" for n in range(400)), "line 22 is nested more than 20 deep"),
    "dashes": (f"seed:\n {'- ' * 2000}1\n", "line 3 is nested more than 20 deep"),
    "many values": (f"seed: [{','.join('1' * 20_000)}]\n", "more than 10,000 values"),
    "a large file": ("#" + " " * 10_000_000, "at most 131,072 bytes"),
    "a name twice": ("seed: 1\nseed: 2\n", "line 3 has the name 'seed' a second time"),
    "a name that is a list": ("? [1]\n: 2\n", "line 2 has a name that is not a word"),
    "two documents": ("seed: 1\n---\nseed: 2\n", "line 3 starts a second document"),
    "a list": ("- 1\n", "line 2 is not a mapping"),
    "a word": ("hello\n", "line 2 is not a mapping"),
    "a NUL": ("a: 1\nseed: \0\n", "line 3 contains a character that is not text"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "line 2 is not text in UTF-8"),
    "Latin-1": ("a: 1\nname: Zürich\n".encode("latin-1"), "line 3 is not text in UTF-8"),
    "bytes": (bytes(range(256)) * 10, "is not text"),
    "a huge integer": (f"seed: {'9' * 5000}\n", "line 2: a number with 5,000 characters"),
    "a huge hexadecimal": (f"seed: 0x{'f' * 50_000}\n", "line 2: a number with 50,002 characters"),
    "a huge sexagesimal": (f"seed: 1{':1' * 20_000}\n", "line 2: a number with 40,001 characters"),
    "text that doubles": (GROWING, "refers to several values"),
    "nested references": (f"a: {'${' * 500}b{'}' * 500}\n", "refers to several values"),
    "values that double": (WIDE, "repeat each other"),
    "references in a row": (CHAIN, "more than 20 references"),
    "a circle": ("a: ${b}\nb: ${a}\n", "refers to itself"),
    "a circle of one": ("a: ${a}\n", "refers to itself"),
    "a circle of a section": ("a: {b: {c: '${a}'}}\n", "refers to itself"),
    "a relative circle": ("a: {b: '${..a}'}\n", "may only refer to its own keys"),
    "a comment for Hydra": ("# @package\nseed: 1\n", "line 1 has a comment that Hydra cannot read"),
}  # fmt: skip


def preset(folder, content, name="e"):
    (folder / "configs" / "experiment").mkdir(parents=True, exist_ok=True)
    file = folder / "configs" / "experiment" / f"{name}.yaml"
    file.write_bytes(HEADER + (content if isinstance(content, bytes) else content.encode()))
    return file


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_crafted_file_ends_with_one_message(content, tmp_path):
    file = preset(tmp_path, content[0])
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        compose([*TINY, "experiment=e"], [tmp_path / "configs"])
    assert content[1] in str(caught.value)
    assert str(file) in str(caught.value) or "refer" in str(caught.value) or "repeat" in str(caught.value)
    assert time.monotonic() - started < 5


def test_aliases_and_references_of_use_are_read(tmp_path):
    preset(tmp_path, "dataset: &few {limit: 40}\nforget: {seed: '${seed}'}\neval: {limit: 40}\n")
    config = compose([*TINY, "experiment=e", "seed=7"], [tmp_path / "configs"]).request.config
    assert (config["dataset"]["limit"], config["forget"]["seed"]) == (40, 7)
    preset(tmp_path, "dataset: {augment: &none {crop: 0}}\nmodel: {<<: *none}\n")
    assert compose([*TINY, "experiment=e"], [tmp_path / "configs"]).request.config["model"]["crop"] == 0


WORDS = {
    "brackets": (f"seed={'[' * 1900}{']' * 1900}", "nests brackets more than 20 deep"),
    "braces": (f"seed={'{a:' * 500}1{'}' * 500}", "nests brackets more than 20 deep"),
    "calls": (f"seed={'choice(' * 400}1{')' * 400}", "nests brackets more than 20 deep"),
    "references": (f"seed={'${' * 500}a{'}' * 500}", "nests brackets more than 20 deep"),
    "a long list": (f"forget.classes=[{','.join('1' * 3000)}]", "has 6,0"),
    "a long number": (f"seed={'9' * 3900}", "numbers of more than 100 characters"),
    "a long number in a list": (f"forget.classes=[1,{'9' * 3900}]", "numbers of more than 100 characters"),
    "a circle": ("seed=${seed}", "refers to itself"),
    "a choice that is a mapping": ("experiment={a:[1,{b:2}]}", "experiment"),
    "a mode that is none": ("hydra.mode=${now:%Y}", "may only refer to its own keys"),
    "a range": ("seed=range(1,1000000000)", "this sweep has 999,999,999 jobs"),
    "a range of nothing": ("seed=range(0,-1)", "seed has no values"),
    "a range of small steps": ("seed=range(1,2,1e-300)", "this sweep has 1,000,000,000,000,000,000 jobs"),
    "a range without end": ("seed=range(1,2,0)", "Try: "),
    "a range to infinity": ("seed=range(1,inf)", "Try: "),
    "a sorted range": ("seed=sort(range(1,1000000000))", "this sweep has 999,999,999 jobs"),
    "a shuffled range": ("seed=shuffle(range(1,1000000000))", "this sweep has 999,999,999 jobs"),
}


@pytest.mark.parametrize("word", WORDS.values(), ids=WORDS)
def test_a_crafted_word_ends_with_one_message(word, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        cli.dispatch(["run", "-m", *TINY, word[0]])
    assert word[1] in str(caught.value) and len(str(caught.value)) < 1000
    assert time.monotonic() - started < 5


def test_a_product_of_many_values_is_refused_with_its_count(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"{key}=range(0,1000)" for key in ("seed", "dataset.seed", "forget.seed")]
    with pytest.raises(UserError, match=r"this sweep has 1,000,000,000 jobs \(1,000 of seed x 1,000 of dataset.seed"):
        cli.dispatch(["run", "-m", *TINY, *words])


def test_the_sweep_of_a_preset_is_counted_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    preset(tmp_path, "hydra: {mode: MULTIRUN, sweeper: {params: {seed: 'range(0,100000000)'}}}\n")
    with pytest.raises(UserError, match="this sweep has 100,000,000 jobs"):
        cli.dispatch(["run", *TINY, "experiment=e", "--config-dir", "configs"])
    preset(tmp_path, f"hydra: {{mode: MULTIRUN, sweeper: {{params: {{seed: '{'[' * 500}'}}}}}}\n")
    with pytest.raises(UserError, match="brackets more than 20 deep"):
        cli.dispatch(["run", *TINY, "experiment=e", "--config-dir", "configs"])


def test_many_words_are_refused():
    with pytest.raises(UserError, match=r"the overrides have 120,000 characters"):
        compose([f"+a{n:05}=1234" for n in range(10_000)])


def test_a_pipe_and_a_folder_are_no_yaml(tmp_path):
    (tmp_path / "e.yaml").mkdir()
    os.mkfifo(tmp_path / "f.yaml")
    for name in ("e", "f"):
        with pytest.raises(UserError, match=r"is a folder|is a pipe"):
            scan.text(tmp_path / f"{name}.yaml")


def test_the_list_waits_for_no_pipe_and_reads_no_large_file(tmp_path):
    folder = tmp_path / "method"
    folder.mkdir()
    os.mkfifo(folder / "pipe.yaml")
    with pytest.raises(UserError, match=r"pipe\.yaml is a pipe"):
        entries("methods", [tmp_path])
    (folder / "pipe.yaml").unlink()
    (folder / "large.yaml").write_bytes(b"\xff" * 10**6)
    with pytest.raises(UserError, match=r"large\.yaml has 1,000,000 bytes"):
        entries("methods", [tmp_path])


def test_ten_thousand_files_cost_no_time(tmp_path):
    for number in range(10_000):
        (tmp_path / f"e{number}.yaml").write_text(BOMB)
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "e.yaml").symlink_to(tmp_path / "e1.yaml")
    started = time.monotonic()
    compose(TINY, [tmp_path])
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("name", ["an alias bomb", "open brackets", "a large file", "values that double", "bytes"])
def test_the_command_ends_with_2_within_a_gigabyte(name, tmp_path):
    preset(tmp_path, FILES[name][0])
    done = watched(
        "run", *TINY, "experiment=e", "--config-dir", "configs", folder=tmp_path, seconds=10, address_gib=1
    )  # fmt: skip
    assert done.code == 2 and FILES[name][1] in done.said
    assert "Traceback" not in done.said and done.said.count("\n") <= 3
