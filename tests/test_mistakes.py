"""What a user can type wrong: exit code 2, a remedy, and nothing left behind."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
import torch

import unlearnbench
from unlearnbench.cli import main
from unlearnbench.errors import UserError
from worlds import TINY

MISTAKES = [
    (["run", "method=distil"], "Did you mean 'distill'"),
    (["run", "metod=distill"], "Did you mean 'method'"),
    (["run", "method.epohcs=3"], "Did you mean 'epochs'"),
    (["run", "+method.epohcs=3"], "Did you mean 'epochs'"),
    (["run", "+sede=3"], "Did you mean 'seed'"),
    (["run", "method.optimizer.lr=hot"], "method.optimizer.lr"),
    (["run", "method.optimizer.name=sdg"], "Did you mean 'sgd'"),
    (["run", "method.epochs=0"], "method.epochs=0"),
    (["run", "method.epochs=1.5"], "method.epochs=1.5"),
    (["run", "seed=-1"], "seed=-1"),
    (["run", "train.optimizer.momentum=1.5"], "train.optimizer.momentum=1.5"),
    (["run", "reference.count=-1"], "reference.count=-1"),
    (["run", "forget=list"], "Try: forget.file=ids.txt"),
    (["run", "forget=list", "forget.file=nowhere.txt"], "nowhere.txt cannot be read"),
    (["run", "forget=list", "forget.file=.", "forget.by=name"], "expected 'auto', 'id', 'path' or 'position'"),
    (["run", "forget=class", "forget.already=[nowhere.txt]"], "nowhere.txt cannot be read"),
    (["run", "forget=class", "forget.already=first.txt"], "Try: 'forget.already=[first.txt]'"),
    (["run", "model.checkpoint=."], "this folder has no model.safetensors"),
    (["run", "dataset.limit=3"], "dataset.limit=3"),
    (["run", "forget.classes=[unicorn]"], "unknown class 'unicorn'"),
    (["run", "forget.classes=[]"], "nothing would be forgotten"),
    (["run", "forget.classes=[0,1,2,3]"], "nothing would be retained"),
    (["run", "forget=random", "forget.fraction=1.0"], "forget.fraction"),
    (["run", "forget=random", "forget.fraction=null", "forget.count=215"], "forgets everything"),
    (["run", "forget=subclass"], "dataset.labels=superclass"),
    (["run", "dataset=cifar10", "dataset.root=nowhere"], "dataset.root=FOLDER"),
    (["run", "dataset=cifar100", "dataset.root=nowhere"], "folder nowhere does not exist"),
    (["run", "dataset=clinical_bias", "dataset.root=nowhere"], "folder nowhere does not exist"),
    (["run", "dataset=tofu", "dataset.root=nowhere", "forget.column=task_id"], "folder nowhere does not exist"),
    (["run", "model.checkpoint=nowhere.pt"], "does not exist"),
    (["run", "model=resnet18", "model.pretrained=nowhere.safetensors"], "is not a file"),
    (["run", "model=resnet18", "model.pretrained=1"], "model.pretrained=1"),
    (["export", "nowhere", "--to", "a.pt"], "is no run folder"),
    (["export", "nowhere"], "unlearnbench export --help"),
    (["score", "nowhere.pt"], "does not exist"),
    (["score", ".", "--data", "nosuch"], "--data nosuch: unknown dataset, and no folder or file nosuch"),
    (["score", "model=resnet18"], "MODEL comes first"),
    (["run", "method=external"], "Try: method.path=FILE or method.path=FOLDER"),
    (["run", "model=resnet9", "model.dropout=1"], "model.dropout=1"),
    (["run", "model=coatnet_0"], "cannot take 1 channels of 8x8"),
    (["run", "model=timm", "model.architecture=efficientformerv2_s9"], "Did you mean 'efficientformer"),
    (["run", "model=resnet18", "model.architecture=convnext_atto"], "model.architecture: unknown setting"),
    (["run", "model=coatnet_nano", "model.architecture=convnext_atto"], "Try: model=timm model.architecture=convnext"),
    (["run", "train.optimizer.head_lr=1e-2"], "Try: ++train.optimizer.head_lr=VALUE"),
    (["run", "dataset.augment.crop=20"], "Try: dataset.augment.crop="),
    (["run", "dataset=cifar10", "dataset.size=224", "dataset.augment.crop=40"], "is more than half of images of 32x32"),
    (["run", "dataset.augment.flip=sometimes"], "expected true or false or 'alternate'."),
    (["run", "dataset.augment.flip=alternat"], "Did you mean 'alternate'"),
    (["run", "method=none", "method.lr=0.1"], "method=none has none"),
    (["run", "dataset=fashion", "dataset.classes=[shirt,coat]"], "These have it: dataset=cifar10, dataset=cifar100"),
    (["run", "dataset=cifar10", "dataset.classes=[cat,cat,dog]"], "lists cat more than once"),
    (["run", "forget.classes=[0,1,2]"], "leaves 1 of 4 classes to retain"),
    (["run", "method=masking", "method.layer=feature"], "Did you mean 'features'?"),
    (["run", "experiment=smoke", "scale=cpu,smoke"], "Try: scale=cpu"),
    (["run", "experiment=smoke", "scale=cpu"], "These presets have it: paper_bias_instruct, "),
    (["run", "scale=cpu"], "a run without a preset has no scale=cpu"),
    (["run", "-m", "experiment=paper_table4,smoke", "scale=smoke"], "experiment=smoke has no scale=smoke of its own"),
    (["run", "model=resnet18", "model.stme=auto"], "Did you mean 'stem'"),
    (["run", "method", "=", "finetune"], "there are blanks around the =.\nTry: method=finetune"),
    (["run", "seed=0-2"], "Try: -m seed=0,1,2 for a sweep"),
    (["run", "eval=[standard,", "relearn]"], "is not closed in this word; outside quotes a blank begins the next"),
    (["run", "outputs=/proc/nowhere"], "cannot be written"),
    (["run", "outputs="], "outputs= is empty"),
    (["run", "-m", "outputs=", "seed=0,1"], "outputs= is empty"),
    (["run", "-m", "seed=0,1", f"hydra.sweep.dir={__file__}"], "is a file, not a folder"),
    (["run", "device=cuda:7"], "device=cpu"),
    (["run", "device=tpu"], "device"),
    (["run", "precision=fp8"], "precision"),
    (["run", "model._target_=os.system"], "is refused"),
    (["run", "method._target_=torch.load"], "is refused"),
    (["run", "+hydra.callbacks.x._target_=torch.load"], "is refused"),
    (["run", "-m", "seed=0,1", "hydra.launcher._target_=os.system"], "is refused"),
    (["run", "hydra.searchpath=[pkg://os]"], "is refused"),
    (["run", "seed=${oc.env:HOME}"], "is refused"),
    (["run", "seed=${ oc.env :HOME}"], "is refused"),
    (["run", "+hydra.job_logging.handlers.x.class=os.system"], "is refused"),
    (["run", "-m", "method=distill,finetun"], "Did you mean 'finetune'"),
    (["run", "-m", "seed=0,one"], "seed"),
    (["run", "forget.classes=[0"], "quoted"),
    (["run", "seed=0,1"], "-m for a sweep"),
    (["run", "dataset=null"], "unlearnbench list"),
    (["run", "forget.classes=0"], "a list, such as [A,B].\nTry: 'forget.classes=[0]'"),
    (["run", "--frob"], "unlearnbench run --help"),
    (["run", "--config-dir", "nowhere"], "--config-dir"),
    (["run", "--plugin", "nowhere.py"], "--plugin"),
    (["run", "dataset=clinical_notes", "method=masking"], "method=masking needs images"),
    (["run", "method=instruct"], "method=instruct needs text; dataset=synthetic is image"),
    (["run", "dataset=clinical_notes", "model=resnet18"], "model=resnet18 needs images"),
    (["run", "dataset=clinical_notes", "forget.column=is_bias"], "Did you mean 'is_biased'"),
    (["run", "dataset=clinical_notes", "forget.value=7"], "would forget nothing"),
    (["run", "dataset=clinical_notes", "method=prompt", "method.name=fare"], "Did you mean 'fair'"),
    (["run", "dataset=clinical_notes", "method=icul", "method.contexts=3"], "expected 2, 4 or 6"),
    (["run", "dataset=clinical_notes", "dataset.context=64", "dataset.too_long=refuse"], "dataset.too_long=cut"),
    (["run", "dataset=clinical_notes", "model.context=16"], "Try: model.context="),
    (["run", "dataset=clinical_notes", "eval.extra=[crow_pairs]"], "Did you mean 'crows_pairs'"),
    (["run", "dataset=clinical_notes", "eval.extra=[bbq]"], "eval.root=FOLDER"),
    (
        ["run", "dataset=clinical_notes", "model=hf", "model.path=no", "model.base=clean"],
        "not a folder with a config.json",
    ),
    (["run", "dataset=clinical_notes", "model=hf", "model.hub=me/mine"], "or model.base=unknown, if you cannot tell"),
    (["run", "dataset=clinical_notes", "model=hf"], "neither model.path nor model.hub"),
    (["run", "dataset=clinical_notes", "model.adapter.r=4", "model.adapter.targets=[foo]"], "got foo"),
    (["run", "dataset=tofu"], "dataset.root=FOLDER"),
    (["run", "dataset=clinical_bias", "dataset.root=nowhere"], "dataset.root=FILE"),
    (["run", "dataset=bbq"], "evaluation only"),
    (["run", "-m", "--cfg", "job", "seed=0,1"], "without -m"),
    (["run", "--cfg", "job", "seed=0,1"], "-m for a sweep"),
    (["run", "reported=[{role:original,split:test,metric:acuracy,value:0.5,source:T}]"], "Did you mean 'accuracy'"),
    (["run", "device=gpu"], "Did you mean 'cuda'"),
    (["run", "device=CPU"], "Did you mean 'cpu'"),
    (["run", "model=ResNet18"], "Did you mean 'resnet18'"),
    (["run", "dataset=CIFAR10"], "Did you mean 'cifar10'"),
    (["run", "lr=0.1"], "Try: method.optimizer.lr=0.1 (of the method), or train.optimizer.lr=0.1 (of the original's"),
    (["run", "learning_rate=0.1"], "Try: method.optimizer.lr=0.1"),
    (["run", "train.lr=0.1"], "Try: train.optimizer.lr=0.1\n"),
    (["run", "optimizer.lr=0.1"], "Try: method.optimizer.lr=0.1"),
    (["run", "epochs=3"], "Try: method.epochs=3 (of the method), or train.epochs=3"),
    (["run", "method=none", "epochs=3"], "Try: train.epochs=3\n"),
    (["run", "batch_size=8"], "Try: method.batch_size=8 (of the method), or train.batch_size=8"),
    (["run", "limit=100"], "Try: dataset.limit=100, or eval.limit=100"),
    (["run", "--method", "distill"], "Try: method=distill\n"),
    (["run", "--method=distill"], "Try: method=distill\n"),
    (["run", "--seed", "3"], "settings are typed without dashes.\nTry: seed=3\n"),
    (["plan", "--seed", "3"], "Try: seed=3\n"),
    (["run", "--mutlirun"], "Did you mean '--multirun'?"),
    (["run", "seed=0:3"], "Try: -m seed=0,1,2 for a sweep"),
    (["run", "-m", "method.epochs=1:50"], "Try: -m 'method.epochs=range(1,50)'"),
    (["run", "seed=[0,1]"], "Try: -m seed=0,1 for a sweep"),
    (["run", " method=distill"], "begins with a blank.\nTry: method=distill\n"),
    (["run", "method=", "distill"], "there is a blank after the =.\nTry: method=distill\n"),
    (["run", "distill"], "is not KEY=VALUE.\nTry: method=distill\n"),
    (["run", "method:distill"], "Try: method=distill\n"),
    (["run", "method=distill seed=3"], "is one word, because of the quotes.\nTry: method=distill seed=3\n"),
    (["run", "-m", "method.optimizer.lr=interval(1e-4,1e-2)"], "Try: -m method.optimizer.lr=0.0001,0.001,0.01\n"),
    (["run", "save_model=banana"], 'save_model="banana": expected true, false or null'),
    (["report"], "no folder outputs here, so there are no runs to report.\nTry: unlearnbench report FOLDER"),
    (["status"], "Try: unlearnbench status FOLDER/plan.jsonl"),
    (["list", "method"], "Did you mean 'methods'"),
    (["list", "NPO"], "nothing is called 'NPO'. Did you mean 'npo'?"),
    (["list", "nothing_like_it"], "Try: unlearnbench list, or one of methods, models"),
    (["report", "nowhere"], "nowhere"),
    (["report", "--to", __file__], "is a file, not a folder"),
    (["report", "--to", f"{__file__}/report"], "--to FOLDER"),
    (["report", "--to", "/proc/nowhere"], "cannot be written"),
    (["rnu"], "Did you mean 'run'"),
]


@pytest.mark.parametrize(("words", "says"), MISTAKES, ids=[" ".join(words) for words, _ in MISTAKES])
def test_mistakes_exit_2_with_a_remedy_and_leave_nothing(monkeypatch, capsys, tmp_path, words, says):
    """In this process, since a new one takes seconds to start; the next test shows that the command does the same."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unlearnbench", *on_tiny_data(words)])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(("words", "says"), MISTAKES[::13], ids=[" ".join(words) for words, _ in MISTAKES[::13]])
