"""Verdicts of a board, and the exposed rows it shows: from made-up runs, read as a stranger's."""

from __future__ import annotations

import io
import logging

import numpy as np
import pandas
import pytest
from PIL import Image

from run_folders import make_run
from unlearnbench.commands.report import main
from unlearnbench.errors import UserError
from unlearnbench.files import sums
from unlearnbench.report import write
from unlearnbench.report.collect import collect
from unlearnbench.report.html import page
from unlearnbench.report.leaderboard import boards
from unlearnbench.report.markdown import markdown
from unlearnbench.report.summary import summarise
from unlearnbench.report.verdicts import csv_rows

MARGIN = {"rate": 0.02, "bits": 0.01}
TARGET = {"retain": 0.95, "forget": 0.0, "test": 0.85}
"""The retrained accuracies of seed 0 in a made-up run; each further seed has .01 more."""
SPREAD = (-0.001, 0.0, 0.002, -0.002, 0.001)


def runs(folder, method, away, seeds=5, **changes):
    """Write a run a seed, `away` from retrained in all accuracies, towards the middle, but for a little spread."""
    for seed in range(seeds):
        signs = {"retain": -1, "forget": 1, "test": -1}
        moved = {split: sign * (away + SPREAD[seed]) for split, sign in signs.items()}
        accuracy = {split: TARGET[split] + 0.01 * seed + one for split, one in moved.items()}
        name = f"{sum(map(ord, method)):07x}{seed}"
        make_run(folder, name, method, seed, accuracy=accuracy, margin=MARGIN, **changes)


def joined(folder, margins=None):
    """Return the runs of a folder and their boards: a report without its figures."""
    found = collect([folder])
    return found, boards(found, summarise(found), margins or {})


def told(folder):
    """Return the leaderboard of a folder's runs as text."""
    return markdown(joined(folder)[1])


def shown(folder):
    """Return the page of a folder's runs."""
    return page(*joined(folder), [], folder)


def table_of(folder, margins=None):
    """Return the rows of verdicts.csv by method, metric and split."""
    table = csv_rows([board.verdicts for board in joined(folder, margins)[1]])
    return table.set_index(["variant", "metric", "split"]).sort_index()


def verdicts(folder, margins=None):
    return table_of(folder, margins)["verdict"].to_dict()


@pytest.fixture
def three(tmp_path):
    for method, away in (("same", 0.001), ("other", 0.3), ("between", 0.0195)):
        runs(tmp_path / "outputs", method, away)
    return tmp_path / "outputs"


def test_the_three_verdicts(three):
    found = verdicts(three)
    assert found["same", "accuracy", "forget"] == "equivalent"
    assert found["other", "accuracy", "forget"] == "different"
    assert found["between", "accuracy", "forget"] == "different"  # by .0195, which is not shown to be below .02
    lines = told(three).partition("### Verdicts")[2].splitlines()
    assert "forget accuracy ± 0.02" in lines[2] and lines[2].endswith("| seeds |")
    assert next(line for line in lines if line.startswith("| same |")).startswith(
        "| same | equivalent | equivalent, p "
    )
    assert "p is adjusted for the 3 methods of this board" in "\n".join(lines)


def test_a_margin_of_the_command_counts_before_that_of_the_runs(three):
    assert verdicts(three, {"accuracy": 0.4})["other", "accuracy", "test"] == "equivalent"
    assert verdicts(three, {"accuracy": 0.001})["same", "accuracy", "test"] != "equivalent"
    assert verdicts(three, {"rate": 0.4})["other", "accuracy", "test"] == "equivalent"


def test_a_gap_to_clean_is_tested_itself_and_a_gap_to_retrained_takes_a_margin_by_either_name(tmp_path):
    for seed, away in enumerate(SPREAD):
        rows = [(role, "test", "gap_to_clean", repr(-0.1 + away)) for role in ("retrained", "unlearned")]
        headline = {"corrective": [["gap_to_clean", "test"]]}
        make_run(tmp_path, f"{seed:08x}", seed=seed, margin=MARGIN, headline=headline, further=rows)
    assert ("distill", "gap_to_clean", "test") not in table_of(tmp_path).index
    found = table_of(tmp_path, {"gap_to_clean": 0.15, "gap_accuracy": 0.3}).loc["distill"]
    assert found.loc["gap_to_clean", "test"]["verdict"] == "equivalent"
    assert found.loc["gap_to_clean", "test"]["difference"] == pytest.approx(-0.1)
    assert found.loc["accuracy", "test"]["margin"] == 0.3


def test_a_report_has_a_file_of_all_tests(three, tmp_path):
    table = pandas.read_csv(write([three], tmp_path / "report", {"accuracy": 0.03}) / "verdicts.csv")
    assert set(table["margin"]) == {0.03} and set(table["dataset"]) == {"d"} and len(table) == 9
    assert (table["verdict"] == "equivalent").sum() == 6


def test_p_is_adjusted_for_the_methods_of_the_board(tmp_path):
    alone, many = tmp_path / "alone", tmp_path / "many"
    runs(alone, "same", 0.001)
    for number in range(6):
        runs(many, "same" if not number else f"m{number}", 0.001)
    p = [table_of(folder).loc[("same", "accuracy", "test")] for folder in (alone, many)]
    assert p[1]["p_equivalent"] == pytest.approx(6 * p[0]["p_equivalent"])
    assert (p[0]["family"], p[1]["family"]) == (1, 6)


