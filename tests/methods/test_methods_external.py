"""Weights of somebody else: loaded as they are, or refused before anything is trained."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unlearnbench.commands.score import data_words
from unlearnbench.errors import UserError
from unlearnbench.graph.keys import digest
from unlearnbench.methods.external import External
from unlearnbench.models import adapter, weights
from unlearnbench.models.adapter import AdapterOff
from unlearnbench.models.start import trainable
from unlearnbench.models.tiny import TinyCNN
from worlds import LORA, image_info, llama, same_weights


def external(path: Path | None, onto: str | None = None) -> External:
    return External(path=path, onto=onto)  # type: ignore[arg-type]


def refused(method: External, problem: object) -> str:
    with pytest.raises(UserError) as caught:
        method.check(problem)  # type: ignore[arg-type]
    assert f"{method.path} (method.path)" in str(caught.value) and "Try: " in str(caught.value)
    return str(caught.value)


@pytest.fixture
def other(tiny):
    """Another network of the same shape."""
    torch.manual_seed(7)
    return tiny.spec.build(tiny.data.info)


@pytest.mark.parametrize("form", ["file", "folder", "run", "pickle"])
def test_an_image_model_is_a_file_a_folder_or_a_run(tmp_path, tiny_problem, original, other, form):
    place = {"file": "a.safetensors", "folder": "given", "run": "run", "pickle": "a.pt"}[form]
    within = {"folder": "given/model.safetensors", "run": "run/model/model.safetensors"}.get(form, place)
    (tmp_path / within).parent.mkdir(parents=True, exist_ok=True)
    if form == "pickle":
        torch.save({"state_dict": other.state_dict()}, tmp_path / within)
    else:
        save_file(other.state_dict(), tmp_path / within)
    if form == "run":
        (tmp_path / "run" / "result.json").write_text("{}")
    method, problem = external(tmp_path / place), tiny_problem()
    method.check(problem)
    assert same_weights(method(original, problem), other)


def test_the_content_is_in_the_key_and_the_place_is_not(tmp_path, other):
    save_file(other.state_dict(), tmp_path / "a.safetensors")
    before = digest(external(tmp_path / "a.safetensors"))
    (tmp_path / "a.safetensors").rename(tmp_path / "b.safetensors")
    assert digest(external(tmp_path / "b.safetensors")) == before
    save_file({name: tensor + 1 for name, tensor in other.state_dict().items()}, tmp_path / "b.safetensors")
    assert digest(external(tmp_path / "b.safetensors")) != before


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, tiny_problem):
    save_file(TinyCNN(checkpoint=None).build(image_info(8, 3, 9)).state_dict(), tmp_path / "a.safetensors")
    assert "shape" in refused(external(tmp_path / "a.safetensors"), tiny_problem())
    (tmp_path / "empty").mkdir()
    assert "holds no model.safetensors" in refused(external(tmp_path / "empty"), tiny_problem())
    for place in (None, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"method\.path"):
            external(place).files()


@pytest.fixture
def folders(tmp_path, tiny_text):
    """Somebody's whole model, and the same change as an adapter of the original."""
    torch.manual_seed(3)
    student = adapter.attach(copy.deepcopy(tiny_text.original), LORA)
    for name, parameter in student.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1)
    student.save_pretrained(tmp_path / "adapter")
    tiny_text.task.save(weights.merged(student), tmp_path / "whole")
    return tmp_path


def names(folder: Path, base: str | None) -> None:
    file = folder / "adapter" / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": base}))


def test_a_language_model_is_a_folder_or_an_adapter_of_the_original(folders, text_problem, tiny_text):
    index = tiny_text.splits.forget[:6]
    before = tiny_text.task.score(copy.deepcopy(tiny_text.original).eval(), index).logits
    names(folders, "/runs/x/model/original")
    found = []
    for place in ("whole", "adapter"):
        for own in (False, True):  # trained whole, or through an adapter
            model = copy.deepcopy(tiny_text.original)
            changes = {}
            if own:
                model = trainable(llama(LORA), model)
                changes = {"spec": llama(LORA), "reference": AdapterOff(model)}
            method, problem = external(folders / place), text_problem(**changes)
            method.check(problem)
            found.append(tiny_text.task.score(method(model, problem).eval(), index).logits)
    assert np.nanmax(abs(found[0] - before)) > 0.01
    for one in found[1:]:
        torch.testing.assert_close(torch.from_numpy(one), torch.from_numpy(found[0]), atol=1e-4, rtol=1e-4)


def test_an_adapter_that_does_not_say_what_it_belongs_to_needs_a_word(folders, text_problem):
    for base in (None, "somebody/else"):
        names(folders, base)
        assert "Try: method.onto=original, or method.onto=base" in refused(
            external(folders / "adapter"), text_problem()
        )
        external(folders / "adapter", "original").check(text_problem())


@dataclasses.dataclass
class Places:
    """The places of a model, as its configuration has them."""

    path: Path | None
    checkpoint: Path | None
    hub: str | None = None
    tokenizer: None = None


def test_an_adapter_of_one_of_two_folders_of_one_name_goes_by_the_whole_path(folders):
    base, tuned = folders / "base" / "final", folders / "tuned" / "final"
    method, spec = external(folders / "adapter"), Places(base, tuned)
    for place, onto in ((base, "base"), (tuned, "original")):
        names(folders, str(place))
        assert method.settled(spec).onto == onto
        assert digest(method.settled(spec)) == digest(external(folders / "adapter", onto))
    names(folders, "/elsewhere/base/final")
    with pytest.raises(UserError, match=r"could be both this run's original and .*\nTry: method\.onto=original"):
        method.settled(spec)
    assert method.settled(Places(base, folders / "other")).onto == "base"
    names(folders, "somebody/final")
    assert method.settled(Places(None, folders / "tuned" / "other", "somebody/final")).onto == "base"


def test_a_language_model_of_other_tokens_or_another_shape_is_refused(folders, text_problem):
    llama().tokenizer(["quite other words"]).save_pretrained(folders / "whole")
    assert "another tokenizer" in refused(external(folders / "whole"), text_problem())
    wider = dataclasses.replace(llama(), hidden=32)
    wider.build(text_problem().info).save_pretrained(folders / "wider")
    assert "another architecture" in refused(external(folders / "wider"), text_problem())
    assert "is a file" in refused(external(folders / "whole" / "config.json"), text_problem())


def test_the_words_of_score_say_where_data_is(tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}")
    assert data_words(str(tmp_path / "rows.jsonl")) == ["dataset=chat", f"dataset.root={tmp_path / 'rows.jsonl'}"]
    assert data_words(str(tmp_path)) == ["dataset=images", f"dataset.root={tmp_path}"]
    assert data_words("fashion") == ["dataset=fashion"] and data_words(None) == []
    with pytest.raises(UserError, match="does not exist"):
        data_words("rows.csv")
