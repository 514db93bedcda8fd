"""The presets of published suites: what they need is said before anything runs, and what they are compared with."""

from __future__ import annotations

import pytest
from tofu_folder import json_folder

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.request import reported
from unlearnbench.request.compose import Request, compose
from unlearnbench.request.config import typed
from unlearnbench.request.jobs import swept
from unlearnbench.request.reported import Reported

TOFU = ("forget01", "forget05", "forget10")


def composed(name: str, *more: str) -> Request:
    return compose([f"experiment={name}", "hydra.mode=RUN", *more]).request


@pytest.mark.parametrize("name", TOFU)
def test_open_unlearnings_methods_are_swept_and_have_their_reported_numbers(name):
    whole = compose([f"experiment=tofu_{name}"])
    methods = {word for job in swept([f"experiment=tofu_{name}"], whole.parameters).words() for word in job}
    entries = [typed(Reported, entry, "reported") for entry in whole.request.config["reported"]]
    reported.check(entries)
    assert {f"method={entry.method}" for entry in entries if entry.method} | {"method=none", "seed=0"} <= methods
    assert len(entries) == 3 * 7 + 2 and whole.request.config["forget"]["name"] == name


@pytest.mark.parametrize(
    ("method", "own"), [("simnpo", {"beta": 4.5}), ("rmu", {"steering": 2}), ("dpo", {"beta": 0.1})]
)
def test_methods_have_open_unlearnings_values(method, own):
    found = composed("tofu_forget10", f"method={method}").config["method"]
    optimizer = found["optimizer"]
    assert (found["epochs"], found["batch_size"], optimizer["lr"], optimizer["warmup"]) == (10, 32, 1e-5, 0.1)
    assert {name: found[name] for name in own} == own


def test_a_tofu_preset_asks_at_once_for_the_model_and_for_the_files(tmp_path):
    with pytest.raises(UserError, match=r"model\.path"):
        assemble(composed("tofu_forget10", f"outputs={tmp_path}", f"model.path={tmp_path}/none"))
    with pytest.raises(UserError, match=r"Try: dataset\.root=FOLDER with TOFU's files"):
        assemble(composed("tofu_forget10", f"outputs={tmp_path}", "model=llama_tiny"))


def test_tofu_smoke_is_built_from_the_official_files(tmp_path):
    folder = json_folder(tmp_path)
    one = assemble(composed("tofu_smoke", f"outputs={tmp_path}/outputs", f"dataset.root={folder}"))
    assert one.forget == "forget10" and one.info.train == 400


@pytest.mark.parametrize("corpus", ["news", "books"])
def test_a_muse_preset_lists_open_unlearnings_table_and_asks_at_once_for_the_copy(corpus, tmp_path):
    found = composed(f"muse_{corpus}", f"outputs={tmp_path}", "model=llama_tiny")
    entries = [typed(Reported, entry, "reported") for entry in found.config["reported"]]
    reported.check(entries)
    assert len(entries) == 4 * 6 + 3
    with pytest.raises(UserError, match=f"MUSE-{corpus.capitalize()} needs a local copy"):
        assemble(found)
