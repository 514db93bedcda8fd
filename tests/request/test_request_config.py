"""Typed building: what YAML says becomes an object, or an error that names the key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
import yaml
from pydantic import Field

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.request.compose import compose, scaled
from unlearnbench.request.config import build, config_root, takes, typed
from unlearnbench.request.reported import carried


@dataclass(frozen=True, kw_only=True)
class Inner:
    lr: Annotated[float, Field(gt=0)]
    name: Literal["sgd", "adam"] = "sgd"


@dataclass(frozen=True, kw_only=True)
class Outer:
    epochs: int
    inner: Inner
    names: tuple[int | str, ...] = ()


def test_values_become_typed_objects():
    made = typed(Outer, {"epochs": 3, "inner": {"lr": 1, "name": "adam"}, "names": [0, "cat"]}, "method")
    assert made == Outer(epochs=3, inner=Inner(lr=1.0, name="adam"), names=(0, "cat"))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"epohcs": 3}, "method.epohcs: unknown setting of method. Did you mean 'epochs'"),
        ({"epochs": 3, "inner": {"lrr": 1}}, "method.inner.lrr: .* Did you mean 'lr'"),
        ({"epochs": 3}, "method.inner is missing"),
        ({"epochs": 3, "inner": {}}, "method.inner.lr is missing"),
        ({"epochs": 2.5, "inner": {"lr": 1}}, "method.epochs=2.5"),
        ({"epochs": "3", "inner": {"lr": 1}}, 'method.epochs="3"'),
        ({"epochs": True, "inner": {"lr": 1}}, "method.epochs=true"),
        ({"epochs": 3, "inner": {"lr": 0}}, "method.inner.lr=0: expected greater than 0"),
        ({"epochs": 3, "inner": {"lr": 1, "name": "sdg"}}, "Did you mean 'sgd'"),
        ({"epochs": 3, "inner": 7}, "method.inner=7"),
    ],
)
def test_mistakes_name_key_value_and_remedy(values, says):
    with pytest.raises(UserError, match=says):
        typed(Outer, values, "method")


@dataclass(frozen=True, kw_only=True)
class Several:
    inners: tuple[Inner, ...]


@pytest.mark.parametrize(
    ("inners", "says"),
    [
        ([{"lr": 1}, {"lrr": 1}], r"train.inners\[1\].lrr: .* Did you mean 'lr'"),
        ([{"lr": 1}, {}], r"train.inners\[1\].lr is missing.\nTry: lr: VALUE in that entry"),
        ([{"lr": 0}], r"train.inners\[0\].lr=0: expected greater than 0"),
        ([7], r"train.inners\[0\]=7"),
    ],
)
def test_mistakes_in_a_list_of_settings_name_their_entry(inners, says):
    with pytest.raises(UserError, match=says):
        typed(Several, {"inners": inners}, "train")


@pytest.mark.parametrize("target", ["os.system", "torch.load", "unlearnbenchx.methods.X", "builtins.eval", "nodots"])
def test_only_own_classes_are_built(target):
    with pytest.raises(UserError, match=r"refused|_target_"):
        build({"_target_": target}, "method")


@pytest.mark.parametrize(
    "target", ["unlearnbench.request.config.build", "unlearnbench.nowhere.X", "unlearnbench.request.config.X"]
)
def test_own_names_must_be_configurations(target):
    with pytest.raises(UserError, match="_target_"):
        build({"_target_": target}, "method")


SHIPPED = sorted((config_root()).glob("*/*.yaml"))


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_shipped_yaml_lists_every_value_and_builds(file):
    group = file.parent.name
    request = compose([f"{group}={file.stem}"]).request
    if group in ("experiment", "scale", "tuning") or (group, file.stem) == ("track", "none"):
        assert request.choices[group] == file.stem
        return
    if group == "dataset" and file.stem in ("bbq", "crows_pairs", "stereoset"):
        assert request.config["model"]["_target_"].endswith("ResNet18")  # evaluation only: they choose no model
    if group in ("eval", "track"):
        build(request.config[group][file.stem], f"{group}.{file.stem}", group)
    elif file.stem == "stream":
        assert len(assemble(request).experiment.forget.requests) == 2
    else:
        build(request.config[group], group)
    assert "_target_" in yaml.safe_load(file.read_text())


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["experiment=paper_bias_instruct", "scale=cpu"], ["experiment=paper_bias_instruct_cpu"]),
        (
            ["scale=cpu", "experiment=paper_bias_prompt,paper_table4", "seed=0"],
            ["experiment=paper_bias_prompt_cpu,paper_table4_cpu", "seed=0"],
        ),
        (["experiment=paper_bias_instruct", "scale=smoke"], ["experiment=paper_bias_instruct", "scale=smoke"]),
        (["experiment=paper_bias_instruct"], ["experiment=paper_bias_instruct"]),
    ],
)
def test_a_scale_takes_the_presets_own_file_where_it_has_one_and_else_the_groups(words, taken):
    assert scaled(words) == taken


@pytest.mark.parametrize("words", [["scale=cpu"], ["experiment=paper_table4,smoke", "scale=cpu"], ["scale=cpu,smoke"]])
def test_a_scale_that_is_not_everybodys_is_refused(words):
    with pytest.raises(UserError, match="scale"):
        scaled(words)


@pytest.mark.parametrize(
    ("target", "path", "known"),
    [
        ("unlearnbench.training.recipe.Recipe", ["optimizer", "head_lr"], True),
        ("unlearnbench.training.recipe.Recipe", ["optimizer", "hedd_lr"], False),
        ("unlearnbench.training.recipe.Recipe", ["optimizer", "lr", "deep"], False),
        ("unlearnbench.nosuch.Recipe", ["epochs"], False),
        ("os.system", ["epochs"], False),
        (None, ["epochs"], False),
    ],
)
def test_a_field_that_the_yaml_does_not_write_out_is_known(target, path, known):
    assert takes({"_target_": target}, path) is known


def test_results_go_by_the_name_that_timm_has_for_a_model():
    words = ("experiment=paper_table4", "model=timm", "model.architecture=efficientformerv2_s0", "hydra.mode=RUN")
    request = compose(words).request
    assert request.model == "timm_efficientformerv2_s0"
    assert {entry["model"] for entry in carried(request)} == set()
    assert compose(("model=resnet18",)).request.model == "resnet18"


@pytest.mark.parametrize("name", ["instruct", "instruct_sound", "prompt"])
def test_presets_of_the_bias_study_take_another_model(name):
    def model(*words):
        return build(compose([f"experiment=paper_bias_{name}", *words]).request.config["model"], "model")

    assert model().hub == "meta-llama/Llama-3.2-3B-Instruct" and model().load_in_4bit
    assert model("model=llama_tiny").hidden == 64
    assert not model("model=smollm2_135m").load_in_4bit


def test_a_data_set_chooses_model_and_forget_set_and_a_model_its_recipe_and_tuning():
    config = compose(["dataset=clinical_notes", "method=npo"]).request
    assert {group: config.name(group) for group in ("model", "forget", "train", "tuning")} == {
        "model": "llama_tiny", "forget": "column", "train": "tiny_language", "tuning": "tiny_language",
    }  # fmt: skip
    assert config.config["method"]["optimizer"]["name"] == "adamw"
    chosen = compose(["dataset=clinical_notes", "model=smollm2_135m", "train=adamw", "method.optimizer.lr=0.5"]).request
    assert (chosen.name("train"), chosen.name("tuning")) == ("adamw", "language")
    assert chosen.config["method"]["optimizer"]["lr"] == 0.5
    assert compose(["method=npo"]).request.config["method"]["optimizer"]["name"] == "sgd"
