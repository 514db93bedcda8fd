"""Compute on CUDA on the run's own device, without TF32, and deterministically.

docs/reproducibility.md says what is guaranteed where.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from unlearnbench.errors import UserError
from unlearnbench.machine.devices import on_cuda

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED = ":4096:8"
"""A workspace that makes cuBLAS deterministic; torch reads it once, at the first matrix product."""


@contextmanager
def computing(device: str, *, deterministic: bool) -> Iterator[None]:
    """Compute on `device` without TF32 inside the block; restore torch's state after it.

    With `deterministic`, equal runs give equal bits. Changes nothing on a CPU, where they do so anyway.
    Raises UserError if cuBLAS has already started without its workspace.
    """
    if not on_cuda(device):
        yield
        return
    with torch.cuda.device(device), _float32(), _fixed(device) if deterministic else nullcontext():
        yield


@contextmanager
def _fixed(device: str) -> Iterator[None]:
    """Make torch use only deterministic algorithms inside the block; fail where it has none.

    A warning is not enough: with `warn_only`, memory-efficient attention is not deterministic.
    """
    cudnn = torch.backends.cudnn
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    convolutions = cudnn.deterministic, cudnn.benchmark
    workspace = os.environ.get(WORKSPACE)
    os.environ.setdefault(WORKSPACE, FIXED)
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        _check_products(device)
        yield
    except RuntimeError as error:
        if "does not have a deterministic implementation" not in str(error):
            raise
        operation = str(error).partition(" does not have")[0]
        raise RuntimeError(f"{operation} has no deterministic implementation.\nTry: deterministic=false") from error
    finally:
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
        cudnn.deterministic, cudnn.benchmark = convolutions
        if workspace is None:
            os.environ.pop(WORKSPACE, None)


def _check_products(device: str) -> None:
    """Raise UserError if torch refuses a matrix product because cuBLAS started without its workspace."""
    try:
        torch.ones(2, 2, device=device) @ torch.ones(2, 2, device=device)
    except RuntimeError as error:
        if WORKSPACE not in str(error):
            raise
        raise UserError(
            f"deterministic=true needs {WORKSPACE}={FIXED} in the environment before the first use of CUDA.\n"
            f"Try: export {WORKSPACE}={FIXED} and run it again, or deterministic=false"
        ) from error


@contextmanager
def _float32() -> Iterator[None]:
    """Switch TF32 off inside the block, with torch's old settings and, if present, the new ones.

    We set both: parts of torch still read the old ones, and complain if the two differ.
    """
    newer, older = _newer_flags(), _older_flags()
    before = [flag.fp32_precision for flag in newer]
    try:
        _set_older(False, "highest")
        for flag in newer:
            flag.fp32_precision = "ieee"
        yield
    finally:
        if older is not None:
            _set_older(*older)
        for flag, value in zip(newer, before, strict=True):
            flag.fp32_precision = value


def _newer_flags() -> list[Any]:
    """Return the objects that hold the precision of products and convolutions since torch 2.9."""
    backends: Any = torch.backends
    if not hasattr(backends.cudnn, "conv"):
        return []
    return [backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul]


def _older_flags() -> tuple[bool, str] | None:
    """Return torch's old settings of TF32; None if only the new ones were used."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _set_older(convolutions: bool, products: str) -> None:
    with warnings.catch_warnings(action="ignore"):  # some versions of torch warn that the old settings are deprecated
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
