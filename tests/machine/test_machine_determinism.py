"""What a run changes of torch on CUDA, and that nothing of it stays: the flags are there without a GPU, too."""

from __future__ import annotations

import contextlib
import os

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from toys import Sum
from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.graph.cache import Cache
from unlearnbench.graph.workshop import Workshop
from unlearnbench.machine import determinism
from unlearnbench.machine.determinism import WORKSPACE, computing
from unlearnbench.machine.devices import name_of, resolved
from unlearnbench.machine.precision import Precision
from unlearnbench.models.tiny import TinyCNN
from unlearnbench.randomness import seeded
from unlearnbench.request.compose import compose
from unlearnbench.results.identity import identify, settings
from unlearnbench.runners.execute import computed
from unlearnbench.runs.launch import execute, prepare
from unlearnbench.tasks.image import ImageTask
from worlds import TINY, synthetic

CUDNN, MATMUL = torch.backends.cudnn, torch.backends.cuda.matmul


def state():
    """Return all that a run on CUDA may change."""
    newer = [flag.fp32_precision for flag in determinism._newer_flags()]
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    return (*algorithms, CUDNN.deterministic, CUDNN.benchmark, os.environ.get(WORKSPACE), *newer)


@pytest.fixture
def gpus(monkeypatch):
    """Two GPUs, as far as torch is asked of them; returns the devices that were made the current one."""
    entered = []

    @contextlib.contextmanager
    def device(name):
        entered.append(name)
        yield

    monkeypatch.setattr(torch.cuda, "device", device)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: f"GPU of {device}")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: entered[-1:] == ["cuda:1"])
    monkeypatch.setattr(determinism, "_check_products", lambda device: None)
    return entered


def test_equal_bits_are_asked_of_torch_inside_and_nothing_stays(gpus, monkeypatch):
    monkeypatch.delenv(WORKSPACE, raising=False)
    before = state()
    with computing("cuda:1", deterministic=True):
        assert state()[:5] == (True, False, True, False, ":4096:8")
        assert not CUDNN.allow_tf32 and not MATMUL.allow_tf32
    assert gpus == ["cuda:1"] and state() == before


def test_without_it_only_tf32_is_switched_off(gpus, monkeypatch):
    monkeypatch.setattr(CUDNN, "benchmark", True)
    before = state()
    assert CUDNN.allow_tf32  # torch's default, which is not float32
    with computing("cuda", deterministic=False):
        assert state()[:5] == before[:5]
        assert not CUDNN.allow_tf32 and not MATMUL.allow_tf32
    assert state() == before and CUDNN.allow_tf32


