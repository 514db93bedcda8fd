"""Configuration files are data: none runs code, writes elsewhere or goes by a name that is a path.

Each attack is a folder of files for --config-dir, and words. Python files in it leave a mark where they are imported,
`precious` is a file that must stay as it is. All end with exit code 2 and one message, whatever asks for them.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from unlearnbench.cli import main
from unlearnbench.errors import UserError
from unlearnbench.request import plugins
from unlearnbench.request.compose import compose
from unlearnbench.request.config import build
from unlearnbench.request.refusals import refuse_hydra, refuse_names, refuse_path, refuse_references
from unlearnbench.results.identity import Identity
from worlds import TINY

MARKS = "import pathlib\npathlib.Path({mark!r}).touch()\n"
E = ["experiment=e"]


def preset(text: str) -> dict[str, str]:
    return {"experiment/e.yaml": f"# @package _global_\n{text}\n"}


def hydra(text: str) -> dict[str, str]:
    return preset(f"hydra: {{{text}}}")


def swept(parameters: str) -> dict[str, str]:
    return hydra(f"mode: MULTIRUN, sweeper: {{params: {{{parameters}}}}}")


def over(default: str, **files: str) -> dict[str, str]:
    """A preset with one entry in its defaults list, and files it names: `x__y` is x/y.yaml."""
    return {**preset(f"defaults: [{default}]"), **{f"{k.replace('__', '/')}.yaml": v for k, v in files.items()}}


HANDLER = "{class: logging.FileHandler, filename: PRECIOUS, mode: w}"
LOGGING = "{version: 1, root: {level: INFO, handlers: [f]}, handlers: {f: HANDLER}}".replace("HANDLER", HANDLER)
CALL = "{_target_: unlearnbench.request.plugins.trust_file, path: FOLDER/evil.py}"
DISCARD = "{_target_: unlearnbench.results.folder.discard, part: FOLDER/experiment}"

ATTACKS = {
    # where a run is sent
    "a tracker's server": (preset('track: {mlflow: {uri: "http://evil"}}'), [*E, "track=mlflow"]),
    "a tracker of its own": (
        preset("track: {x: {_target_: unlearnbench.track.wandb.Wandb, mode: online, project: p, entity: e}}"), E,
    ),
    "a tracker's file": (over("override /track: [mlflow]", track__mlflow=(
        "# @package track.mlflow\n_target_: unlearnbench.track.mlflow.Mlflow\nuri: sqlite:////there\nexperiment: e\n"
    )), E),
    "a tracker in a sweep": (swept('track.mlflow.uri: "http://evil"'), [*E, "track=mlflow"]),
    # the three of the issue, and their kin
    "env_set": (hydra('job: {env_set: {UNLEARNBENCH_PLUGIN_FILES: \'["FOLDER/evil.py"]\'}}'), E),
    "env_copy": (hydra("job: {env_copy: [HOME]}"), E),
    "env_copy of nothing": (hydra("job: {env_copy: [NO_SUCH_THING]}"), E),
    "a callback": (hydra(f"callbacks: {{c: {CALL}}}"), E),
    "a callback that deletes": (hydra(f"callbacks: {{c: {DISCARD}}}"), E),
    "a callback made by a resolver": (hydra(f'callbacks: {{c: "${{oc.create:{CALL}}}"}}'), E),
    "callbacks made by a resolver": (hydra(f'callbacks: "${{oc.create:{{c: {DISCARD}}}}}"'), E),
    "a callback by reference": (preset(f'tuning: {{x: {DISCARD}}}\nhydra: {{callbacks: {{c: "${{tuning.x}}"}}}}'), E),
    "hydra by reference": (preset(f'tuning: {{callbacks: {{c: {DISCARD}}}}}\nhydra: "${{tuning}}"'), E),
    "a log file": (hydra(f"job_logging: {{root: {{handlers: [f]}}, handlers: {{f: {HANDLER}}}}}"), E),
    "a log file of Hydra's": (hydra(f"hydra_logging: {LOGGING}"), E),
    "a factory of a log": (hydra("job_logging: {filters: {f: {(): evil.Filter}}}"), E),
    "a stream of a log": (hydra('job_logging: {handlers: {f: {class: evil.X, stream: "ext://evil.x"}}}'), E),
    # Hydra's other settings
    "run.dir": (hydra("run: {dir: FOLDER/there}"), E),
    "sweep.dir": (hydra("mode: MULTIRUN, sweep: {dir: FOLDER/there}, sweeper: {params: {seed: '0,1'}}"), E),
    "sweep.subdir": (hydra("mode: MULTIRUN, sweep: {subdir: ../there}, sweeper: {params: {seed: '0,1'}}"), E),
    "output_subdir": (hydra("output_subdir: ../there"), E),
    "chdir": (hydra("job: {chdir: true}"), E),
    "verbose": (hydra("verbose: true"), E),
    "help": (hydra("help: {template: $CONFIG}"), E),
    "searchpath": (hydra("searchpath: ['pkg://evil']"), E),
    "forged words": (hydra("overrides: {task: ['+hydra.callbacks.c._target_=evil.x']}"), E),
    "forged choices": (hydra("runtime: {choices: {method: ../x}}"), E),
    "no settings": (preset("hydra: null"), E),
    # launchers and sweepers
    "another launcher": (hydra("launcher: {_target_: evil.Launcher}"), E),
    "a launcher within a launcher": (hydra(f"launcher: {{x: {DISCARD}}}"), E),
    "arguments of a launcher": (hydra("launcher: {_args_: [x]}"), E),
    "a parameter that is called": (hydra(f"sweeper: {{params: {DISCARD}}}"), E),
    "a parameter with a call": (hydra(f"sweeper: {{params: {{seed: {DISCARD}}}}}"), E),
    "a parameter of Hydra's": (swept("hydra.job.chdir: 'true,false'"), E),
    "a parameter that adds": (swept("+hydra.job.env_set.X: 'a,b'"), E),
    "a parameter of a package": (swept("+method@hydra.callbacks.c: 'npo,none'"), E),
    "a parameter with a place": (swept("outputs: 'FOLDER/a,FOLDER/b'"), E),
    "a parameter with a resolver": (swept("seed: '${oc.env:UID},1'"), E),
    "a setting with a line break": (hydra('launcher: {partition: "a\\nrm x"}'), E),
    "a storage": (hydra("sweeper: {storage: 'sqlite:///FOLDER/there'}"), E),
    # the ways into hydra.
    "an alias and a merge key": (preset(f"train: &a {{callbacks: {{c: {DISCARD}}}}}\nhydra:\n  <<: *a"), E),
    "a package": ({"experiment/e.yaml": f"# @package hydra.callbacks\nc: {DISCARD}\n"}, E),
    "a package of a default": (over("'/x/y@hydra.callbacks'", x__y=f"c: {DISCARD}"), E),
    "a package of a group": (over("{/x@hydra.callbacks: y}", x__y=f"c: {DISCARD}"), E),
    "a package of an override": ({"x/y.yaml": f"c: {DISCARD}"}, ["+x@hydra.callbacks=y"]),
    "a package of an own choice": ({}, ["+method@hydra.callbacks.c=npo"]),
    "hydra/callbacks": (over("{override /hydra/callbacks: y}", hydra__callbacks__y=f"c: {DISCARD}"), E),
    "hydra/job_logging typed": ({"hydra/job_logging/y.yaml": LOGGING}, ["hydra/job_logging=y"]),
    "hydra/output": (over("{override /hydra/output: y}", hydra__output__y="output_subdir: ../there"), E),
    "hydra/launcher": (over("{override /hydra/launcher: y}", hydra__launcher__y=DISCARD), E),
    "hydra's launcher elsewhere": (over("{/hydra/launcher@hydra.callbacks.c: basic}"), E),
    "hydra's log elsewhere": (over("{/hydra/job_logging@hydra.callbacks: default}"), E),
    "hydra/launcher typed": ({"hydra/launcher/y.yaml": DISCARD}, ["-m", "hydra/launcher=y", "seed=0,1"]),
    "hydra/callbacks typed": ({"hydra/callbacks/y.yaml": f"c: {DISCARD}"}, ["+hydra/callbacks=y"]),
    "two that are one together": (
        {
            **{f"{name}.yaml": "# @package _global_\n{}" for name in ("a/x", "b/x", "b/y")},
            "a/y.yaml": "# @package _global_\ndefaults: ['/c/${b}@hydra.callbacks']",
            "c/x.yaml": "{}", "c/y.yaml": f"c: {DISCARD}",
        },
        ["-m", "+a=x,y", "+b=x,y"],
    ),
    # resolvers
    "oc.env": (preset('seed: "${oc.env:UID}"'), E),
    "oc.decode": (preset('seed: "${oc.decode:1}"'), E),
    "oc.create": (preset('tuning: "${oc.create:{a: 1}}"'), E),
    "now": (preset('device: "${now:%Y}"'), E),
    "in a name of a resolver": (preset('device: oc.env\nseed: "${${device}:UID}"'), E),
    "in a name of a key": (preset('seed: "${${device}}"'), E),
    "behind an escape": (preset(r"seed: '\\${oc.env:UID}'"), E),
    "in a list": (preset('forget: {classes: [0, "${oc.env:UID}"]}'), E),
    "in a list of lists": (preset('reported: [[["${oc.env:UID}"]]]'), E),
    "in a defaults list": (over("'/x/${oc.env:HOME}'"), E),
    "in a choice": (over("{/x: '${oc.env:HOME}'}"), E),
    "of Hydra": (preset('device: "${hydra.runtime.cwd}"'), E),
    "of a parent": (preset('train: {epochs: "${..hydra.job.num}"}'), E),
    "hydra as a whole": (preset('tuning: "${hydra}"'), [*E, "tuning.callbacks.c._target_=evil.x"]),
    # what is written where
    "outputs": (preset("outputs: FOLDER/there"), E),
    "outputs by reference": (preset('dataset: {root: FOLDER/there}\noutputs: "${dataset.root}"'), E),
    "a cache": (preset("dataset: {cache: FOLDER/there}"), E),
    "a cache by reference": (preset('dataset: {root: FOLDER/there, cache: "${dataset.root}"}'), E),
    "a cache in a reference": (preset('reported: {cache: FOLDER/there}\ndataset: "${reported}"'), E),
    "a cache as a parameter": (swept("dataset.cache: 'FOLDER/a,FOLDER/b'"), E),
    # classes
    "a function": (preset("method: {_target_: unlearnbench.results.folder.discard}"), E),
    "a class of another kind": (preset("method: {_target_: unlearnbench.graph.cache.Cache}"), E),
    "a class of another group": (preset("method: {_target_: unlearnbench.models.tiny.TinyCNN}"), E),
    "an imported class": (preset("model: {_target_: unlearnbench.models.tiny.Path}"), E),
    "a class within a method": (preset("method: {optimizer: {_target_: evil.x}}"), E),
    "a stranger's class": (preset("method: {_target_: evil.Method}"), E),
    "a relative class": (preset("method: {_target_: .evil.Method}"), E),
    "a parent of a package": (preset("model: {package: evil.x}"), [*E, "dataset=clinical_notes", "model=smollm2_135m"]),
    "tuning with values": (preset("tuning: {x: 1}"), E),
    "reported with values": (preset("reported: [{_target_: evil.x}]"), E),
    "a new group": (over("{/x: y}", x__y="a: 1"), E),
    # files that are no configurations
    "a list": ({"experiment/e.yaml": "[1, 2]"}, E),
    "a number as a group": (over("{1: x}"), E),
    "a default that is no list": (preset('defaults: "${seed}"'), E),
    "an empty key": (preset("null: 1"), E),
    "hydra as a list": (preset("hydra: [1]"), E),
    "no sweeper": (hydra("sweeper: null"), E),
    "one that names itself": (over("e"), E),
    "no outputs": ({}, ["~outputs"]),
}  # fmt: skip

NAMES = [
    "../../outside/none", "/method/none", "../method/none", "./none", "none/../none", ".none", "-none", "none/",
    "a b", "no\\nne", "none\\x00", "näme", "a" * 120, "a:b", "a=b", "~none",
]  # fmt: skip
YAML = "_target_: unlearnbench.methods.none.Nothing\n"
"""What a method's file says: the names are what is wrong."""


