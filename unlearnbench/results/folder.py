"""What a run leaves behind: its folder, file by file, published in one rename."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearnbench.errors import UserError
from unlearnbench.files import leftovers, stored, sums
from unlearnbench.graph.cache import Artefact, write_artefact
from unlearnbench.graph.keys import digest
from unlearnbench.machine import cost, provenance
from unlearnbench.request.compose import Request
from unlearnbench.request.refusals import refuse_names
from unlearnbench.request.reported import carried, carries

if TYPE_CHECKING:
    import pandas
    from torch import nn

    from unlearnbench.assemble import Assembled
    from unlearnbench.experiment import Run
    from unlearnbench.metrics.measure import Row

COLUMNS = ("run_id", "experiment", "dataset", "forget", "model", "method", "seed", "role", "split", "metric", "value")


@dataclass(frozen=True)
class Identity:
    """A run's key and names: what its rows and its folder are called."""

    run_id: str
    experiment: str
    dataset: str
    forget: str
    model: str
    method: str
    seed: int

    @property
    def folder(self) -> str:
        """The folder's name below outputs/runs; raise UserError where it would be a path."""
        refuse_names({"method": self.method, "model": self.model, "dataset": self.dataset, "run": self.run_id})
        return f"{self.method}_{self.model}_{self.dataset}_{self.run_id}"


def identify(request: Request, assembled: Assembled, source: Mapping[str, str]) -> Identity:
    """Name a run by what decides its result: the typed experiment and the source of its stages."""
    experiment, forget = assembled.experiment, type(assembled.experiment.forget).__name__
    settings = {name: value for name, value in vars(experiment).items() if name != "forget"}
    names = (request.name("experiment"), request.name("method"), request.model, forget, assembled.forget)
    key = digest(settings, names, dict(source))
    return Identity(
        run_id=key[:8],
        experiment=request.name("experiment"),
        dataset=request.name("dataset"),
        forget=assembled.forget,
        model=request.model,
        method=request.name("method"),
        seed=assembled.experiment.seed,
    )


def settings(assembled: Assembled) -> dict[str, str]:
    """Return two digests of 8 digits that do not know the seed: runs with equal ones repeat each other.

    `setting` is of all that decides the original and its references, `method_setting` of the method. How many
    references there are, and on which device, changes neither.
    """
    experiment = assembled.experiment
    outside = ("seed", "method", "forget", "references", "precision", "deterministic")
    shared = {name: value for name, value in vars(experiment).items() if name not in outside}
    forget = (type(experiment.forget).__name__, assembled.forget)
    return {
        "setting": digest(shared, forget, experiment.precision.bf16)[:8],
        "method_setting": digest(type(experiment.method).__module__, experiment.method)[:8],
    }


def new_folder(outputs: Path) -> Path:
    """Make the temporary folder that a run writes into until it is published."""
    folder = leftovers.named(outputs / "runs")
    folder.mkdir(parents=True)
    return folder


def discard(part: Path) -> None:
    """Remove a temporary folder, and the folders above it that are left empty."""
    leftovers.remove(part)
    for folder in (part.parent, part.parent.parent):
        with suppress(OSError):  # not empty: others' runs are there
            folder.rmdir()


def publish(part: Path, final: Path) -> Path:
    """Give a finished folder its name; an older one of that name (a failed try) makes way."""
    while True:
        with leftovers.part(final.parent) as old:
            with suppress(FileNotFoundError):
                final.rename(old)
            try:
                part.rename(final)
            except OSError:
                if not final.exists():
                    raise
                continue  # somebody else published the same run in between
        return final


def write_config(folder: Path, request: Request) -> None:
    """Write the resolved configuration as YAML."""
    from omegaconf import OmegaConf

    chosen = {group: name for group, name in request.choices.items() if name}
    header = "".join(f"# {group}={name}\n" for group, name in chosen.items())
    (folder / "config.yaml").write_text(header + OmegaConf.to_yaml(OmegaConf.create(request.config)))


def write_metrics(folder: Path, identity: Identity, rows: Sequence[Row]) -> None:
    """Write metrics.csv: deterministic columns only, values to the last digit."""
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        names = vars(identity)
        for row in rows:
            writer.writerow([*names.values(), row.role, row.split, row.metric, repr(row.value)])


def read_metrics(folder: Path) -> pandas.DataFrame:
    """Read metrics.csv: an empty name stays "". Raise OSError or ValueError where it is missing, damaged or empty."""
    import pandas

    kinds: dict[str, type] = {**dict.fromkeys(COLUMNS, str), "seed": int, "value": float}
    text = BytesIO(stored.content(folder / "metrics.csv"))
    try:
        table = pandas.read_csv(text, dtype=kinds, keep_default_na=False, na_values={"value": ["nan"]})
    except OverflowError as error:
        raise ValueError("metrics.csv has a seed of more than 64 bits") from error
    if tuple(table.columns) != COLUMNS or table.empty:
        raise ValueError(f"metrics.csv has {len(table)} rows of {', '.join(table.columns)}")
    return table


def write_scores(folder: Path, run: Run) -> None:
    """Write splits.npz and scores/<role>_<split>.npz; several retrained references carry their number."""
    import numpy as np

    np.savez_compressed(folder / "splits.npz", allow_pickle=False, **run.splits.arrays())
    target = folder / "scores"
    target.mkdir()
    for role in ("original", "retrained", "unlearned"):
        for number, by_split in enumerate(run.scores[role]):
            name = f"{role}_{number}" if len(run.scores[role]) > 1 else role
            for split, scores in by_split.items():
                arrays = {"logits": scores.logits, "label": scores.label, "index": scores.index}
                np.savez(target / f"{name}_{split}.npz", allow_pickle=False, **arrays, **scores.extras)