def test_one_seed_decides_nothing_and_two_noisy_ones_little(tmp_path):
    runs(tmp_path / "one", "other", 0.3, seeds=1)
    assert set(verdicts(tmp_path / "one").values()) == {"undecided"}
    text = told(tmp_path / "one")
    assert "One seed shows no equivalence" in text and "without 19 retrained models" in text
    for seed, away in enumerate((0.3, 0.02)):
        accuracy = {"retain": 0.95 - away, "forget": away, "test": 0.85 - away}
        make_run(tmp_path / "two", f"aaaaaaa{seed}", "noisy", seed, margin=MARGIN, accuracy=accuracy)
    assert set(verdicts(tmp_path / "two").values()) == {"undecided"}
    assert "2 seeds are too few to tell" in told(tmp_path / "two")


def test_few_rows_show_nothing(tmp_path):
    for seed in range(3):
        make_run(tmp_path, f"aaaaaaa{seed}", "m", seed, margin=MARGIN, scored={"forget": 20, "test": 5000},
                 accuracy={split: value + 0.01 * seed for split, value in TARGET.items()})  # fmt: skip
    found = verdicts(tmp_path)
    assert found["m", "accuracy", "forget"] == "undecided" and found["m", "accuracy", "test"] == "equivalent"


def test_without_a_margin_there_is_no_verdict(tmp_path):
    make_run(tmp_path, "aaaaaaa1")
    assert "Verdict" not in told(tmp_path) + shown(tmp_path)


def test_a_distance_to_retrained_needs_two_references(three):
    assert "JS to retrained has no verdict: it needs reference.count=2 or more." in told(three)


@pytest.mark.slow
def test_two_hundred_methods_are_two_hundred_lines(tmp_path):
    for number in range(200):
        make_run(tmp_path, f"{number:08x}", f"m{number:03}", margin=MARGIN)
    lines = told(tmp_path).partition("### Verdicts")[2]
    assert sum(line.startswith("| m") for line in lines.splitlines()) == 201
    assert max(len(line) for line in lines.splitlines() if line.startswith("|")) < 200


def test_mistakes_of_margins_are_told(three, tmp_path):
    for word in ("accuracy", "accuracy=none", "accuracy=0", "=0.1", "accuracy=nan"):
        with pytest.raises(UserError, match=r"Try: --margin accuracy=0\.01"):
            main([str(three), "--to", str(tmp_path / "r"), "--margin", word])
    with pytest.raises(UserError, match="Did you mean 'accuracy'"):
        write([three], tmp_path / "r", {"acuracy": 0.1})


def exposed(run, rows, picture=None):
    header = "index,id,answer,question,score,unlearned,retrained,spread\n"
    (run / "exposed.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    if picture:
        (run / "exposed").mkdir()
        for row in rows:
            (run / "exposed" / f"{row.partition(',')[0]}.png").write_bytes(picture)
    sums.write(run)


def png():
    kept = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(kept, format="PNG")
    return kept.getvalue()


def test_the_page_shows_pictures_and_escapes_what_rows_say(tmp_path):
    one, two = (make_run(tmp_path, f"aaaaaaa{seed}", "distill", seed) for seed in range(2))
    exposed(one, ["7,<b>id</b>,shirt,,4.5,5,0.5,1.0", "9,,coat,,3,4,1,1.0"], png())
    exposed(two, ["9,,coat,,5,6,1,1.0", "4,,shoe,,4,5,1,1.0"], png())
    exposed(make_run(tmp_path, "bbbbbbb1", "finetune"), ['3,,<script>yes</script>,"What, & why?",1.5,2,.5,'])
    text = shown(tmp_path)
    assert text.count("<figcaption>") == 2
    assert "<script>yes" not in text and "&lt;script&gt;yes" in text and "What, &amp; why?" in text
    assert text.index("row 9") < text.index("&lt;b&gt;id&lt;/b&gt;")  # in both seeds' lists
    assert "+4.0, 2 of 2" in text and "distill: +4.5 to +4.0 standard deviations, 2 seeds" in text
    assert "finetune: +1.5 to +1.5 log odds" in text


def test_damaged_lists_are_left_out(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("unlearnbench"), "propagate", True)
    for number, row in enumerate(("../../x,,a,,1,1,0,1", "1,,a,,inf,1,0,1", "1,,a", "1,,a,,b,1,0,1")):
        exposed(make_run(tmp_path / str(number), f"aaaaaaa{number}"), [row])
        text = shown(tmp_path / str(number))
        assert "most exposed" not in text and "exposed.csv is damaged" in caplog.text
        caplog.clear()


def test_a_file_that_is_no_picture_is_not_shown(tmp_path):
    run = make_run(tmp_path, "aaaaaaa1")
    exposed(run, ["7,,shirt,,3.5,4,0.5,1.0"], b"<svg onload=alert(1)>")
    text = shown(tmp_path)
    assert "shirt" in text and "data:image/png;base64,PHN2Zy" not in text


def test_only_the_nearest_methods_rows_are_shown(tmp_path):
    for number in range(12):
        run = make_run(tmp_path, f"aaaaaa{number:02}", f"m{number:02}", accuracy={**TARGET, "test": 0.8 - number / 100})
        exposed(run, ["7,,shirt,,3.5,4,0.5,1.0"])
    text = shown(tmp_path)
    assert text.count("<summary>m") == 10
    assert "Those of 2 more methods" in text
