"""scripts/tune_methods.py and build_methods_page.py: the trials, what is written, and what the page shows."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
import yaml

from worlds import HERE

ROOT = Path(__file__).parents[1]
SETTINGS = {"epochs": 5, "alpha": 10.0, "optimizer": {"name": "sgd", "lr": 1e-3}}


@pytest.fixture
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module


@pytest.mark.parametrize(
    "space",
    [{}, {"alpha": [1, 3, 10]}, {"epochs": [1, 2, 5], "optimizer.lr": {"from": "1e-5", "to": "1e-1"}}],
)
def test_every_method_has_the_same_number_of_trials_and_its_default_first(scripts, space):
    trials = scripts("trials").trials_of("one", SETTINGS, space, 8)
    assert len(trials) == 8
    assert all(trials[0][field] == SETTINGS.get(field, SETTINGS["optimizer"]["lr"]) for field in trials[0])
    assert len({tuple(one.items()) for one in trials}) == 8
    assert trials == scripts("trials").trials_of("one", SETTINGS, space, 8)


def test_a_method_without_anything_to_choose_has_one_trial(scripts):
    assert scripts("trials").trials_of("none", {}, {}, 8) == [{}]


def test_values_are_written_beside_the_comments(scripts):
    before = "_target_: a.B\nepochs: 5   # as in the paper\noptimizer: {name: sgd, lr: 1e-3, momentum: 0.9}   # 0023\n"
    after = scripts("trials").written(before, {"epochs": 2, "optimizer.lr": 3e-5})
    assert after == before.replace("epochs: 5", "epochs: 2").replace("1e-3", "3e-5")
    assert scripts("trials").written("", {"alpha": 3.0, "optimizer.lr": 1e-4}) == "alpha: 3.0\noptimizer: {lr: 1e-4}\n"


def test_a_trial_keeps_the_methods_other_values(scripts):
    values = {"alpha": 3.0, "optimizer.lr": 1e-4}
    changed = scripts("trials").changed(SETTINGS, values)
    assert changed == {"epochs": 5, "alpha": 3.0, "optimizer": {"name": "sgd", "lr": 1e-4}}
    assert SETTINGS["optimizer"] == {"name": "sgd", "lr": 1e-3}
    assert scripts("trials").words_of(values) == "method.alpha=3.0 method.optimizer.lr=1e-4"


def test_the_cheapest_of_equal_trials_is_best_and_a_diverged_one_never(scripts):
    rows = pandas.DataFrame(
        {"trial": [0, 1, 2, 3], "gap": [0.2, 0.1004, 0.1001, float("inf")], "cost_ratio": [1, 0.1, 0.5, 0]}
    )
    assert scripts("tuning_table").best(rows)["trial"] == 1
    again = rows.assign(again=[None, 0.3, 0.1, None])
    assert scripts("tuning_table").best(again)["trial"] == 2, "0.1 and 0.1 are less than 0.1 and 0.3"


def test_images_run_again_on_a_larger_model(scripts):
    tune = scripts("tune_methods")
    assert tune.scale_of("image", tune.FIRST["image"]) == ["dataset=fashion", "model=tiny_resnet"]
    scales = [tune.scale_of("image", draw) for draw in tune.AGAIN["image"]]
    assert scales == [["dataset=fashion", "model=tiny_resnet"], ["dataset=fashion", "model=resnet18"]]
    assert tune.scale_of("text", tune.AGAIN["text"][0]) == tune.SCALE["text"]
    rows = [
        {
            "method": "a",
            "trial": 0,
            "values": "",
            "class:5 accuracy": gap,
            "gap": gap,
            "cost_ratio": cost,
            "status": said,
        }
        for gap, cost, said in ((0.1, 0.2, "done"), (0.3, 0.6, "skipped"))
    ]
    several = zip(tune.AGAIN["image"], ([one] for one in rows), strict=True)
    (one,) = tune.together([(draw, pandas.DataFrame(found)) for draw, found in several]).to_dict("records")
    assert one["gap"] == pytest.approx(0.2) and one["cost_ratio"] == pytest.approx(0.4)
    assert one["class:5 accuracy"] == 0.1 and one["resnet18 class:5 accuracy"] == 0.3
    assert one["status"] == "done skipped"
    assert (one["gap of the same model"], one["gap of resnet18"]) == (0.1, 0.3)


def test_each_model_counts_the_same(scripts):
    small = {"trial": [0, 1], "gap": [0.01, 0.05], "cost_ratio": [0.3, 0.3], "again": [0.15, 0.05]}
    rows = pandas.DataFrame(
        {**small, "again gap of the same model": [0.01, 0.05], "again gap of resnet18": [0.29, 0.05]}
    )
    assert scripts("tuning_table").best(rows)["trial"] == 1, ".01 and .29 are more than .05 and .05"
    rows["again gap of resnet18"] = [0.05, 0.05]
    assert scripts("tuning_table").best(rows)["trial"] == 0, ".01 and .05 are less than .05 and .05"


def test_trials_that_ran_again_stand_beside_their_first_gaps(scripts):
    table = scripts("tuning_table")
    first = pandas.DataFrame({"method": ["a", "a", "b"], "trial": [0, 1, 0], "values": "", "gap": [0.1, 0.2, 0.3]})
    second = pandas.DataFrame(
        {"method": ["a"], "trial": [1], "values": "", "class:5 accuracy": [0.4], "gap": [0.4], "cost_ratio": [0.5]}
    )
    once = table.joined(first.assign(cost_ratio=0.1), second)
    twice = table.joined(once, second.assign(gap=0.6))
    rows = twice.set_index(["method", "trial"])
    assert rows["again"].dropna().to_dict() == {("a", 1): 0.6} and len(rows) == 3
    assert rows["cost_ratio"].eq(0.1).all() and rows.loc[("a", 1), "again class:5 accuracy"] == 0.4


def test_values_are_read_back_from_their_words(scripts):
    values = {"alpha": 3.0, "optimizer.lr": 1e-4, "importance": "batch", "optimizer.name": "adamw", "on": True}
    assert scripts("trials").values_of(scripts("trials").words_of(values)) == values


def test_the_space_names_fields_that_there_are(scripts):
    tune = scripts("tune_methods")
    for method in yaml.safe_load(tune.SPACE.read_text()):
        file = ROOT / "configs" / "method" / f"{method}.yaml"
        settings = yaml.safe_load(file.read_text())
        for kind in ("image", "text"):
            for field in tune.space_of(tune.SPACE, method, kind):
                first, _, second = field.partition(".")
                assert first in settings and (not second or second in settings[first]), f"{method}: {field}"


@pytest.mark.slow
def test_trials_run_as_one_sweep_and_their_table_is_kept(tmp_path):
    words = [sys.executable, "scripts/tune_methods.py", "finetune", "masking", "--trials", "2", "--workers", "1"]
    words += ["--outputs", str(tmp_path / "outputs"), "--results", str(tmp_path)]
    words += ["--words", "dataset.limit=300", "dataset.limit_test=100", "train.epochs=1", "reference.count=1"]
    done = subprocess.run(words, cwd=ROOT, env=HERE, capture_output=True, text=True, check=True)
    rows = pandas.read_csv(tmp_path / "tuning_image.csv")
    assert rows.groupby("method").size().to_dict() == {"finetune": 2, "masking": 2}
    assert set(rows["status"]) == {"done"} and rows["gap"].between(0, 1).all()
    assert "finetune: " in done.stdout and "| `masking` | 2 |" in (tmp_path / "tuning.md").read_text()


RESULTS = [
    (seed, method, role, split, metric, value)
    for seed in (0, 1)
    for method, wrong in (("none", 0.3), ("npo", 0.1))
    for split in ("retain", "forget", "test")
    for role, metric, value in (
        ("retrained", "accuracy", 0.9 + 0.02 * seed), ("original", "accuracy", 0.9), ("unlearned", "accuracy", 0.8),
        ("unlearned", "gap_accuracy", -wrong - 0.01 * seed), ("unlearned", "gap_mia_confidence", 0.2),
    )
]  # fmt: skip


def reported(folder, results, done, rest=()):
    """Write the two tables of a report."""
    folder.mkdir()
    columns = ["seed", "method", "role", "split", "metric", "value"]
    pandas.DataFrame(results, columns=columns).assign(forget="class:0").to_csv(folder / "results.csv", index=False)
    names = ["seed", "method", "status", "forget", "reason", "cost_ratio", "examples_ratio"]
    pandas.DataFrame([*done, *rest], columns=names).to_csv(folder / "runs.csv", index=False)


@pytest.fixture
def remade(scripts, tmp_path, monkeypatch):
    """Make a part of a page from a report: its script, and the page's text after it."""
    page = scripts("build_methods_page")
    monkeypatch.setattr(page, "IMAGES", tmp_path)
    (tmp_path / "page.md").write_text("hand\n<!-- images -->\nold\n<!-- end of images -->\nnotes\n")

    def make(word):
        monkeypatch.setattr("sys.argv", ["build_methods_page.py", word])
        page.remake(tmp_path / "page.md", ["images"], {"=": page.part, "+=": page.renewed}, "usage")
        text = (tmp_path / "page.md").read_text()
        return text, [line for line in text.splitlines() if line.startswith("| `")]

    return make


