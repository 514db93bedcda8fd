"""Places with blanks, brackets, commas, `=`, quotes and letters beyond ASCII: taken as typed, or refused with a way."""

from __future__ import annotations

import csv
import dataclasses
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

import unlearnbench
from plugin_files import write_plugin
from unlearnbench import cli
from unlearnbench.assemble import Settings
from unlearnbench.errors import UserError
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.request import jobs
from unlearnbench.request.compose import compose
from unlearnbench.request.config import GROUPS, build_class, config_root
from unlearnbench.request.words import PLACES, literal
from worlds import HERE, TINY, synthetic

pytestmark = pytest.mark.slow

NAMES = (
    "a b", "[x]", "a=b", "ünïcödé", "it's", '"q" x', "$x", "{a}", "#", "end ", " front", "(p)", "a\\b", "x:y", "100%;&",
)  # fmt: skip
ALONE = ("10", "1e3", "true", "~", "'", "日本", "choice", "[", "a\\", "..", "-x", "null and void")
COMMAS = ("a,b", "[x],ü y", "it's,", ",")
RUN = (*TINY[:2], "train.epochs=1", "method=none")
PRESET = """\
# @package _global_
# A sweep.
defaults:
  - override /method: shrink
hydra: {mode: MULTIRUN, sweeper: {params: {method: "shrink,none"}}}
"""


@pytest.mark.parametrize("key", PLACES)
def test_a_place_is_taken_letter_by_letter(key):
    """By Hydra's parser, in a run as in a sweep; the last test of names goes through the whole command."""
    for name in (*NAMES, *ALONE):
        for place in (name, f"/some/{name}", f"{name}/below", f"../{name}"):
            if key == "model.pretrained" and place == "true":
                continue  # the weights that are known for it
            for prefix in ("", "++"):
                (word,) = literal([f"{prefix}{key}={place}"])
                parsed = OverridesParser.create().parse_override(word)
                assert parsed.value() == place and not parsed.is_sweep_override()
                assert literal([word]) == [word]
            assert jobs.swept([f"{key}={place},/other"], ()).first() == literal([f"{key}={place}"])


@pytest.mark.parametrize("key", ["outputs", "hydra.sweep.dir", "eval.root"])
def test_quotes_of_hydra_s_keep_what_stands_in_them_and_null_is_null(key):
    for word, value in (("'a,b'", "a,b"), ('"a,b"', "a,b"), ("out_${seed}", "out_5"), ("[x] ü", "[x] ü")):
        assert value_of(compose(["seed=5", f"{key}={word}"]), key) == value
    assert value_of(compose(["eval.root=null"]), "eval.root") is None


def value_of(composed, key):
    """Return what a key came to."""
    if key == "hydra.sweep.dir":
        return str(compose([*composed.request.overrides], sweep=True).sweep_dir)
    node = composed.request.config
    for part in key.split("."):
        node = node[part]
    return node


def test_every_setting_that_is_a_path_is_known_as_a_place():
    found = set()
    for group in GROUPS:
        for file in (config_root() / group).glob("*.yaml"):
            values = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
            package = re.match(r"# @package ([\w.]+)", file.read_text())
            if isinstance(values, dict) and "_target_" in values:
                kind = build_class(values["_target_"], group)
                place = package[1] if package else group
                found |= {f"{place}.{name}" for name in paths_of(kind) if name in values}
    hints = get_type_hints(Settings)
    found |= {f"{name}.{below}" for name, kind in hints.items() if dataclasses.is_dataclass(kind)
              for below in paths_of(kind)}  # fmt: skip
    lists = {"forget.already"}
    others = {"outputs", "dataset.path", "dataset.cache", "hydra.sweep.dir"}
    assert found and (found - lists) | others == set(PLACES)


def paths_of(kind):
    names = {field.name for field in dataclasses.fields(kind)}
    hints = get_type_hints(kind)
    return {name for name in names if hints[name] is Path or Path in get_args(hints[name])}


@pytest.fixture(scope="module")
def swept(warm, tmp_path_factory):
    """A folder below folders of all the names, and what the installed command made of a preset that is a sweep there.

    Working folder, home, outputs, configuration and plugin are all in it.
    """
    home = tmp_path_factory.mktemp("names").joinpath(*NAMES)
    flags = write_plugin(home)
    (home / "mine" / "experiment").mkdir()
    (home / "mine" / "experiment" / "swept.yaml").write_text(PRESET)
    words = ["run", *flags, *RUN[:3], "experiment=swept", "save_model=true", f"outputs={home / 'out'}"]
    done = warm.run(words, home, {**HERE, "HOME": str(home)})
    assert done.returncode == 0, done.stderr
    return home, flags


