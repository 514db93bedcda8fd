"""The study's vision presets: each has its scales, keeps its protocol across them, and lists sound reported numbers."""

from __future__ import annotations

import pytest

from unlearnbench.assemble import assemble
from unlearnbench.errors import UserError
from unlearnbench.request import reported
from unlearnbench.request.compose import Request, compose
from unlearnbench.request.config import config_root, typed
from unlearnbench.request.jobs import swept
from unlearnbench.request.reported import Reported

PRESETS = ("paper_table1", "paper_table2", "paper_table3", "paper_table4", "paper_figure3")
SCALES = ("", "_cpu", "_smoke")


def composed(name: str, *more: str) -> Request:
    return compose([f"experiment={name}", *more]).request


def jobs(name: str, *more: str) -> list[tuple[str, ...]]:
    words = [f"experiment={name}", *more]
    return list(swept(words, compose(words).parameters).words())


BY_CLASSES = ("zrf_published", "js_published")
"""Divided by the number of classes: with another number a published value cannot be compared, and is not given."""


def asked(entry: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in entry.items() if key not in ("value", "source")}


@pytest.mark.parametrize("name", PRESETS)
def test_every_scale_keeps_the_forget_set_the_method_and_the_reported_numbers(name):
    full, cpu, smoke = (composed(name + scale) for scale in SCALES)
    for one in (cpu, smoke):
        assert [one.name(group) for group in ("method", "forget")] == [full.name(g) for g in ("method", "forget")]
        assert [asked(entry) for entry in one.config["reported"]] == [asked(entry) for entry in full.config["reported"]]
        for entry, published in zip(one.config["reported"], full.config["reported"], strict=True):
            assert entry["metric"] in BY_CLASSES or entry == published
            assert entry["metric"] not in BY_CLASSES or entry["value"] is None
    assert cpu.name("dataset") == full.name("dataset")
    assert cpu.config["forget"] == full.config["forget"]
    assert cpu.config["reference"]["count"] == 2
    assert smoke.name("dataset") == "fashion"


@pytest.mark.parametrize("name", PRESETS)
def test_three_seeds_are_the_default_and_one_at_smaller_scales(name):
    assert compose([f"experiment={name}"]).sweep
    seeds = {word for job in jobs(name) for word in job if word.startswith("seed=")}
    assert seeds == {"seed=0", "seed=1", "seed=2"}
    for scale in SCALES[1:]:
        assert {word for job in jobs(name + scale) for word in job if word.startswith("seed=")} == {"seed=0"}


@pytest.mark.parametrize("name", PRESETS)
def test_reported_numbers_are_of_metrics_and_splits_that_there_are(name):
    entries = [typed(Reported, entry, "reported") for entry in composed(name).config["reported"]]
    assert bool(entries) == (name != "paper_figure3")  # the study shows matrices there, and no numbers
    reported.check(entries)


def test_table_3_is_compared_with_what_its_authors_code_computes_on_test_images():
    """JSDiv's outputs in cell 14 of the authors' notebook, over forget_valid: the test images of rocket."""
    entries = [entry for entry in composed("paper_table3").config["reported"] if entry["value"] is not None]
    found = {(entry["role"], entry["split"], entry["metric"]): entry["value"] for entry in entries}
    assert found == {
        ("original", "test_forget", "zrf_published"): 0.8767,
        ("unlearned", "test_forget", "zrf_published"): 0.9941,
        ("retrained", "test_forget", "zrf_published"): 0.9299,
        ("unlearned", "test_forget", "js_published"): 0.0486,
    }


@pytest.mark.parametrize("name", PRESETS)
def test_every_job_of_the_smoke_scale_can_be_built_without_data_or_network(name, tmp_path):
    for job in jobs(f"{name}_smoke", f"outputs={tmp_path}"):
        request = compose(["hydra.mode=RUN", *job]).request
        assert assemble(request).experiment.forget.label(assemble(request).info)


NO_AUGMENTATION = {"crop": 0, "flip": False, "rotate": 0.0, "jitter": 0.0, "sharpen": 0.0, "erase": 0.0}
FIGURE_3 = {
    "crop": 0, "flip": True, "rotate": 20.0, "jitter": 0.1, "sharpen": 0.1, "sharpness": 2.0, "erase": 0.75,
    "erase_area": [0.02, 0.1], "erase_value": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    ("name", "augment"),
    [("paper_table1", NO_AUGMENTATION), ("paper_table2", NO_AUGMENTATION), ("paper_table3", NO_AUGMENTATION),
     ("paper_figure3", FIGURE_3)],
)  # fmt: skip
def test_images_are_augmented_as_on_the_page_at_every_scale(name, augment, scale):
    found = composed(name + scale).config["dataset"]["augment"]
    assert {key: found[key] for key in augment} == augment


@pytest.mark.parametrize(
    ("name", "optimizer"),
    [
        ("paper_table1", {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "none"}),
        ("paper_table2", {"name": "adam", "lr": 1e-3, "head_lr": 1e-2, "schedule": "plateau",
                          "plateau": {"factor": 0.5, "patience": 3, "threshold": 1e-4}}),
        ("paper_figure3", {"name": "adam", "lr": 1e-3, "weight_decay": 3.5e-4, "schedule": "plateau",
                           "plateau": {"factor": 0.3, "patience": 3, "threshold": 0.09}, "clip_value": 1e-4}),
    ],
)  # fmt: skip
def test_the_original_is_trained_as_on_the_page_at_full_scale(name, optimizer):
    found = composed(name).config["train"]["optimizer"]
    assert {key: found[key] for key in optimizer} == optimizer


def test_figure_3_unlearns_with_the_weight_decay_of_its_training():
    for scale in SCALES:
        assert composed(f"paper_figure3{scale}").config["method"]["optimizer"]["weight_decay"] == 3.5e-4


@pytest.mark.parametrize("name", PRESETS)
def test_a_smaller_scale_says_where_it_departs_from_the_page(name):
    for scale in SCALES[1:]:
        text = (config_root() / "experiment" / f"{name}{scale}.yaml").read_text()
        words = " ".join(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))
        assert "departs from the page" in words


def test_table_4_takes_a_rate_that_works_for_coatnet_and_the_studys_for_the_others():
    rates = {
        model: composed("paper_table4", f"model={model}").config["method"]["optimizer"]["lr"]
        for model in ("resnet18", "efficientformerv2_s0", "coatnet_0")
    }
    assert rates == {"resnet18": 0.1, "efficientformerv2_s0": 0.1, "coatnet_0": 0.01}
    override = ("model=coatnet_0", "method.optimizer.lr=0.1")
    assert composed("paper_table4", *override).config["method"]["optimizer"]["lr"] == 0.1


def test_a_preset_whose_data_is_missing_ends_at_once_with_the_remedy(tmp_path):
    words = ("hydra.mode=RUN", f"dataset.root={tmp_path}", f"outputs={tmp_path}/out")
    with pytest.raises(UserError, match=r"Try: .*dataset"):
        assemble(composed("paper_table4_cpu", *words))
    assert not list(tmp_path.iterdir())