DONE = [(seed, method, "done", "class:0", "", 0.25, 0.3) for seed in (0, 1) for method in ("none", "npo")]


def test_the_page_sorts_by_gap_and_says_what_has_no_numbers(remade, tmp_path):
    reported(tmp_path / "report", RESULTS, DONE, [(0, "ssd", "diverged", "class:0", "NaN at step 3", None, None)])
    text, rows = remade(f"images={tmp_path / 'report'}")
    assert [row.split("|")[1].strip() for row in rows] == ["`none`", "`npo`"]
    assert rows[1].split("|")[2:4] == [" ascent ", " 0.105 "]  # two seeds have no useful interval
    assert "Noise floor: 0.020" in text and "`ssd` diverged (seed 0): NaN at step 3." in text
    assert text.startswith("hand") and text.endswith("notes\n") and "old" not in text
    assert (tmp_path / "methods_images_class.png").exists()


def test_methods_that_ran_again_take_the_place_of_their_rows_and_no_other_moves(remade, tmp_path):
    more = [(*one[:1], one[1].replace("npo", "ssd"), *one[2:5], one[5] * 2) for one in RESULTS if one[1] == "npo"]
    reported(tmp_path / "report", [*RESULTS, *more], [*DONE, (0, "ssd", "done", "class:0", "", 0.25, 0.3)])
    before, rows = remade(f"images={tmp_path / 'report'}")
    assert [row.split("`")[1] for row in rows] == ["none", "npo", "ssd"]
    better = [(*one[:5], one[5] / 20) for one in more]
    reported(tmp_path / "again", better, [(seed, "ssd", "done", "class:0", "", 0.5, 0.6) for seed in (0, 1)])
    (tmp_path / "methods_images_class.png").unlink()
    text, now = remade(f"images+={tmp_path / 'again'}")
    assert [row.split("`")[1] for row in now] == ["none", "ssd", "npo"]
    assert [now[0], now[2]] == rows[:2], "the others are as they were"
    assert now[1].split("|")[3].strip() == "0.011 *", "within the floor of the table"
    assert now[1].split("|")[-4:-1] == [" 0.500 ", " 0.600 ", " 2 "]
    assert text.partition("| `")[0] == before.partition("| `")[0] and text.endswith(before.rpartition("| `")[2][-80:])
    assert (tmp_path / "methods_images_class.png").exists()