def test_a_sweep_its_plugin_and_its_report_work_below_folders_of_all_names(swept):
    home, _ = swept
    (sweep,) = (home / "out" / "sweeps").iterdir()
    with (sweep / "jobs.csv").open() as file:
        jobs = list(csv.DictReader(file))
    assert [(job["method"], job["status"]) for job in jobs] == [("shrink", "done"), ("none", "done")]
    runs = [Path(job["run_folder"]) for job in jobs]
    assert {run.parent for run in runs} == {home / "out" / "runs"} and (sweep / "report" / "report.html").exists()
    assert isinstance(unlearnbench.load(runs[0]), torch.nn.Module)
    shown = {path.name for path in home.iterdir() if not path.name.startswith(".")}  # but for a library's cache
    assert shown - {"__pycache__"} == {"mine", "shrinking.py", "out"}


def test_so_do_report_list_and_what_reads_files(swept, monkeypatch, capsys):
    home, flags = swept
    monkeypatch.chdir(home)
    torch.save(TinyCNN(checkpoint=None).build(synthetic().info()).state_dict(), home / "weights.pt")
    words = [*RUN, f"outputs={home / 'out'}", f"model.checkpoint={home / 'weights.pt'}", "seed=0,1"]
    assert cli.dispatch(["run", "-m", *words]) == 0
    assert cli.dispatch(["report", str(home / "out"), "--to", str(home / "page")]) == 0
    assert cli.dispatch(["list", "experiments", *flags[:2]]) == 0
    assert cli.dispatch(["run", *flags[:2], *RUN, f"outputs={home / 'out'}", "--cfg", "job"]) == 0
    shown = capsys.readouterr().out
    assert f"report: {home / 'page' / 'report.html'}" in shown and "A sweep" in shown


@pytest.mark.parametrize("name", NAMES)
def test_the_installed_command_finds_a_run_in_a_folder_of_any_name(swept, warm, tmp_path, name):
    home, flags = swept
    shutil.copytree(home / "out", tmp_path / name)
    words = ["run", *flags, *RUN, "experiment=swept", "save_model=true", f"outputs={name}"]
    done = warm.run(words, tmp_path, {**HERE, "HOME": str(home)})
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "sweeps").exists()


@pytest.mark.parametrize("name", COMMAS)
@pytest.mark.parametrize("mode", [[], ["-m", "seed=0,1"]])
def test_a_comma_is_refused_with_a_word_that_works(tmp_path, monkeypatch, name, mode):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        cli.dispatch(["run", *RUN, f"outputs=/tmp/{name}", *mode])
    assert value_of(compose(hinted(refused)), "outputs") == f"/tmp/{name}"
    (tmp_path / name).mkdir()
    words = ["dataset=tofu", "model=llama_tiny", f"dataset.root={tmp_path / name}", *mode]
    with pytest.raises(UserError) as refused:
        cli.dispatch(["run", *words])
    assert value_of(compose(["dataset=tofu", *hinted(refused)]), "dataset.root") == str(tmp_path / name)


def test_the_hint_typed_into_a_shell_runs(command, tmp_path):
    refused = command("run", *RUN, "outputs=a,b $x it's")
    assert refused.returncode == 2
    word = refused.stderr.partition("Try: ")[2].partition(" if the comma")[0]
    line = f"{shlex.quote(sys.executable)} -m unlearnbench run {' '.join(RUN)} {word}"
    done = subprocess.run(line, shell=True, cwd=tmp_path, env=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["a,b $x it's"]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("method.layer=größe", "method.layer", "größe"),
        ("method.layer=a#b", "method.layer", "a#b"),
        ("forget.classes=[größe,b b]", "forget.classes", ["größe", "b b"]),
        ("outputs=/tmp/${x}", "outputs", "/tmp/${x}"),
    ],
)
def test_what_hydra_cannot_read_is_refused_with_a_word_that_works(word, key, value):
    with pytest.raises(UserError) as refused:
        compose(["method=masking", word])
    assert value_of(compose(["method=masking", *hinted(refused)]), key) == value


def test_a_name_with_a_dollar_sign_and_a_brace_works_in_a_sweep_as_well(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.dispatch(["run", "-m", *RUN, r"outputs=in\${x}", "seed=0,1"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"in${x}"}


def hinted(refused):
    """Return the first word of the last hint of an error, as a shell would hand it over."""
    return shlex.split(str(refused.value).rpartition("Try: ")[2])[:1]
