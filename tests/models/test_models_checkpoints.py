"""Crafted files of weights: no code runs, none takes more memory than its model, and each ends with one message."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from limited import watched
from safetensors.torch import save, save_file, save_model

from unlearnbench.errors import UserError
from unlearnbench.models import checkpoint
from unlearnbench.models.tiny import TinyCNN
from worlds import TINY, image_info

SPEC, INFO = TinyCNN(checkpoint=None), image_info(8, 1, 4)


class Code:
    def __reduce__(self):
        return (print, ("code ran",))


def state():
    return SPEC.build(INFO).state_dict()


def saved(value, legacy=False):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy)
    return file.getvalue()


def rezipped(content, method=zipfile.ZIP_STORED, front=b"", comment=b"", **changes):
    """Write a zip of torch.save anew, with other members, pressed, or with something before or behind it."""
    target = io.BytesIO(front)
    target.seek(0, io.SEEK_END)
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "a", method) as archive:
        for name in source.namelist():
            short = name.partition("/")[2]
            archive.writestr(name, changes.pop(short.replace(".", "_"), source.read(name)))
        for name, extra in changes.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", extra)
        archive.comment = comment
    return target.getvalue()


def with_pickle(code):
    return rezipped(saved(state()), data_pkl=code)


def called(name, argument):
    """Return a pickle that calls a function of a module with one number."""
    return b"\x80\x02c" + name.replace(".", "\n", 1).encode() + b"\n(" + pickle.dumps(argument, 2)[2:-1] + b"tR."


def deep(count):
    return b"\x80\x02" + b"}X\x01\x00\x00\x00a" * count + b"}" + b"s" * count + b"."


def changed(**changes):
    return saved({**state(), **{name.replace("__", "."): value for name, value in changes.items()}})


def claiming(count):
    """Return a checkpoint whose pickle claims a tensor of that many elements."""
    content = saved({"conv1.weight": torch.zeros(7_654_321)[:7_654_321].clone()})
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        code = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    number = b"J" + struct.pack("<i", 7_654_321)
    assert number in code
    return with_pickle(code.replace(number, b"\x8a\x06" + count.to_bytes(6, "little")))


def tarred():
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"\x80\x02."))
    return target.getvalue()


def header(text):
    return struct.pack("<Q", len(text)) + text


def described(kind, shape, end=0):
    return header(b'{"a":{"dtype":"%s","shape":[%s],"data_offsets":[0,%d]}}' % (kind, shape, end))


BIG = b"\0" * 200_000_000
FILES = {
    "code": lambda: saved({"state_dict": Code()}),
    "code in the old format": lambda: saved({"state_dict": Code()}, legacy=True),
    "code among timm's arguments": lambda: saved({"state_dict": state(), "args": argparse.Namespace(a=Code())}),
    "an object of a class of torch": lambda: with_pickle(b"\x80\x02ctorch\nSize\n)\x81."),
    "an object of no class": lambda: with_pickle(b"\x80\x02K\x05)\x81."),
    "an object of a class in the place of another": lambda: with_pickle(
        b"\x80\x02cargparse\nNamespace\nq\x01ctorch\nSize\nq\x01h\x01)\x81."
    ),
    "an object with arguments": lambda: with_pickle(b"\x80\x02cargparse\nNamespace\nK\x01\x85\x81."),
    "arguments alone": lambda: saved(argparse.Namespace(a=1)),
    "a state that is a function": lambda: with_pickle(
        b"\x80\x02cargparse\nNamespace\n)\x81}X\x0c\x00\x00\x00__setstate__ccollections\nOrderedDict\nsbK\x05b."
    ),
    "a number of numpy": lambda: saved({"state_dict": state(), "best": np.float64(0.9)}),
    "bytes without end": lambda: with_pickle(called("builtins.bytearray", 10**11)),
    "os.system": lambda: with_pickle(called("os.system", "id")),
    "an array": lambda: saved({"a": np.zeros(3)}),
    "a pickle of protocol 4": lambda: with_pickle(pickle.dumps({"a": 1}, 4)),
    "a plain pickle": lambda: pickle.dumps({"a": 1}, 2),
    "a plain pickle of protocol 4": lambda: pickle.dumps({"a": 1}, 4),
    "a call of a text": lambda: with_pickle(b"\x80\x02X\x01\x00\x00\x00a)R."),
    "a pop of nothing": lambda: with_pickle(b"\x80\x02s."),
    "an unknown memo": lambda: with_pickle(b"\x80\x02h\x05."),
    "no end": lambda: with_pickle(b"\x80\x02}"),
    "an empty pickle": lambda: with_pickle(b""),
    "a state for a tensor": lambda: with_pickle(b"\x80\x02ccollections\nOrderedDict\n)RK\x05b."),
    "a strange place": lambda: with_pickle(b"\x80\x02K\x05Q."),
    "half a place": lambda: with_pickle(b"\x80\x02X\x07\x00\x00\x00storage\x85Q."),
    "a huge number": lambda: with_pickle(b"\x80\x02\x8a\xff" + b"\x7f" * 255 + b"."),
    "dicts in dicts": lambda: with_pickle(deep(100_000)),
    "instructions": lambda: with_pickle(b"\x80\x02" + b"N0" * 300_000 + b"N."),
    "marks": lambda: with_pickle(b"\x80\x02" + b"(" * 600_000 + b"N."),
    "10^12 elements": lambda: claiming(10**12),
    "a zip bomb": lambda: rezipped(saved(state()), zipfile.ZIP_DEFLATED, data_bomb=BIG),
    "a pickle bomb": lambda: rezipped(saved(state()), zipfile.ZIP_DEFLATED, data_pkl=BIG),
    "pressed": lambda: rezipped(saved(state()), zipfile.ZIP_DEFLATED),
    "something in front": lambda: b"PK\3\4" + rezipped(saved(state())),
    "a comment": lambda: rezipped(saved(state()), comment=b"x" * 1000),
    "two zips": lambda: saved(state()) + saved({"a": 1}),
    "TorchScript": lambda: rezipped(saved(state()), constants_pkl=b"\x80\x02)."),
    "no pickle": lambda: rezipped(saved(state())).replace(b"data.pkl", b"dato.pkl"),
    "half a file": lambda: saved(state())[:2000],
    "all but the end": lambda: saved(state())[:-1],
    "half a file of the old format": lambda: saved(state(), legacy=True)[:3000],
    "all but the end of the old format": lambda: saved(state(), legacy=True)[:-1],
    "a tar": tarred,
    "nothing": lambda: b"",
    "a number": lambda: saved(3),
    "a tensor": lambda: saved(torch.zeros(3)),
    "a list": lambda: saved([torch.zeros(3)]),
    "names that are numbers": lambda: saved({1: torch.zeros(3), "a": torch.zeros(3)}),
    "a name with two prefixes": lambda: saved({**state(), "module.conv1.weight": state()["conv1.weight"]}),
    "texts": lambda: saved({name: "x" for name in state()}),
    "complex": lambda: changed(linear__bias=torch.zeros(4, dtype=torch.complex64)),
    "sparse": lambda: changed(linear__weight=state()["linear.weight"].to_sparse()),
    "quantised": lambda: changed(linear__bias=torch.quantize_per_tensor(torch.zeros(4), 0.1, 0, torch.qint8)),
    "on no device": lambda: changed(linear__bias=torch.zeros(4, device="meta")),
    "float8": lambda: changed(linear__bias=torch.zeros(4).to(torch.float8_e4m3fn)),
    "whole numbers": lambda: changed(linear__bias=torch.zeros(4, dtype=torch.int64)),
    "NaN": lambda: changed(linear__bias=torch.full((4,), float("nan"))),
    "infinity": lambda: changed(linear__bias=torch.full((4,), float("inf"))),
}  # fmt: skip
SAFE = {
    "nothing": lambda: b"",
    "a header of 10^18 bytes": lambda: struct.pack("<Q", 10**18) + b"{}",
    "no JSON": lambda: header(b"{" * 1000),
    "deep JSON": lambda: header(b'{"a":' + b"[" * 100_000),
    "10^12 elements": lambda: described(b"F32", b"1000000000000", 4 * 10**12),
    "a shape beyond 64 bits": lambda: described(b"F32", b"4294967296,4294967296"),
    "an unknown kind": lambda: described(b"X9", b"0"),
    "half a file": lambda: save(state())[:-50],
    "more than a file": lambda: save(state()) + b"more",
    "NaN": lambda: save({**state(), "linear.bias": torch.full((4,), float("nan"))}),
    "whole numbers": lambda: save({**state(), "linear.bias": torch.zeros(4, dtype=torch.int64)}),
}  # fmt: skip
ALL = [(f"{name}, .pt", ".pt", make) for name, make in FILES.items()]
ALL += [(f"{name}, .safetensors", ".safetensors", make) for name, make in SAFE.items()]


@pytest.mark.parametrize(("suffix", "make"), [case[1:] for case in ALL], ids=[case[0] for case in ALL])
def test_a_crafted_file_ends_with_one_message(suffix, make, tmp_path, capfd):
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(make())
    with pytest.raises(UserError) as caught:
        checkpoint.load(SPEC.build(INFO), file)
    said = str(caught.value)
    assert said.startswith(f"model.checkpoint={file}") and "Try: " in said and len(said) < 1000
    assert "weights_only" not in said and "trust" not in said
    assert "".join(capfd.readouterr()) == ""


ARGUMENTS = argparse.Namespace(
    lr=0.1, betas=(0.9, 0.999), opt=None, amp=True, device=torch.device("cpu"), skipped={"head", "stem"}, name="é",
    inner=argparse.Namespace(a=1),
)  # fmt: skip
"""What timm and many other trainers keep beside the weights."""


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "value",
    [
        state(),
        OrderedDict(state()),
        {"state_dict": state(), "epoch": 3, "best": 0.5, "name": "é", "done": True, "history": [(1, 2.0), None]},
        {"model": {f"module.{name}": tensor for name, tensor in state().items()}},
        {name: torch.nn.Parameter(tensor) for name, tensor in state().items() if tensor.is_floating_point()},
        {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in state().items()},
        {"state_dict": state(), "args": ARGUMENTS, "arch": "tiny", "metric": 93.2, "args_text": [ARGUMENTS, ARGUMENTS]},
        {"model": state(), "size": torch.Size([1, 8, 8]), "args": ARGUMENTS, "scaler": {}, "lr_scheduler": None},
        {
            "state_dict": {f"model.{name}": tensor for name, tensor in state().items()},
            "epoch": 2,
            "global_step": 40,
            "pytorch-lightning_version": "2.5.0",
            "hyper_parameters": {"lr": 0.1, "dtype": torch.float16},
            "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 2}}}},
            "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
            "optimizer_states": [],
            "lr_schedulers": [],
        },
        {"state_dict_ema": state(), "state_dict": {"another": torch.zeros(2)}},
    ],
)
def test_what_torch_saves_is_read(value, legacy, tmp_path):
    (tmp_path / "weights.pt").write_bytes(saved(value, legacy))
    checkpoint.load(SPEC.build(INFO), tmp_path / "weights.pt")


class Old:
    """A tensor as torch before 0.4 saved it."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        shape = (0, tuple(self.tensor.size()), self.tensor.stride())
        return torch._utils._rebuild_tensor, (self.tensor._typed_storage(), *shape)


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_an_old_torch_are_read(legacy, tmp_path):
    old = {f"module.{name}": Old(tensor) for name, tensor in state().items() if tensor.is_floating_point()}
    (tmp_path / "weights.th").write_bytes(saved({"state_dict": old, "best_prec1": 91.7}, legacy))
    checkpoint.load(SPEC.build(INFO), tmp_path / "weights.th")


