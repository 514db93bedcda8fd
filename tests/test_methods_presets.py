"""The presets of docs/results/methods.md: no method is forgotten, and they say what they are for."""

from __future__ import annotations

import pytest
import yaml

from unlearnbench.request.catalogue import entries
from unlearnbench.request.compose import compose
from unlearnbench.request.config import config_root

ELSEWHERE = ("external",)
"""What somebody else unlearned is no method to compare."""


def listed(preset):
    """Return the methods that a preset sweeps over."""
    composed = compose([f"experiment={preset}"])
    assert composed.sweep
    parameters = dict(word.split("=", 1) for word in composed.parameters)
    return [name.strip() for name in parameters["method"].split(",")]


def methods(kind):
    """Return our own methods for a kind of data, without the settings of papers."""
    own = [entry for entry in entries("methods") if entry.file and config_root() in entry.file.parents]
    names = [entry.name for entry in own if kind in entry.kind]
    return {name for name in names if not name.endswith("_paper") and name not in ELSEWHERE}


@pytest.mark.parametrize(("preset", "kind"), [("methods_images", "image"), ("methods_text", "text")])
def test_every_method_is_in_the_tables_of_its_kind_once(preset, kind):
    names = listed(preset)
    assert set(names) == methods(kind), "add the method to configs/experiment/methods_images.yaml or methods_text.yaml"
    assert len(names) == len(set(names))


def test_every_image_method_is_in_the_gpus_table_once_with_its_papers_values_or_ours():
    names = [name.removesuffix("_paper") for name in listed("methods_cifar10")]
    assert set(names) == methods("image"), "add the method to configs/experiment/methods_cifar10.yaml"
    assert len(names) == len(set(names))


def test_one_seed_is_run_with_larger_models_and_at_least_eight_methods_with_smollm2():
    assert listed("methods_images_resnet18") == listed("methods_images")
    assert len(set(listed("methods_text_smollm2")) - {"none"}) >= 8
    for preset in ("methods_images_resnet18", "methods_text_smollm2"):
        assert "seed=0" in compose([f"experiment={preset}"]).parameters


@pytest.mark.parametrize("preset", ["methods_images", "methods_text"])
def test_the_tables_have_three_seeds_a_noise_floor_and_no_plots(preset):
    composed = compose([f"experiment={preset}"])
    config = composed.request.config
    assert "seed=0,1,2" in composed.parameters
    assert (config["reference"]["count"], config["plots"], config["save_model"]) == (2, False, False)


def test_three_epochs_at_most_are_run_on_cifar10_where_papers_have_more():
    for file in (config_root() / "tuned" / "cifar10").glob("*.yaml"):
        paper = yaml.safe_load((config_root() / "method" / file.name).read_text())
        assert yaml.safe_load(file.read_text()) == {"epochs": 3} and paper["epochs"] > 3, file.name


@pytest.mark.slow
def test_where_all_weights_are_trained_the_rates_are_a_quarter_of_an_adapters():
    words = ["dataset=clinical_notes", "model=smollm2_135m"]
    names = [file.stem for file in (config_root() / "tuned" / "language_whole").glob("*.yaml")]
    assert len(names) > 15
    for name in set(names) - {"soft_prompt"}:  # it trains no weights of the model
        through, whole = (
            compose([*words, f"method={name}", *more]).request.config["method"]
            for more in ([], ["tuning=language_whole", "model.adapter.r=0"])
        )
        assert float(whole["optimizer"].pop("lr")) == float(through["optimizer"].pop("lr")) / 4
        assert whole == through