@pytest.fixture(autouse=True)
def _own_log(monkeypatch):
    """Hydra's help sets the log up, onto this test's terminal: not beyond the test."""
    for name in (None, "unlearnbench"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])


@pytest.fixture
def attack(tmp_path, monkeypatch, capsys):
    """Run words over a folder of files; return the message, after seeing that nothing was done."""

    def run(files: dict[str, str], *words: str, command: str = "run") -> str:
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")
        folder, mark, precious = tmp_path / "theirs", tmp_path / "mark", tmp_path / "precious"
        files = {"experiment/x.yaml": "{}", "evil.py": MARKS.format(mark=str(mark)), **files}
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text.replace("FOLDER", str(folder)).replace("PRECIOUS", str(precious)))
        precious.write_text("kept")
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
        monkeypatch.setattr(sys, "argv", ["unlearnbench", command, "--config-dir", str(folder), *words])
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        assert stop.value.code == 2, said
        assert "Traceback" not in said.err and said.err.count("unlearnbench: ") == 1, said.err
        assert sorted(tmp_path.rglob("*")) == before and precious.read_text() == "kept"
        assert plugins.files() == ()
        return said.err

    return run


@pytest.mark.parametrize("name", ATTACKS)
def test_no_file_runs_code_or_writes_elsewhere(attack, name):
    files, words = ATTACKS[name]
    attack(files, *TINY, *words)


