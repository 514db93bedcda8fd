"""Files of weights from anyone: safetensors, or what torch.save writes, read without running code.

A pickle is judged before torch sees it: its instructions are listed, not done, and only those with which torch.save
writes tensors, texts and numbers, in dicts and lists, pass. Of a zip file torch then maps the tensors, which must not
be compressed, so that memory is needed only for those that are used.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from unlearnbench.errors import UserError
from unlearnbench.files.intake import MIB

ENTRIES, PICKLE, INSTRUCTIONS = 20_000, 16 * MIB, 500_000
"""Most files in a zip, most bytes of a pickle, most instructions in it: some thirty a tensor."""
REMEDY = (
    "It must be safetensors, or a state dict saved by torch.save; pickled classes are refused, they run code.\n"
    "Try: torch.save(model.state_dict(), 'weights.pt')"
)
NOT_OURS = "its list of contents is not as torch.save writes it"
STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ENTRY_BYTES = dict(zip(STORAGES, (4, 8, 2, 2, 8, 4, 2, 1, 1, 1), strict=True))
NAMES = {
    "collections OrderedDict", "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in STORAGES),
}  # fmt: skip
"""What a pickle may name: that of which torch makes tensors."""
PLAIN = {
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE",
    "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINPUT",
    "LONG_BINPUT", "BINGET", "LONG_BINGET",
}  # fmt: skip
"""The instructions of protocol 2 that make data."""
UNPICKLING = (pickle.UnpicklingError, TypeError, KeyError, IndexError, AttributeError)
"""What a pickle of the wrong shape raises."""
MAGIC = torch.serialization.MAGIC_NUMBER
"""What a file of torch.save before 1.6 begins with."""
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def safetensors(file: Path, what: str, remedy: str = REMEDY) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors, mapped; raise UserError where it cannot be read. `what` names it."""
    try:
        return load_file(file)
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, SafetensorError) as error:
        raise UserError(f"{what} cannot be read as safetensors: {_first(error)}.\n{remedy}") from error


def pickled(file: Path, what: str) -> Any:
    """Return what torch.save wrote; raise UserError where it is anything but tensors, texts and numbers."""
    with file.open("rb") as opened:
        start = opened.read(4)
        opened.seek(0)
        zipped = start == b"PK\3\4"
        if zipped:
            _judge_zip(opened, what)
        elif start[:2] == b"\x80\x02":
            _judge_pickles(opened.read(PICKLE), 5, what)  # as torch.save wrote before 1.6: the tensors stand behind
        else:
            _refuse(what, "it is neither safetensors nor a file of torch.save since 0.4")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # torch raises whatever a crafted file leads it to, and advises to trust the file
        reason = f"torch finds it damaged ({type(error).__name__})"
    _refuse(what, reason)