@pytest.mark.parametrize("newer", [False, True])
def test_what_a_caller_had_set_is_there_again_after_a_failure(gpus, monkeypatch, newer):
    if newer and not determinism._newer_flags():
        pytest.skip("torch has one set of names for TF32 here")
    default = determinism._older_flags()
    flags = [(flag, flag.fp32_precision) for flag in determinism._newer_flags()]
    monkeypatch.setenv(WORKSPACE, ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        if newer:
            MATMUL.fp32_precision = CUDNN.conv.fp32_precision = "tf32"
            CUDNN.rnn.fp32_precision = "ieee"  # the older names cannot be read now
        else:
            torch.set_float32_matmul_precision("high")
        before = state()
        with pytest.raises(ValueError), computing("cuda", deterministic=True):
            assert os.environ[WORKSPACE] == ":16:8"
            assert state()[5:] == ("ieee",) * len(flags)
            raise ValueError
        assert state() == before
    finally:
        torch.use_deterministic_algorithms(False)
        determinism._set_older(*default)
        for flag, value in flags:
            flag.fp32_precision = value


def test_on_a_cpu_torch_is_left_as_it_is():
    before = state()
    with computing("cpu", deterministic=True):
        assert state() == before


def test_cublas_that_started_without_its_workspace_is_refused(gpus, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "device", lambda name: contextlib.nullcontext())

    def started(*size, device):
        raise RuntimeError(f"uses CuBLAS ... you must set an environment variable: {WORKSPACE}=:4096:8")

    monkeypatch.setattr(torch, "ones", started)
    before = state()
    with (
        pytest.raises(UserError, match=f"Try: export {WORKSPACE}=:4096:8 and run it again, or deterministic=false"),
        computing("cuda", deterministic=True),
    ):
        raise AssertionError("nothing is to be computed")
    assert state() == before


def test_an_operation_without_such_a_form_names_the_remedy(gpus):
    says = r"kthvalue CUDA has no deterministic(.|\n)*Try: deterministic=false"
    with pytest.raises(RuntimeError, match=says), computing("cuda", deterministic=True):
        raise RuntimeError("kthvalue CUDA does not have a deterministic implementation, but you set 'torch.use'")
    with pytest.raises(RuntimeError, match=r"^CUDA out of memory$"), computing("cuda", deterministic=True):
        raise RuntimeError("CUDA out of memory")


def test_the_setting_is_in_keys_where_it_changes_numbers(gpus, tmp_path):
    def identity(*words):
        request = compose([*TINY, f"outputs={tmp_path}", *words]).request
        made = assemble(request)
        return identify(request, made, {}).run_id, settings(made)["setting"]

    ways = {(device, on): identity(f"device={device}", f"deterministic={on}", "precision=fp32")
            for device in ("cpu", "cuda") for on in ("true", "false")}  # fmt: skip
    assert ways["cpu", "true"] == ways["cpu", "false"]
    assert ways["cpu", "true"][0] == ways["cuda", "true"][0]  # a device's name is no part of a key
    assert len({run_id for run_id, _ in ways.values()}) == 2
    assert len({setting for _, setting in ways.values()}) == 1  # they repeat each other in a report


def test_a_run_computes_as_its_device_and_setting_say(tmp_path, monkeypatch):
    asked = []
    whole = computing

    @contextlib.contextmanager
    def recorded(device, *, deterministic):
        asked.append((device, deterministic))
        with whole(device, deterministic=deterministic):
            yield

    monkeypatch.setattr(determinism, "computing", recorded)
    outcome = execute(prepare([*TINY, "method=none", "train.epochs=1", f"outputs={tmp_path}", "device=cpu"]))
    assert outcome.status == "done" and set(asked) == {("cpu", True)}


def test_a_gpu_is_named_only_where_it_is_there(gpus, monkeypatch):
    assert [resolved(word) for word in ("cuda", "cuda:1", "cpu", "auto")] == ["cuda", "cuda:1", "cpu", "cuda"]
    with pytest.raises(
        UserError, match=r"device=cuda:2 does not exist: PyTorch finds cuda:0, cuda:1.\nTry: device=cuda:1"
    ):
        resolved("cuda:2")
    assert name_of("cuda:1") == "GPU of cuda:1" and name_of("cpu") == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolved("auto") == "cpu"
    with pytest.raises(UserError, match="Try: device=cpu"):
        resolved("cuda:1")


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1"])
def test_bf16_is_asked_of_the_gpu_of_the_run(gpus, tmp_path, device):
    request = compose([*TINY, f"outputs={tmp_path}", f"device={device}"]).request
    assert assemble(request).experiment.precision.bf16 is (device == "cuda:1")


def test_peak_memory_is_that_of_the_run_s_device(gpus, monkeypatch, tmp_path):
    peaks, reset = {"cuda:0": 7 * 2**20, "cuda:1": 3 * 2**20}, []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: peaks[device or "cuda:0"])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device=None: None)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: reset.append(device or "cuda:0"))

    def measured(device):
        workshop = Workshop(Cache(tmp_path / device))
        computed(Sum(1.0), workshop, device)
        return workshop.artefact(Sum(1.0)).facts["peak_mib"]

    assert measured("cuda:1") == 3.0 and reset == ["cuda:1"]
    assert measured("cpu") > 20  # the process, whatever a GPU holds of other runs


def test_weights_batches_and_outputs_lie_on_the_gpu_that_was_asked_for():
    """In tensors that have a device and no memory."""
    dataset, spec = synthetic(), TinyCNN(checkpoint=None)
    data = dataset.load()
    built = spec.build(data.info)
    with FakeTensorMode(allow_non_fake_inputs=True):
        task = ImageTask(data, dataset, Precision("cuda:1", bf16=False), spec.parts().head, 64)
        model = task.prepare(built)
        batch = task.batch(data.train[:8], torch.Generator())
        out = task.predict(model, batch)
    tensors = [*model.parameters(), *model.buffers(), batch.inputs, batch.labels, batch.index, out.logits]
    assert {str(tensor.device) for tensor in tensors} == {"cuda:1"}


def test_seeding_keeps_the_generators_of_all_gpus_and_does_not_warn(monkeypatch, recwarn):
    kept = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    @contextlib.contextmanager
    def fork(devices=None):
        kept.append(None if devices is None else list(devices))
        yield

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    with seeded("a"):
        pass
    assert kept == [[0, 1, 2, 3]] and not recwarn.list