@pytest.mark.parametrize(
    "way", [["-m", "seed=0,1"], ["--cfg", "job"], ["--cfg", "all", "--resolve"], ["--info"], ["--help"]]
)
@pytest.mark.parametrize("name", ["env_set", "a callback that deletes", "a log file", "oc.env", "hydra/launcher"])
def test_whatever_asks_for_it(attack, name, way):
    files, words = ATTACKS[name]
    attack(files, *words, *way)


@pytest.mark.parametrize("words", [["--help"], ["--hydra-help"], ["--cfg", "hydra"], ["-m", "seed=0,1"]])
@pytest.mark.parametrize("name", ["config", "launcher/basic"])
def test_a_file_of_hydra_s_own_name_is_not_read(monkeypatch, capsys, tmp_path, name, words):
    """Those that Hydra keeps in memory are asked for last: a folder's would come before them."""
    file = tmp_path / "theirs" / "hydra" / f"{name}.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("# @package hydra\ncallbacks: {c: {_target_: evil.x}}\nhelp: {template: theirs}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("unlearnbench.runs.sweeping.launch", lambda *_what: (tmp_path, 1))
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "run", "--config-dir", "theirs", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    said = capsys.readouterr()
    assert stop.value.code == (1 if "-m" in words else 0), said
    assert "evil" not in said.out + said.err and "template: theirs" not in said.out and said.out != "theirs\n"