def judge(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Raise UserError where a tensor cannot take the place of the model's own: of another kind, or not finite."""
    for name, tensor in tensors.items():
        if name not in own:
            continue
        dense = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not dense or tensor.dtype not in (FLOATS if own[name].is_floating_point() else INTEGERS):
            _refuse(what, f"{name} is {tensor.dtype}, {tensor.layout}; the model has {own[name].dtype} there")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            _refuse(what, f"{name} holds values that are not finite (NaN or infinity)")


def _judge_zip(opened: BinaryIO, what: str) -> None:
    """Raise UserError where a zip is not as torch.save writes it: Python and torch might read it differently."""
    size = opened.seek(0, io.SEEK_END)
    try:
        end: Any = zipfile._EndRecData(opened)  # type: ignore[attr-defined]
        if not end:
            _refuse(what, "it is cut short")
        entries, directory, comment = end[4], end[5], end[7]
        if entries > ENTRIES or directory > ENTRIES * 300 or comment:
            _refuse(what, NOT_OURS)
        with zipfile.ZipFile(opened) as archive:
            content = archive.read(_judge_members(archive, size, what))
            _judge_pickles(content, 1, what)
            _judge_storages(content, archive, what)
    except (
        zipfile.BadZipFile,
        OSError,
        ValueError,
        RuntimeError,
        EOFError,
        OverflowError,
        struct.error,
        *UNPICKLING,
    ) as error:
        _refuse(what, f"it is damaged ({_first(error)})")


def _judge_members(archive: zipfile.ZipFile, size: int, what: str) -> str:
    """Return the name of the pickle in a zip; raise UserError for members that torch.save does not write."""
    members = archive.infolist()
    names = [info.filename for info in members]
    top = names[0].partition("/")[0] if names else ""
    if any(info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size for info in members):
        _refuse(what, "it is compressed, which torch.save never does")
    if sum(info.file_size for info in members) > size:
        _refuse(what, "its contents claim to be larger than it is")
    if f"{top}/constants.pkl" in names:
        _refuse(what, "it is a TorchScript archive, which holds code")
    strange = len({name.lower() for name in names}) < len(names) or any(
        not name.startswith(f"{top}/") for name in names
    )
    if strange or f"{top}/data.pkl" not in names or members[0].header_offset:
        _refuse(what, NOT_OURS)
    if archive.getinfo(f"{top}/data.pkl").file_size > PICKLE:
        _refuse(what, "its list of tensors is too long")
    return f"{top}/data.pkl"


def _judge_storages(content: bytes, archive: zipfile.ZipFile, what: str) -> None:
    """Raise UserError where the tensors' bytes are fewer or more than the pickle says, or not what was written."""
    top = archive.namelist()[0].partition("/")[0]
    stored = {info.filename: info.file_size for info in archive.infolist()}
    for key, size in _Storages.of(content).items():
        if stored.get(f"{top}/data/{key}") != size:
            _refuse(what, f"its tensor {key} has {stored.get(f'{top}/data/{key}')} bytes, and {size} are named")
    damaged = archive.testzip()
    if damaged is not None:
        _refuse(what, f"{damaged} is not what was written (its checksum differs)")


class _Storages(pickle.Unpickler):
    """Reads of a judged pickle how many bytes each tensor's storage has, and makes no tensor."""

    sizes: dict[str, int]

    @classmethod
    def of(cls, content: bytes) -> dict[str, int]:
        """Return bytes by the storages' names."""
        reader = cls(io.BytesIO(content))
        reader.sizes = {}
        reader.load()
        return reader.sizes

    def find_class(self, module: str, name: str) -> Any:
        """Return the size of a storage's entry, a plain dict, or what takes a tensor's place."""
        if name.endswith("Storage"):
            return ENTRY_BYTES[name.removesuffix("Storage")]
        return OrderedDict if name == "OrderedDict" else _nothing

    def persistent_load(self, named: Any) -> None:
        """Note a storage: ("storage", its kind, name, device, entries)."""
        _, size, key, _, entries = named
        self.sizes[str(key)] = int(size) * int(entries)


def _nothing(*_what: object) -> None:
    return None


def _judge_pickles(content: bytes, count: int, what: str) -> None:
    """Raise UserError for an instruction or a name that writes anything but tensors and plain values."""
    stream, number = io.BytesIO(content), 0
    argument: Any
    try:
        for _ in range(count):
            for code, argument, _place in pickletools.genops(stream):
                number += 1
                if number > INSTRUCTIONS:
                    _refuse(what, "its list of tensors is too long")
                if code.name == "GLOBAL" and argument not in NAMES:
                    _refuse(what, f"it holds {str(argument)[:80].replace(' ', '.')}, which is no tensor")
                huge = code.name == "LONG1" and abs(int(argument or 0)) >= 2**63 and argument != MAGIC
                if code.name not in PLAIN or huge:
                    _refuse(what, f"it holds the instruction {code.name}, with which torch.save writes no weights")
    except (ValueError, OverflowError, struct.error) as error:
        _refuse(what, f"its pickle is damaged ({_first(error)})")


def _refuse(what: str, reason: str) -> NoReturn:
    raise UserError(f"{what} cannot be read as weights: {reason}.\n{REMEDY}") from None


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
