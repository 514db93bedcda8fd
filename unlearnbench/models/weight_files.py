"""Read weight files from anyone, safetensors or torch.save's, without running code.

We check a pickle before torch sees it. We list its instructions without running them, and allow only those that
torch.save uses for tensors, texts and numbers in dicts and lists, and for an `argparse.Namespace`, in which trainers
such as timm's keep their arguments: making one runs no code, and it holds what the pickle gives it. torch then maps the
tensors of a zip file, which must not be compressed, so only those that are used take memory.
"""

from __future__ import annotations

import argparse
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
"""The most files in a zip, bytes of a pickle, and instructions in it (about thirty per tensor)."""
REMEDY = (
    "Expected safetensors, or a state dict saved by torch.save; pickled classes can run code and are refused.\n"
    "Try: torch.save(model.state_dict(), 'weights.pt')"
)
NOT_OURS = "torch.save does not write such a list of contents"
STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ENTRY_BYTES = dict(zip(STORAGES, (4, 8, 2, 2, 8, 4, 2, 1, 1, 1), strict=True))
NAMES = {
    "collections OrderedDict", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    *(f"torch {kind}Storage" for kind in STORAGES),
    "torch Size", "torch device", "__builtin__ set",
    *(f"torch {kind}" for kind in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
    "argparse Namespace",
}  # fmt: skip
"""The names a pickle may use: those that torch builds tensors and plain values from, and one more."""
HELD = "argparse Namespace"
"""The one class beyond torch's own list that may be made, by NEWOBJ."""
PLAIN = {
    "PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "EMPTY_DICT", "SETITEM", "SETITEMS",
    "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE",
    "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "BINPUT",
    "LONG_BINPUT", "BINGET", "LONG_BINGET", "NEWOBJ",
}  # fmt: skip
"""The instructions of protocol 2 that build plain data."""
UNPICKLING = (pickle.UnpicklingError, TypeError, KeyError, IndexError, AttributeError)
"""What a malformed pickle raises."""
MAGIC = torch.serialization.MAGIC_NUMBER
"""How a file of torch.save before 1.6 begins."""
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


def safetensors(file: Path, what: str, remedy: str = REMEDY) -> dict[str, Tensor]:
    """Return a .safetensors file's tensors, memory-mapped.

    Raises UserError, which calls it `what`, if unreadable.
    """
    try:
        return load_file(file)
    except (OSError, ValueError, RuntimeError, KeyError, MemoryError, SafetensorError) as error:
        raise UserError(f"{what} cannot be read as safetensors: {_first(error)}.\n{remedy}") from error


def pickled(file: Path, what: str) -> Any:
    """Return what torch.save wrote.

    Raises UserError if it holds anything but tensors, texts and numbers.
    """
    with file.open("rb") as opened:
        start = opened.read(4)
        opened.seek(0)
        zipped = start == b"PK\3\4"
        if zipped:
            _judge_zip(opened, what)
        elif start[:2] == b"\x80\x02":
            _judge_pickles(opened.read(PICKLE), 5, what)  # the format before torch 1.6: the tensors follow
        else:
            _refuse(what, "it is neither safetensors nor a torch.save file (0.4 or later)")
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(str(file), map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # a crafted file can raise anything, and torch's message advises to trust it
        reason = f"torch finds it damaged ({type(error).__name__})"
    _refuse(what, reason)


def judge(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], what: str) -> None:
    """Raise UserError if a tensor cannot replace the model's own: wrong type, or not finite."""
    for name, tensor in tensors.items():
        if name not in own:
            continue
        dense = tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"
        if not dense or tensor.dtype not in (FLOATS if own[name].is_floating_point() else INTEGERS):
            _refuse(what, f"{name} is {tensor.dtype}, {tensor.layout}; the model has {own[name].dtype} there")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            _refuse(what, f"{name} holds values that are not finite (NaN or infinity)")


def _judge_zip(opened: BinaryIO, what: str) -> None:
    """Raise UserError for a zip that torch.save would not write.

    Python and torch might read it differently.
    """
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
    """Return the name of the pickle in a zip.

    Raises UserError for members that torch.save never writes.
    """
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
    """Raise UserError if a tensor's size differs from what the pickle says, or its checksum is wrong."""
    top = archive.namelist()[0].partition("/")[0]
    stored = {info.filename: info.file_size for info in archive.infolist()}
    for key, size in _Storages.of(content).items():
        if stored.get(f"{top}/data/{key}") != size:
            _refuse(what, f"its tensor {key} has {stored.get(f'{top}/data/{key}')} bytes, not the {size} it declares")
    damaged = archive.testzip()
    if damaged is not None:
        _refuse(what, f"{damaged} is damaged (its checksum differs)")


class _Storages(pickle.Unpickler):
    """Reads the size of each tensor's storage from a checked pickle, without making tensors."""

    sizes: dict[str, int]

    @classmethod
    def of(cls, content: bytes) -> dict[str, int]:
        """Return the bytes of each storage by name."""
        reader = cls(io.BytesIO(content))
        reader.sizes = {}
        reader.load()
        return reader.sizes

    def find_class(self, module: str, name: str) -> Any:
        """Return the bytes per entry for a storage, a plain dict, or a stand-in for anything else."""
        if name.endswith("Storage"):
            return ENTRY_BYTES[name.removesuffix("Storage")]
        if f"{module} {name}" == HELD:
            return _Held
        return OrderedDict if name == "OrderedDict" else _nothing

    def persistent_load(self, named: Any) -> None:
        """Note a storage: ("storage", its kind, name, device, entries)."""
        _, size, key, _, entries = named
        self.sizes[str(key)] = int(size) * int(entries)


class _Held:
    """A stand-in for a Namespace, which holds nothing."""

    __slots__ = ()

    def __setstate__(self, _state: object) -> None:
        """Drop the state."""


def _nothing(*_what: object) -> None:
    return None


def _judge_pickles(content: bytes, count: int, what: str) -> None:
    """Raise UserError for an instruction or name that is not needed for tensors and plain values."""
    stream, number = io.BytesIO(content), 0
    argument: Any
    making = _Making()
    try:
        for _ in range(count):
            for code, argument, _place in pickletools.genops(stream):
                number += 1
                if number > INSTRUCTIONS:
                    _refuse(what, "its list of tensors is too long")
                if code.name == "GLOBAL" and argument not in NAMES:
                    _refuse(what, f"it holds {str(argument)[:80].replace(' ', '.')}, which is not a tensor")
                if not making.allows(code.name, argument):
                    _refuse(what, "it makes an object of a class other than argparse.Namespace")
                huge = code.name == "LONG1" and abs(int(argument or 0)) >= 2**63 and argument != MAGIC
                if code.name not in PLAIN or huge:
                    _refuse(what, f"it holds the instruction {code.name}, which torch.save never writes for weights")
    except (ValueError, OverflowError, struct.error) as error:
        _refuse(what, f"its pickle is damaged ({_first(error)})")


class _Making:
    """Follows a pickle's instructions, so that NEWOBJ makes nothing but an empty `HELD`."""

    def __init__(self) -> None:
        self.last: list[str] = []
        self.kept: set[object] = set()

    def allows(self, code: str, argument: object) -> bool:
        """Take the next instruction; return False for a NEWOBJ of something else."""
        if code in ("BINPUT", "LONG_BINPUT"):
            self.kept.discard(argument)
            if self.last[-1:] == ["class"]:
                self.kept.add(argument)
            return True
        named = code == "GLOBAL" and argument == HELD
        again = code in ("BINGET", "LONG_BINGET") and argument in self.kept
        allowed = code != "NEWOBJ" or self.last == ["class", "EMPTY_TUPLE"]
        self.last = [*self.last[-1:], "class" if named or again else code]
        return allowed


def _refuse(what: str, reason: str) -> NoReturn:
    raise UserError(f"{what} cannot be read as weights: {reason}.\n{REMEDY}") from None


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