@pytest.mark.parametrize("name", NAMES)
def test_a_choice_has_a_plain_name(name):
    with pytest.raises(UserError, match="plain name"):
        refuse_path(f"method/{name}" if "/" not in name else f"{name}/x")
    with pytest.raises(UserError, match="plain name"):
        refuse_names({"method": name})


@pytest.mark.parametrize("name", ["../../outside/none", "sub/none", ".none"])
@pytest.mark.parametrize("way", ["override", "default", "word", "sweep"])
def test_whoever_makes_it(attack, name, way):
    files = {
        "method/sub/none.yaml": YAML,
        "method/a b.yaml": YAML,
        "method/.none.yaml": YAML,
        "method/-none.yaml": YAML,
    }
    override = preset(f'defaults: [{{override /method: "{name}"}}]')
    default = preset(f'defaults: ["/method/{name}@method"]')
    made = {"override": (override, E), "default": (default, E)}
    given, words = made.get(way, ({}, [f"method={name}"] if way == "word" else ["-m", f"method=none,{name}"]))
    attack({**files, **given}, *TINY[:2], *words)


def test_results_go_by_plain_names_whatever_a_model_is_called(attack):
    attack(preset("defaults: [{override /model: timm}]\nmodel: {architecture: ../../../there}"), *TINY[:1], *E)
    names = {"run_id": "0", "experiment": "", "dataset": "d", "forget": "f", "model": "m", "seed": 0}
    with pytest.raises(UserError, match="plain name"):
        _ = Identity(method="../x", **names).folder


@pytest.mark.parametrize("target", ["os./etc/x.Y", ".x.Y", "..Y", "os..Y", "evil.Y"])
def test_list_reads_no_other_file_and_imports_nothing(monkeypatch, capsys, tmp_path, target):
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "m.yaml").write_text(f"_target_: {target}\n")
    (tmp_path / "evil.py").write_text(MARKS.format(mark=str(tmp_path / "mark")))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "list", "methods", "--config-dir", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0, capsys.readouterr()
    assert not (tmp_path / "mark").exists()


OWN = {
    "mode": None,
    "launcher": {"_target_": "hydra_plugins.L", "n_jobs": -1, "submitit_folder": "${hydra.sweep.dir}/x", "setup": None},
    "sweeper": {"_target_": "hydra_plugins.S", "params": None, "sampler": {"_target_": "optuna.S", "seed": None}},
    "callbacks": {},
}