def test_an_optimizer_beside_the_model_is_read(tmp_path):
    model = SPEC.build(INFO)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 1, 8, 8)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "weights.pt")
    checkpoint.load(SPEC.build(INFO), tmp_path / "weights.pt")


def test_views_of_one_memory_are_read(tmp_path):
    all_ = torch.arange(sum(tensor.numel() for tensor in state().values()), dtype=torch.float32)
    parts = dict(zip(state(), all_.split([tensor.numel() for tensor in state().values()]), strict=True))
    shaped = {name: part.view(state()[name].shape) for name, part in parts.items()}
    shaped = {name: part if state()[name].is_floating_point() else state()[name] for name, part in shaped.items()}
    torch.save(shaped, tmp_path / "weights.pt")
    model = SPEC.build(INFO)
    checkpoint.load(model, tmp_path / "weights.pt")
    assert all(torch.equal(tensor, shaped[name]) for name, tensor in model.state_dict().items())


def test_a_folder_and_a_pipe_are_no_weights(tmp_path):
    (tmp_path / "folder.pt").mkdir()
    os.mkfifo(tmp_path / "pipe.pt")
    for name, what in (("folder.pt", "is a folder"), ("pipe.pt", "is a pipe")):
        with pytest.raises(UserError, match=what):
            checkpoint.load(SPEC.build(INFO), tmp_path / name)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_far_larger_than_the_model_is_not_opened(suffix, tmp_path):
    with (tmp_path / f"weights{suffix}").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UserError, match="at most 64"):
        checkpoint.load(SPEC.build(INFO), tmp_path / f"weights{suffix}")