def write_model(folder: Path, request: Request, run: Run, final: Path) -> None:
    """Write the unlearned weights, and what is needed to build the model again.

    Of a language model: the folder is what `save_pretrained` makes (AutoModelForCausalLM reads it), its adapter lies
    in model/adapter over the original in model/original, a prompt's tokens in model/prompt.safetensors. `final` is the
    folder's name once it is published.
    """
    stage = run.unlearned.stage
    assert stage is not None
    target = folder / "model"
    if run.info.kind == "text":
        from unlearnbench.models.saved import write

        spec, task = run.stages.experiment.model, run.stages.task
        model = run.stages.model(run.unlearned)
        home = final.resolve() / "model"
        write(target, model, task, spec, stage.artefact, lambda: run.stages.model(run.original), home)
        return
    info = {"classes": run.info.classes, "shape": run.info.shape, "kind": run.info.kind}
    facts = {"model": request.config["model"], "data": info}
    write_artefact(target, Artefact(stage.artefact.tensors, facts))
    (target / "tensors.safetensors").rename(target / "model.safetensors")
    (target / "facts.json").rename(target / "config.json")
    (target / "sums.json").unlink()


def load_model(folder: Path) -> nn.Module:
    """Return the unlearned model of a run folder, in evaluation mode on the CPU.

    The folder may be anybody's: nothing but its own files is read, and no code of it is run.
    """
    source = folder / "model"
    if not (folder / "result.json").exists():
        raise UserError(f"{folder} is no run folder: it has no result.json.\nTry: outputs/runs/NAME, of a run")
    if damage := sums.damage(folder):
        raise UserError(
            f"{folder} is damaged: {sums.told(damage)}.\n"
            f"Try: the run again, which makes it anew from the cache; unlearnbench verify {shlex.quote(str(folder))}"
        )
    if not (source / "config.json").is_file():
        raise UserError(f"{folder} holds no model.\nTry: the run again with save_model=true")
    return model_in(source)


def model_in(source: Path) -> nn.Module:
    """Return the model of a run's model/ folder, which may be anybody's: only its own files are read, none is run."""
    from unlearnbench.models import rebuilt, saved, vetted

    facts = vetted.read(source / "config.json")
    return rebuilt.read(source, facts) if "data" in facts else saved.read(source)


def facts(request: Request, identity: Identity) -> dict[str, Any]:
    """Return the part of result.json that every run has, whatever becomes of it."""
    return {
        **vars(identity),
        "overrides": list(request.overrides),
        "command": provenance.command(request.overrides),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": provenance.versions(),
        "git_revision": provenance.git_revision(),
        "reported": carried(request),
    }


def outcome(assembled: Assembled, run: Run) -> dict[str, Any]:
    """Return the part of result.json that a finished run adds."""
    trained = {"original": run.original, "unlearned": run.unlearned}
    trained |= {f"retrained_{number}": model for number, model in enumerate(run.retrained)}
    stages = {name: model.stage for name, model in trained.items() if model.stage is not None}
    of = {name: stage.artefact.facts for name, stage in stages.items()}
    cost_ratio, cost_note = cost.ratio(
        of["unlearned"], {name: facts for name, facts in of.items() if name.startswith("retrained")}
    )
    here = of["unlearned"]["circumstances"][-1]
    return {
        "weights_changed": of["unlearned"]["weights_changed"],
        "device": here["processor"] if here["device"].startswith("cuda") else here["device"],
        "threads": here["threads"],
        "precision": here["precision"],
        "deterministic": assembled.experiment.deterministic,
        "channels_last": assembled.experiment.precision.channels_last,
        "circumstances": {name: facts["circumstances"] for name, facts in of.items()},
        "seconds": {name: stage.seconds for name, stage in stages.items()},
        "validation_seconds": {name: facts["validation_seconds"] for name, facts in of.items()},
        "peak_mib": {name: facts["peak_mib"] for name, facts in of.items()},
        "examples_seen": {name: facts["examples"] for name, facts in of.items()},
        "reused": {name: stage.reused for name, stage in stages.items()},
        "cost_ratio": cost_ratio,
        "cost_note": cost_note,
        "stage_keys": {name: stage.key for name, stage in stages.items()},
        "references": len(run.retrained),
        "classes": list(run.info.classes),
        "curves": {name: facts["curve"] for name, facts in of.items()},
        "tables": of["unlearned"]["tables"],
    }


def write_result(folder: Path, values: Mapping[str, Any]) -> None:
    """Write result.json."""
    (folder / "result.json").write_bytes(_json(values))


def _json(values: Mapping[str, Any]) -> bytes:
    """Return values as JSON; a byte of a file name that is no UTF-8 becomes a question mark."""
    return (json.dumps(dict(values), indent=1, ensure_ascii=False) + "\n").encode(errors="replace")


def refresh(folder: Path, request: Request) -> None:
    """Give a finished run the reported numbers of the request, where its result.json has others."""
    result = read_result(folder)
    if carries(result, request):
        return
    with leftovers.part(folder.parent) as part:
        part.write_bytes(_json({**result, "reported": carried(request)}))
        part.replace(folder / "result.json")
    sums.renew(folder, "result.json")  # killed before this, the run is seen as damaged and made again


def read_result(folder: Path) -> dict[str, Any]:
    """Read a run folder's result.json; raise OSError or ValueError where it holds no JSON object."""
    return stored.mapping(folder / "result.json")