def test_mistakes_at_the_installed_command(command, tmp_path, words, says):
    done = command(*on_tiny_data(words))
    assert done.returncode == 2, done.stdout + done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["runs", "cache", "sweeps", "."])
def test_a_file_where_a_folder_of_outputs_belongs_is_named(monkeypatch, capsys, tmp_path, name):
    place = tmp_path / "outputs" / name
    place.parent.mkdir(exist_ok=True)
    place.touch()
    words = ["-m", "seed=0,1"] if name == "sweeps" else []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "run", *TINY, *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert f"{place.resolve()} is a file, not a folder" in capsys.readouterr().err


def on_tiny_data(words):
    """Put a `run` on the generated data set, unless it names one."""
    plain = words[0] == "run" and "dataset=" not in " ".join(words)
    return [*words[:1], *TINY[:2], *words[1:]] if plain else words


@pytest.mark.slow
def test_torchvision_that_does_not_fit_torch_is_explained_at_once(command, tmp_path):
    broken = tmp_path / "broken" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    path = f"{tmp_path / 'broken'}:{Path(__file__).parents[1]}"
    done = command("run", env={"PYTHONPATH": path})
    assert done.returncode == 2
    assert "do not fit together" in done.stderr and "pip install" in done.stderr
    assert not (tmp_path / "outputs").exists()


