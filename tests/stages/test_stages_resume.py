"""A kept state that is damaged in any way is dropped with a warning: the training equals an uninterrupted one."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file

from unlearnbench.graph.artefact import Computed, write_artefact
from unlearnbench.machine.bars import Quiet
from unlearnbench.randomness import seeded
from unlearnbench.stages.resume import Resumable
from unlearnbench.training.fit import fit
from unlearnbench.training.optimizer import Optimizer
from unlearnbench.training.record import Record
from worlds import RECIPE, same_weights

HERE = {"device": "cpu", "threads": 1, "busy": False}
OPTIMIZERS = {
    "sgd": RECIPE.optimizer,
    "adam": Optimizer(name="adam", lr=0.01, schedule="plateau"),
}


class Killed(Exception):
    pass


def trained(tiny, optimizer, folder=None, until=None):
    recipe = dataclasses.replace(RECIPE, epochs=4, optimizer=optimizer)
    record, more = Record(), {}
    if folder is not None:
        state = Resumable(folder, every_seconds=0, circumstances=HERE)

        def save(stepper, record, epoch):
            state.save(stepper, record, epoch)
            if epoch == until:
                raise Killed

        more = {"resume": state.resume, "save": save}
    with seeded("resumed"):
        model = tiny.task.prepare(tiny.spec.build(tiny.data.info))
    fit(
        model, tiny.task, tiny.data.train, tiny.data.validation, recipe,
        seed=3, record=record, progress=Quiet(), **more,
    )  # fmt: skip
    return model, record


@pytest.fixture(scope="module", params=list(OPTIMIZERS))
def interrupted(request, tiny, tmp_path_factory):
    """An optimiser's name, the uninterrupted training, and the states of this and the other optimiser after 2 of 4."""
    whole = trained(tiny, OPTIMIZERS[request.param])
    folders = {}
    for name, optimizer in OPTIMIZERS.items():
        folders[name] = tmp_path_factory.mktemp("kept") / "state"
        with pytest.raises(Killed):
            trained(tiny, optimizer, folders[name], until=2)
    other = next(name for name in OPTIMIZERS if name != request.param)
    return request.param, whole, folders[request.param], folders[other]


def facts_with(path, value):
    """Change one fact by its path, or take it away, and let the sums be right again."""

    def damage(folder, _other):
        facts = json.loads((folder / "facts.json").read_text())
        *above, last = path
        at = facts
        for key in above:
            at = at[key]
        if value is KeyError:
            del at[last]
        else:
            at[last] = value
        rewrite(folder, facts, load_file(folder / "tensors.safetensors"))

    return damage


def tensors_with(change):
    def damage(folder, _other):
        tensors = load_file(folder / "tensors.safetensors")
        change(tensors)
        rewrite(folder, json.loads((folder / "facts.json").read_text()), tensors)

    return damage


def rewrite(folder, facts, tensors):
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    shutil.rmtree(folder)
    write_artefact(folder, Computed(tensors, facts))


def file_with(name, content):
    return lambda folder, _other: (folder / name).write_bytes(content)


def first(tensors, start):
    return next(name for name in sorted(tensors) if name.startswith(start) and tensors[name].dim() > 1)


def of_another_optimizer(folder, other):
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def with_tensors_of_another(folder, other):
    theirs = load_file(other / "tensors.safetensors")
    rewrite(folder, json.loads((folder / "facts.json").read_text()), theirs)


def a_file_in_its_place(folder, _other):
    shutil.rmtree(folder)
    folder.write_text("no folder")


def set_to(start, make):
    def change(tensors):
        name = first(tensors, start)
        tensors[name] = make(tensors[name])

    return tensors_with(change)