def changed(section: str, **values: object) -> dict[str, object]:
    return {**OWN, section: {**OWN[section], **values}}


@pytest.mark.parametrize(
    "found",
    [
        OWN,
        {**OWN, "mode": "MULTIRUN"},
        changed("sweeper", params={"method.lr": "0.1,1"}),
        changed("sweeper", params={"experiment": "a,b", "+train.x": "1,2", "seed": 1}),
    ],
)
def test_what_a_sweep_needs_may_be_set(found):
    refuse_hydra(found, OWN)


@pytest.mark.parametrize(
    "found",
    [
        changed("launcher", setup=["rm x"]),
        changed("launcher", additional_parameters={"wrap": "x"}),
        changed("launcher", submitit_folder="/there"),
        changed("launcher", _target_="hydra_plugins.S"),
        changed("launcher", **{"n_jobs.x": 1}),
        changed("launcher", n_jobs="${x}"),
        changed("launcher", n_jobs=4),
        changed("sweeper", n_trials=20),
        changed("launcher", partition="$(x)"),
        changed("launcher", n_jobs={"_target_": "x.y"}),
        changed("sweeper", custom_search_space="x.y"),
        changed("sweeper", **{"params.seed": "0,1"}),
        changed("sweeper", sampler={"_target_": "x.y"}),
        changed("sweeper", sampler={**OWN["sweeper"]["sampler"], "_partial_": True}),
        changed("sweeper", params="${x}"),
        changed("sweeper", params={"hydra.launcher": "x"}),
        changed("callbacks", **{"launcher": {"n_jobs": 1}}),
        {**OWN, "callbacks": None},
        {key: value for key, value in OWN.items() if key != "callbacks"},
        {**OWN, "launcher": {}},
        None,
        "${x}",
    ],
)
def test_nothing_else_may(found):
    with pytest.raises(UserError, match="is refused"):
        refuse_hydra(found, OWN)


def test_only_the_command_line_says_where_hydra_writes():
    own = {**OWN, "sweep": {"dir": "x"}}
    refuse_hydra({**own, "sweep": {"dir": "/there"}}, own, ["hydra.sweep.dir"])
    with pytest.raises(UserError, match="only the command line"):
        refuse_hydra({**own, "sweep": {"dir": "/there"}}, own)


@pytest.mark.parametrize("word", ["hydra/launcher=joblib", "hydra/launcher=basic", "hydra/sweeper=optuna"])
def test_launchers_of_hydra_are_refused_with_the_word_that_replaces_them(word):
    with pytest.raises(UserError, match="Try: runner=local, or runner=slurm"):
        compose([word])


@pytest.mark.parametrize("text", ["${a}", "x ${a.b}/${c[0]}", r"in\${x y}", r"a\\${a}", "$x", "{a}", "a$${b}"])
def test_references_to_other_keys_and_dollar_signs_are_fine(text):
    refuse_references({"x": [{"y": text}]})


@pytest.mark.parametrize("path", ["hydra/launcher/basic", "method/none", "tuned/image/npo", "run", "a/b-1.5_x+"])
def test_plain_paths_are_fine(path):
    refuse_path(path)


def test_none_is_no_name_to_refuse():
    refuse_names({"scale": None, "experiment": "", "method": "npo"})


@pytest.mark.parametrize("group", ["model", "dataset", "forget", "method", "train"])
@pytest.mark.parametrize(
    "target",
    ["unlearnbench.graph.cache.Cache", "unlearnbench.request.refusals.refuse_names",
     "unlearnbench.training.record.Record",
     "unlearnbench.x.Y", "unlearnbench.methods.masking.Seen", "unlearnbench.models.adapter.Adapter",
     "unlearnbench.data.text.TextRow", "unlearnbench.methods.masking.UserError", "unlearnbench.forget.splits.Splits"],
)  # fmt: skip
def test_a_configuration_is_one_of_its_group(group, target):
    with pytest.raises(UserError, match="_target_"):
        build({"_target_": target}, group)


def test_plugin_files_are_those_of_the_start(monkeypatch):
    monkeypatch.setenv(plugins.FILES, '["/somewhere/evil.py"]')
    assert Path("/somewhere/evil.py") not in plugins.files() and not plugins.trusted("evil")