def test_a_checkpoint_of_another_shape_ends_before_anything_runs(command, tmp_path):
    torch.save({"state_dict": {"module.linear.weight": torch.zeros(10, 64)}}, tmp_path / "weights.pt")
    done = command("run", *TINY, f"model.checkpoint={tmp_path / 'weights.pt'}")
    assert done.returncode == 2
    assert "linear.weight: file (10, 64), model (4, 32)" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["weights.pt"]


@pytest.mark.parametrize("words", [["save_model=banana"], ["-m", "seed=0,1", "runner=local", "runner.workers=banana"]])
def test_a_finished_run_accepts_no_bad_words(monkeypatch, capsys, tmp_path, words):
    monkeypatch.chdir(tmp_path)
    unlearnbench.run([*TINY, "method=none", "-m", "seed=0,1"])
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "run", *TINY, "method=none", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    assert "banana" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("package", "words", "extra"),
    [
        ("datasets", ["dataset=crows_pairs"], "hub"),
        ("bitsandbytes", ["dataset=clinical_notes", "model=smollm2_135m", "++model.load_in_4bit=true"], "4bit"),
        ("submitit", ["runner=slurm", "device=cpu"], "slurm"),
    ],
)
def test_a_missing_extra_names_its_install_line(monkeypatch, tmp_path, folder, package, words, extra):
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == package else found(name, *more))
    monkeypatch.chdir(tmp_path)
    if package == "datasets":
        words = ["dataset=clinical_notes", "eval.extra=[crows_pairs]"]
    if package == "bitsandbytes":
        words = [*words, f"model.path={folder}", "model.base=clean", "model.adapter.targets=[q_proj]"]
    with pytest.raises(UserError) as error:
        unlearnbench.run(words)
    assert f"pip install 'unlearnbench[{extra}]'" in str(error.value)


def test_a_checkpoint_that_could_run_code_is_refused_in_our_words(monkeypatch, capsys, tmp_path):
    """And not in torch's, which offers to trust it and has escape codes."""
    torch.save({"state_dict": Unsafe()}, tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["unlearnbench", "run", *TINY, "model.checkpoint=weights.pt"])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert "Try: torch.save(model.state_dict()" in said
    assert "two options" not in said and "\x1b" not in said


class Unsafe:
    def __reduce__(self):
        return (os.getcwd, ())


@pytest.mark.parametrize("command", ["run", "plan", "work", "status", "report", "verify", "list"])
def test_every_command_has_help(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["unlearnbench", command, "--help"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 0
    assert f"unlearnbench {command}" in capsys.readouterr().out
