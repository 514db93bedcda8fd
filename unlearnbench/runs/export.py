"""Give a run's unlearned model back: from its folder or the cache, to a file, a folder or the hub, in one rename."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unlearnbench.errors import UserError
from unlearnbench.files import disk, leftovers, publish, sums
from unlearnbench.request.places import writable
from unlearnbench.results.folder import read_config
from unlearnbench.results.forms import PICKLES, Exported
from unlearnbench.results.result import read_result

HUB = "hf:"
NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
FILES = (".safetensors", *PICKLES)
UNKNOWN = (".bin", ".ckpt", ".gguf", ".h5", ".npz", ".onnx", ".pkl", ".pickle", ".tar", ".zip")
FORMS = "--to FOLDER, --to FILE.safetensors, --to FILE.pt, or --to hf:OWNER/NAME --push"


@dataclass(frozen=True, kw_only=True)
class Wish:
    """Where a model should go: `adapter` alone, `push` to the hub for real, `force` over what is there."""

    to: str
    adapter: bool = False
    push: bool = False
    force: bool = False

    def check(self) -> None:
        """Raise UserError for a target that cannot be, before any model is read."""
        if self.to.startswith(HUB):
            if not NAME.fullmatch(self.to.removeprefix(HUB)):
                raise UserError(f"--to {self.to} is not a name on the hub.\nTry: --to hf:OWNER/NAME")
            return
        if self.push:
            raise UserError(f"--push is for the hub; --to {self.to} is a place on this machine.\nTry: without --push")
        target = Path(self.to)
        if target.suffix in UNKNOWN:
            raise UserError(f"--to {self.to}: models are not written as {target.suffix}.\nTry: {FORMS}")
        if self.adapter and target.suffix in FILES:
            raise UserError(f"--adapter is a folder, and --to {self.to} a file.\nTry: --to FOLDER --adapter")
        if (target.exists() or target.is_symlink()) and not self.force:
            raise UserError(f"{target} is there already.\nTry: another name, or --force to replace it")
        if target.is_dir() and not _is_model(target):
            raise UserError(f"{target} is a folder of something else than a model.\nTry: --to {target / 'NAME'}")
        writable(target.absolute().parent, "--to ")


def export(run: Path, wish: Wish, folders: Sequence[Path] = ()) -> list[str]:
    """Write the unlearned model of a run; return lines that say where, and what to know about it.

    Raises UserError if there is no model, or the target is taken.
    """
    wish.check()
    result = _result(run)
    if wish.to.startswith(HUB) and not wish.push:
        name = wish.to.removeprefix(HUB)
        return [f"nothing was written: --push would upload the model of {run} as {name}, private.\nTry: add --push"]
    with _source(run, result, folders) as source:
        exported = Exported(source, read_config(run))
        if wish.to.startswith(HUB):
            return _pushed(exported, wish)
        target = Path(wish.to)
        if target.suffix in FILES:
            told = _published(lambda part: exported.file(part, target.suffix), target)
        else:
            told = _published(exported.adapter if wish.adapter else exported.folder, target)
    return [f"written: {target}", *told]


def _result(run: Path) -> dict[str, Any]:
    if not (run / "result.json").is_file():
        raise UserError(f"{run} is no run folder: it has no result.json.\nTry: outputs/runs/NAME, of a run")
    if damage := sums.damage(run):
        raise UserError(
            f"{run} is damaged: {sums.told(damage)}.\n"
            f"Try: the run again, which makes it anew from the cache; unlearnbench verify {shlex.quote(str(run))}"
        )
    result = read_result(run)
    if result.get("status") != "done":
        raise UserError(f"{run} has no unlearned model: it is {result.get('status')}.\nTry: a run that is done")
    return result


@contextmanager
def _source(run: Path, result: Mapping[str, Any], folders: Sequence[Path]) -> Iterator[Path]:
    """Yield a folder with the run's model: its own, or one written from the cache for the moment."""
    if (run / "model" / "config.json").is_file():
        yield run / "model"
        return
    from unlearnbench.graph.cache import Cache
    from unlearnbench.graph.stage import in_order
    from unlearnbench.graph.workshop import Workshop
    from unlearnbench.results.folder import discard, new_folder
    from unlearnbench.runs.launch import Outcome, found, prepare
    from unlearnbench.runs.written import write_model
    from unlearnbench.stages.benches import Benches

    outputs = run.resolve().parents[1]
    kept = [str(word) for word in result["overrides"] if not str(word).startswith(("outputs=", "save_model="))]
    again = shlex.join(["unlearnbench", "run", *kept, f"outputs={outputs}", "save_model=true"])
    lost = UserError(f"{run} holds no model, and the cache has no weights of this very run any more.\nTry: {again}")
    if run.resolve().parent.name != "runs" or not (outputs / "cache").is_dir():
        raise lost
    job = found(prepare([*kept, f"outputs={outputs}", "save_model=true"], folders))
    if isinstance(job, Outcome) or job.identity.run_id != result["run_id"]:
        raise lost
    job.draw(Benches())
    cache, unlearned = Cache(outputs / "cache"), job.picture[-1].models.unlearned if job.picture else None
    if unlearned is None or not all(cache.has(stage.key) for stage in in_order([unlearned])):
        raise lost
    part = new_folder(outputs)
    try:
        part.mkdir(exist_ok=True)
        with job.computing():
            write_model(job, part, Workshop(cache))
        yield part / "model"
    finally:
        discard(part)


def _published(write: Callable[[Path], list[str]], target: Path) -> list[str]:
    """Write under a temporary name, wait for the disk, and rename; what is there makes way."""
    parent = target.absolute().parent
    parent.mkdir(parents=True, exist_ok=True)
    with disk.watched(parent), leftovers.part(parent) as part:
        told = write(part)
        for file in [part, *part.rglob("*")] if part.is_dir() else [part]:
            _flush(file)
        publish.instead(part, target)
        return told


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_model(folder: Path) -> bool:
    """Return whether a folder looks like one that an export wrote: files only, a configuration and weights."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    known = {"config.json", "adapter_config.json"} & set(names)
    return bool(known) and len(names) == len(list(folder.iterdir())) and any(n.endswith(".safetensors") for n in names)


def _pushed(exported: Exported, wish: Wish) -> list[str]:
    """Upload the folder to the hub as a private repository."""
    import tempfile

    from huggingface_hub import HfApi

    name = wish.to.removeprefix(HUB)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "model"
        told = exported.adapter(folder) if wish.adapter else exported.folder(folder)
        try:
            HfApi().create_repo(name, private=True, exist_ok=wish.force)
            HfApi().upload_folder(repo_id=name, folder_path=str(folder), commit_message="Add the unlearned model")
        except Exception as error:  # the hub's client raises a dozen kinds
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(
                f"--to {wish.to} could not be uploaded ({type(error).__name__}: {reason}).\n"
                "Try: log in to the hub with a token that may write; --force if the repository is there already"
            ) from error
    return [f"uploaded: {name}, private", *told]