@pytest.mark.slow
def test_bombs_need_no_memory(tmp_path):
    """A gigabyte in a megabyte, and a pickle that asks for 100 GB: measured against a file that is none."""
    (tmp_path / "none.pt").write_bytes(b"none")
    plain = watched("run", *TINY, "model.checkpoint=none.pt", folder=tmp_path)
    bombs = {
        "zip": rezipped(saved(state()), zipfile.ZIP_DEFLATED, data_bomb=BIG * 5),
        "pickle": FILES["bytes without end"](),
    }
    for name, content in bombs.items():
        (tmp_path / f"{name}.pt").write_bytes(content)
        done = watched("run", *TINY, f"model.checkpoint={name}.pt", folder=tmp_path)
        assert done.code == plain.code == 2 and "cannot be read as weights" in done.said
        assert done.said.count("\n") < 6 and "Traceback" not in done.said
        assert done.peak_mib < plain.peak_mib + 100


def test_pretrained_weights_that_are_not_finite_are_refused(tmp_path):
    from unlearnbench.models.resnet import ResNet18

    spec = ResNet18(stem="standard", dropout=0.0, pretrained=False, checkpoint=None, base=None)
    weights = spec.build(image_info(32)).state_dict()
    weights["conv1.weight"][0] = float("nan")
    save_file(weights, tmp_path / "weights.safetensors")
    from dataclasses import replace

    with pytest.raises(UserError, match=r"conv1\.weight holds values that are not finite"):
        replace(spec, pretrained=tmp_path / "weights.safetensors").start(image_info(32))


