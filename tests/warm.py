"""The command line in a fork of a warm process: the same code as `python -m unlearnbench`, started sooner.

A fresh Python takes seconds to import torch, scikit-learn and their like, and the suite starts hundreds. Here one
process imports them once, and this checkout's modules, whose sources it reads for keys, and composes one line. Each
command is a fork of it with its own working folder, environment and files. Tests of the start, of imports, of signals
and of the wheel start a Python of their own.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

HEAVY = (
    "torch", "torch._dynamo", "torchvision", "sklearn.svm", "sklearn.linear_model", "sklearn.model_selection", "pandas",
    "matplotlib.figure", "hydra", "transformers",
)  # fmt: skip


ROOT = Path(__file__).parents[1]
USUAL = tuple(f"unlearnbench.{name}" for name in ("experiment", "evaluations.standard", "models.llama", "tasks.text"))
"""They import most of what a run's key is made of."""


class Warm:
    """A process with the imports done, and commands run in its forks."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        atexit.register(self.process.terminate)

    def run(self, words: Sequence[str], folder: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run `unlearnbench WORDS` in a folder; return its code and what it said."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with tempfile.TemporaryDirectory() as place:
            files = [os.devnull, str(Path(place) / "out"), str(Path(place) / "err")]
            request = {"words": list(words), "folder": str(folder), "env": dict(env), "files": files}
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            out, err = (Path(file).read_text() for file in files[1:])
        return subprocess.CompletedProcess(list(words), code, out, err)


def get_ready() -> None:
    """Import what is heavy, and all modules of this checkout; read their sources, of which keys are made."""
    for module in HEAVY:
        importlib.import_module(module)
    files = (file.relative_to(ROOT).with_suffix("") for file in sorted((ROOT / "unlearnbench").rglob("*.py")))
    for file in files:
        if file.name != "__main__":
            importlib.import_module(".".join(file.parts).removesuffix(".__init__"))
    importlib.import_module("unlearnbench.graph.sources").sources(USUAL)
    compose = importlib.import_module("unlearnbench.request.compose").compose
    compose(["experiment=smoke", "train.epochs=2"])  # the first one fills the caches of Hydra's grammar


def serve() -> None:
    """Get ready, then fork for each line of the input and answer with the command's exit code."""
    get_ready()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(command(**json.loads(line)))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def command(words: list[str], folder: str, env: dict[str, str], files: list[str]) -> int:
    """Be the command: its folder, environment, files and words, then the module as `python -m` runs it."""
    for number, (file, flags) in enumerate(zip(files, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT] * 2), strict=True)):
        os.dup2(os.open(file, flags), number)
    sys.stdin = open(0)  # noqa: SIM115 - the text layer above the new file
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["unlearnbench", *words]
    sys.path[:0] = [folder, *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    code: object = 0
    try:
        runpy.run_module("unlearnbench", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code if isinstance(code, int) else 0 if code is None else 1


if __name__ == "__main__":
    serve()