def test_published_numbers_are_beside_ours_with_the_distance_to_the_retrained_model_of_each(scripts, tmp_path):
    def entry(role, split, value, **more):
        return {"role": role, "split": split, "metric": "accuracy", "value": value, "forget": "random", **more}

    published = {"retain": (1.0, 0.9), "forget": (0.9, 0.7), "test": (0.9, 0.8)}
    entries = [entry("retrained", split, value, source="a paper") for split, (value, _) in published.items()]
    entries += [
        entry("unlearned", split, value, source="a paper", method="npo") for split, (_, value) in published.items()
    ]
    entries.append({**entries[0], "metric": "mia_confidence_svc"})
    (tmp_path / "preset.yaml").write_text(json.dumps({"reported": entries}))
    ours = {"retrained": 0.8, "unlearned": 0.75}
    table = scripts("methods_reported")

    def beside(forget):
        return table.beside(tmp_path / "preset.yaml", forget, lambda role, split, method: ours[role], {"npo": 0.06})

    assert beside("class") == ""
    *_, retrained, npo, _, source = beside("random").splitlines()
    assert retrained == "| *retrained* | 1.000 / 0.800 | 0.900 / 0.800 | 0.900 / 0.800 |  |"
    assert npo == "| `npo` | 0.900 / 0.750 | 0.700 / 0.750 | 0.800 / 0.750 | 0.133 / 0.060 |"
    assert source == "Reported: a paper."