NAN, HUGE = float("nan"), 10**400
FILES = ("sums.json", "facts.json", "tensors.safetensors")
DAMAGES = {
    **{
        f"{name}: {content[:12]!r}": file_with(name, content)
        for name in FILES
        for content in (b"null", b"", b"{}", b"[]", b"\xff\xfe", b"[" * 100_000)
    },
    **{f"no {name}": lambda folder, _other, name=name: (folder / name).unlink() for name in FILES},
    "a file": a_file_in_its_place,
    "another optimizer": of_another_optimizer,
    "another's tensors": with_tensors_of_another,
    **{
        f"{'.'.join(map(str, path))}={str(value)[:20]}": facts_with(path, value)
        for path, values in {
            ("epoch",): (None, "2", 2.0, True, -1, 0, 1, 3, HUGE, KeyError, []),
            ("steps",): (None, "7", 0, HUGE, KeyError),
            ("curve",): (None, {}, [], "ab", [1, 2], KeyError),
            ("curve", 0): (None, {}, 5),
            ("curve", 1, "loss"): (None, "x", NAN, KeyError, HUGE),
            ("curve", 1, "epoch"): (7.0, "2"),
            ("examples",): (None, -5, 1.5, KeyError),
            ("validation_seconds",): (None, NAN, "1", KeyError),
            ("spent",): (None, {}, [], KeyError),
            ("spent", "seconds"): (None, NAN, "1", KeyError),
            ("spent", "more"): (1,),
            ("spent", "circumstances"): (
                None,
                "x",
                [{}],
                [None],
                [{"device": 1, "threads": 1, "busy": False}],
                KeyError,
            ),
            ("groups",): (None, [], {}, [{}], KeyError),
            ("groups", 0, "lr"): (None, "hot", NAN, 0.7, KeyError),
            ("groups", 0, "weight_decay"): (None, 0.5, KeyError),
            ("groups", 0, "params"): (None, [], [0], ["a"], KeyError),
            ("scheduler",): (None, {}, [], 5, KeyError),
            ("scheduler", "last_epoch"): (None, 1, "x", KeyError),
            ("scheduler", "_last_lr"): (None, [], [1.0], ["x"], KeyError),
            ("stateful",): (None, [99], [-1], ["a"], [0], 5, KeyError),
        }.items()
        for value in values
    },
    "a weight is gone": tensors_with(lambda tensors: tensors.pop(first(tensors, "model."))),
    "a weight too many": tensors_with(lambda tensors: tensors.update({"model.more": torch.zeros(1)})),
    "a name of nothing": tensors_with(lambda tensors: tensors.update({"more": torch.zeros(1)})),
    "no tensors": tensors_with(dict.clear),
    "a state is gone": tensors_with(lambda tensors: tensors.pop(first(tensors, "optimizer."))),
    "a state too many": tensors_with(lambda tensors: tensors.update({"optimizer.x.y": torch.zeros(1)})),
    **{
        f"{start}{name}": set_to(start, make)
        for start in ("model.", "optimizer.")
        for name, make in {
            "shape": lambda tensor: tensor.reshape(-1),
            "dtype": lambda tensor: tensor.double(),
            "int": lambda tensor: tensor.int(),
            "NaN": lambda tensor: tensor * NAN,
            "inf": lambda tensor: tensor + torch.inf,
            "scalar": lambda tensor: tensor.sum(),
        }.items()
    },
}


OF_OPTIMIZERS = ("another", "groups", "scheduler", "stateful", "state", "optimizer.")
"""What the two optimisers keep differently: of the rest, one of them is enough."""
CASES = [
    (optimizer, name)
    for optimizer in OPTIMIZERS
    for name in DAMAGES
    if optimizer == "sgd" or any(word in name for word in OF_OPTIMIZERS)
]


@pytest.mark.parametrize(("interrupted", "damage"), CASES, indirect=["interrupted"])
def test_a_damaged_state_is_dropped_and_the_training_is_the_same(tiny, tmp_path, caplog, interrupted, damage):
    name, (whole, whole_record), kept, other = interrupted
    folder = tmp_path / "state"
    shutil.copytree(kept, folder)
    DAMAGES[damage](folder, other)
    again, record = trained(tiny, OPTIMIZERS[name], folder)
    assert "the state of an interrupted training is damaged" in caplog.text
    assert "resuming" not in caplog.text
    assert same_weights(whole, again)
    assert record.curve == whole_record.curve and record.examples == whole_record.examples
    assert record.earlier.seconds == 0


def test_a_sound_state_is_resumed(tiny, tmp_path, caplog, interrupted):
    name, (whole, whole_record), kept, _ = interrupted
    shutil.copytree(kept, tmp_path / "state")
    caplog.set_level("INFO")
    again, record = trained(tiny, OPTIMIZERS[name], tmp_path / "state")
    assert "resuming after epoch 2" in caplog.text and "damaged" not in caplog.text
    assert same_weights(whole, again)
    assert record.curve == whole_record.curve


def test_what_was_damaged_is_gone_at_the_next_start(tmp_path, interrupted):
    kept = interrupted[2]
    folder = tmp_path / "state"
    shutil.copytree(kept, folder)
    (folder / "sums.json").write_text("null")
    assert Resumable(folder).resume(None, Record()) == 0
    assert not folder.exists()