def test_averaged_weights_are_preferred_as_by_timm_and_said(tmp_path):
    averaged = {name: tensor + 1 for name, tensor in state().items()}
    torch.save({"state_dict": state(), "state_dict_ema": averaged}, tmp_path / "weights.pt")
    model = SPEC.build(INFO)
    assert checkpoint.load(model, tmp_path / "weights.pt")
    assert torch.equal(model.linear.bias, averaged["linear.bias"])
    torch.save({"state_dict": state(), "state_dict_ema": None}, tmp_path / "plain.pt")
    assert not checkpoint.load(SPEC.build(INFO), tmp_path / "plain.pt")


def tied():
    """Return a model with one tensor under two names."""
    model = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    model["b"].weight = model["a"].weight
    return model


def test_tied_weights_are_read_from_either_format(tmp_path):
    model = tied()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    save_model(model, str(tmp_path / "weights.safetensors"))
    for name in ("weights.pt", "weights.safetensors"):
        other = tied()
        checkpoint.load(other, tmp_path / name)
        assert torch.equal(other["a"].weight, model["a"].weight) and other["b"].weight is other["a"].weight


def test_tied_weights_that_differ_or_are_missing_are_refused(tmp_path):
    loose = torch.nn.ModuleDict({"a": torch.nn.Linear(3, 3), "b": torch.nn.Linear(3, 3)})
    torch.save(loose.state_dict(), tmp_path / "loose.pt")
    with pytest.raises(UserError, match=r"a\.weight and b\.weight differ, but they are one tensor"):
        checkpoint.load(tied(), tmp_path / "loose.pt")
    torch.save({name: one for name, one in tied().state_dict().items() if "weight" not in name}, tmp_path / "none.pt")
    with pytest.raises(UserError, match=r"missing     a\.weight"):
        checkpoint.load(tied(), tmp_path / "none.pt")


def test_a_folder_stands_for_its_weights(tmp_path):
    run = tmp_path / "run"
    (run / "model").mkdir(parents=True)
    (run / "result.json").write_text("{}")
    with pytest.raises(UserError, match="folder has no model") as error:
        checkpoint.file_of(run)
    assert "save_model=true" in str(error.value)
    save_file(state(), run / "model" / "model.safetensors")
    assert checkpoint.file_of(run) == checkpoint.file_of(run / "model") == run / "model" / "model.safetensors"
    with pytest.raises(UserError, match=r"this folder has no model\.safetensors"):
        checkpoint.file_of(tmp_path)


def test_a_model_of_other_classes_is_refused_by_their_names(tmp_path):
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text('{"data": {"classes": ["cat", "dog"]}}')
    checkpoint.check_classes(file, ("cat", "dog"))
    with pytest.raises(UserError, match="for the classes cat, dog; this data set has dog, cat"):
        checkpoint.check_classes(file, ("dog", "cat"))
    (tmp_path / "config.json").write_text('{"architecture": "resnet18"}')
    checkpoint.check_classes(file, ("dog", "cat"))
