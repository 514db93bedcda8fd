"""Results have the name of the user's own model, as a plain word."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from unlearnbench.request.compose import compose
from unlearnbench.request.config import config_root
from unlearnbench.request.names import PACKAGES, PUBLISHED, of_place
from unlearnbench.request.refusals import NAME

NOTES = "dataset=clinical_notes"


def test_the_published_names_are_those_of_our_presets():
    found = [yaml.safe_load(file.read_text()) for file in sorted((config_root() / "model").glob("*.yaml"))]
    assert {one["hub"] for one in found if one.get("hub")} == set(PUBLISHED)
    assert {one["package"] for one in found if one.get("package")} == set(PACKAGES)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["model=hf", "model.path=/home/me/Clinic-Llama"], "Clinic-Llama"),
        (["model=hf", "model.path=/home/me/Base", "model.checkpoint=/home/me/tuned/checkpoint-500"],
         "tuned-checkpoint-500"),
        (["model=smollm2_135m", "model.path=/home/me/Clinic-Llama"], "Clinic-Llama"),
        (["model=hf", "model.hub=me/Clinic.Llama-3"], "Clinic.Llama-3"),
        (["model=llama3_2_1b", "model.hub=me/mine"], "mine"),
        (["model=llama3_2_1b"], "llama3_2_1b"),
        (["model=llama3_2_3b_4bit"], "llama3_2_3b_4bit"),
        (["model=smollm2_135m", "model.revision=abc"], "smollm2_135m"),
        (["model=llama_tiny"], "llama_tiny"),
    ],
)  # fmt: skip
def test_a_language_model_is_named_by_its_folder_or_hub_name(words, name):
    assert compose([NOTES, *words]).request.model == name


def test_an_own_model_takes_the_recipe_and_tuning_of_language_by_itself():
    for words in (["model=hf", "model.path=/x"], ["model=hf", "model.hub=me/x"]):
        request = compose([NOTES, "method=npo", *words]).request
        assert (request.name("train"), request.name("tuning")) == ("own_language", "language")
        assert request.config["method"] == compose([NOTES, "method=npo", "model=llama3_2_1b"]).request.config["method"]


def test_weights_of_somebody_else_are_named_by_their_file():
    request = compose(["method=external", "method.path=/home/you/forgot.safetensors"]).request
    assert request.method == "external:forgot"
    assert compose(["method=distill"]).request.method == "distill"


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("/a/my model (2)!", "my-model-2"), ("/a/ünïcödé", "n-c-d"), ("/a/日本", "unnamed"), ("/a/b/model", "b-model"),
        ("/run/model.safetensors", "run-model"), ("/a/" + "x" * 300, "x" * 40), ("/a/..b", "b"),
        ("/hub/models--me--mine/snapshots/0a1b", "mine"), ("/", "unnamed"), ("/a/-rf", "rf"), ("/a/b:c|d", "b-c-d"),
    ],
)  # fmt: skip
def test_any_place_gives_a_plain_short_name(place, name):
    assert of_place(place) == name and NAME.fullmatch(name)


def test_a_relative_place_is_named_by_where_it_is(tmp_path, monkeypatch):
    (tmp_path / "tuned").mkdir()
    monkeypatch.chdir(tmp_path / "tuned")
    assert of_place(".") == "tuned" and of_place(str(Path("..") / "tuned")) == "tuned"
