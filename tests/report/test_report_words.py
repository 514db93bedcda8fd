"""A board in words, and in print: its sentences agree with its verdicts, and its tables fit where they are shown."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path
from zlib import crc32

import pandas
import pytest
from rich.console import Console

from run_folders import make_run
from unlearnbench.commands.report import main
from unlearnbench.files import sums
from unlearnbench.report import Report, latex, numbers
from unlearnbench.report.bounds import bounds
from unlearnbench.report.collect import collect
from unlearnbench.report.leaderboard import boards
from unlearnbench.report.markdown import markdown
from unlearnbench.report.summary import summarise
from unlearnbench.report.terminal import LINES, show

TARGET = {"retain": 0.95, "forget": 0.0, "test": 0.85}
"""The retrained accuracies of seed 0 in a made-up run; each further seed has .01 more."""
SCORED = {"retain": 1000, "forget": 1000, "test": 1000}
NASTY = r"\input{x} $a_b$ & 100% #1 ^~ <b> [red]x | `c` é 中 ☃"


def runs(folder, method, away, seeds=3, draws=1, **changes):
    """Write a run a seed and draw, `away` from retrained in all accuracies, with a little spread."""
    for draw in range(draws):
        for seed in range(seeds):
            signs = {"retain": -1, "forget": 1, "test": -1}
            moved = {split: sign * (away + 0.001 * (seed - 1) + 0.0007 * draw) for split, sign in signs.items()}
            accuracy = {split: TARGET[split] + 0.01 * seed + one for split, one in moved.items()}
            name = f"{crc32(f'{method} {draw} {seed}'.encode()):08x}"
            drawn = {"forget": "random:0.1" + (f"@{draw}" if draw else ""), "draw": draw} if draws > 1 else {}
            more = {"margin": {"rate": 0.02}, "scored": SCORED, **drawn, **changes}
            make_run(folder, name, method, seed, accuracy=accuracy, **more)


def boards_of(folder):
    found = collect([folder])
    return found, boards(found, summarise(found), {})


def shorts(board):
    return {line.name: line.short for line in board.lines if line.role == "unlearned"}


def printed(found, width):
    console = Console(width=width, file=io.StringIO())
    show(Report(tuple(found[1]), found[0].left_out), Path("report"), console)
    return console.file.getvalue()


@pytest.fixture
def three(tmp_path):
    for method, away in (("same", 0.002), ("other", 0.3), ("none", 0.7)):
        runs(tmp_path / "o", method, away)
    return tmp_path / "o"


def test_words_agree_with_the_verdicts_and_name_the_splits(three):
    (board,) = boards_of(three)[1]
    said = " ".join(board.words)
    assert board.verdicts.overall == {"same": "equivalent", "other": "different", "none": "different"}
    short = shorts(board)
    assert short["same"] == "equivalent" and short["other"].startswith("different; nearer: forget; farther: retain")
    assert "Equivalent to retrained: same. Different from retrained: other, method=none." in said
    assert (
        "Nearer to retrained than the original was (t-tests over 3 seeds, Holm's correction), on forget: all 3" in said
    )
    assert "Farther from retrained than the original was, on retain: other, method=none; on test: " in said
    assert "not trained equally well: accuracy on retain 1.000 and 0.960" in said  # the original of make_run has 1
    assert "same is shown to be nearer to retrained than every other method of the board." in said


@pytest.mark.parametrize("away", [0.0, 0.001, 0.01, 0.0195, 0.03, 0.3])
def test_no_words_contradict_a_verdict(tmp_path, away):
    runs(tmp_path, "some", away)
    runs(tmp_path, "worse", 0.5)
    (board,) = boards_of(tmp_path)[1]
    for name, short in shorts(board).items():
        verdict = board.verdicts.overall[name]
        assert ("equivalent" in short, "different" in short) == (verdict == "equivalent", verdict == "different")
        for split in ("retain", "forget", "test"):
            if board.verdicts.of(name, "accuracy", split) == "equivalent":
                assert split not in short.partition("farther")[2]


def test_one_seed_is_said_to_show_little(tmp_path):
    runs(tmp_path, "some", 0.02, seeds=1)
    runs(tmp_path, "worse", 0.5, seeds=1)
    (board,) = boards_of(tmp_path)[1]
    said = " ".join(board.words)
    assert "one seed, so other seeds may differ" in said and "1 seed is too few to tell" in said
    assert "takes 3 seeds that methods share, and here they share 1" in said and not board.paired


def test_paired_differences_are_corrected_for_all_pairs_and_claim_no_equality(three):
    runs(three, "twin", 0.002)
    groups = boards_of(three)[1]
    table = pandas.DataFrame(groups[0].paired).set_index("variant")
    assert set(table["best"]) == {"same"} and set(table["pairs"]) == {6} and set(table["seeds"]) == {3}
    assert table.loc["other", "difference"] == pytest.approx(0.298)
    assert table.loc["other", "p_holm"] <= 0.05 < table.loc["twin", "p_holm"]
    assert "does not show that two methods are equally good" in markdown(groups)


def test_draws_of_a_forget_set_share_a_board_and_say_so(tmp_path):
    runs(tmp_path, "some", 0.02, draws=2)
    runs(tmp_path, "worse", 0.5, draws=2)
    found, (board,) = boards_of(tmp_path)
    assert "forgetting random:0.1, 2 draws" in board.title
    assert [line.counts for line in board.lines] == ["3 × 2 draws"] * 4
    assert any("joins 2 draws of the forget set" in remark for remark in board.remarks)
    assert board.noise == pytest.approx((0.01 + 0.01 + 0.02) / 3)  # of one draw: the pairs of three seeds
    row = summarise(found).query("variant == 'some' and metric == 'accuracy' and split == 'forget'").iloc[0]
    assert (row["seeds"], row["draws"], row["forget"]) == (3, 2, "random:0.1")
    assert set(found.results["forget"]) == {"random:0.1", "random:0.1@1"}
    assert {str(one["draws"]) for one in board.verdicts.rows} == {"2"}


def test_intervals_end_where_a_number_does(tmp_path):
    for seed, forget in enumerate((0.0, 0.0, 0.1)):
        accuracy = {"retain": 0.9, "forget": forget, "test": 0.8}
        make_run(tmp_path, f"aaaaaaa{seed}", seed=seed, accuracy=accuracy)
    found, (board,) = boards_of(tmp_path)
    row = summarise(found).query("role == 'unlearned' and metric == 'accuracy' and split == 'forget'").iloc[0]
    assert row["ci_low"] == 0.0 < row["ci_high"]
    line = board.lines[-1].cells()
    assert line[2].startswith("0.0333 (0.0000, 0.") and "±" in line[1]
    assert bounds("gap_accuracy") == (-1, 1) and bounds("floor_accuracy") == (0, 1) and bounds("p_accuracy") == (0, 1)
    assert bounds("gap_held_out_accuracy") == (-1, 1) and bounds("strangers") == (float("-inf"), float("inf"))


def test_the_terminal_has_tables_that_fit_and_no_markdown(tmp_path):
    for number in range(18):
        runs(tmp_path, f"method{number:02}", 0.01 * number, seeds=2)
    found = boards_of(tmp_path)
    for width in (60, 80, 120, 200):
        text = printed(found, width)
        lines = text.splitlines()
        assert max(map(len, lines)) <= width and len(lines) <= LINES + 6
        assert not any(line.lstrip().startswith(("|", "#")) for line in lines) and "**" not in text
        assert "method00" in text and "3 more methods" in text and "leaderboard.md" in text
        assert "…" not in text and re.search(r"method00 .*0?\.\d\d\d ", text)


def test_names_with_markup_are_shown_as_they_are(tmp_path):
    runs(tmp_path, NASTY, 0.1, seeds=1, forget="class:[bold]m[/] :smile:")
    text = printed(boards_of(tmp_path), 300)
    assert "forgetting class:[bold]m[/] :smile:" in text and "$a_b$ & 100% #1 ^~" in text
    board = markdown(boards_of(tmp_path)[1])
    assert "<b>" not in board and r"\[red\]" in board
    tex = latex.tables(boards_of(tmp_path)[1])
    assert r"\input{x}" not in tex and "U+4E2D" in tex and "é" in tex


def test_escaped_text_has_no_commands_of_its_own():
    escaped = latex.escaped(NASTY)
    rest = escaped
    for shown in sorted(latex.SPECIAL.values(), key=len, reverse=True):
        rest = rest.replace(shown, "")
    assert not set(rest) & set("\\{}$&#_%^~<>|`[]")
    assert all(unicodedata.category(letter) != "Cc" for letter in latex.escaped("a\nb\x00"))


def test_latex_marks_the_best_and_what_is_within_the_noise_floor_of_it(tmp_path):
    for method, away in (("best", 0.002), ("near", 0.008), ("far", 0.5)):
        runs(tmp_path, method, away)
    tex = latex.tables(boards_of(tmp_path)[1])
    lines = {line.split(" & ")[0]: line for line in tex.splitlines() if line.endswith(r"\\")}
    gap = {name: line.split(" & ")[4] for name, line in lines.items() if len(line.split(" & ")) > 4}
    assert r"{\boldmath$.002$}" in gap["best"] and r"\dagger" in gap["near"]
    assert r"\boldmath" not in gap["far"] and r"\dagger" not in gap["far"]
    for told in (r"\toprule", r"\bottomrule", "number of seeds: 3", r"95\,\%", r"$\dagger$: within the noise floor"):
        assert told in tex
    assert tex.count(r"\begin{") == tex.count(r"\end{") and tex.count("{") == tex.count("}")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex (texlive-latex-recommended)")
def test_the_document_compiles_whatever_the_names(tmp_path):
    for number in range(42):
        runs(tmp_path / "o", f"{NASTY} {number}", 0.01 * number, seeds=1)
    runs(tmp_path / "o", "[x]", 0.1, seeds=2, forget=f'class:"a"\'s--b {NASTY}')
    latex.write(tmp_path, boards_of(tmp_path / "o")[1])
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", latex.DOCUMENT],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "leaderboard_document.pdf").stat().st_size > 10_000


def changed(run, **changes):
    values = {**json.loads((run / "result.json").read_text()), **changes}
    (run / "result.json").write_text(json.dumps({key: value for key, value in values.items() if value is not ...}))
    sums.write(run)


def test_runs_of_other_versions_are_joined_and_a_damaged_one_is_named(tmp_path, capsys):
    runs(tmp_path / "o", "same", 0.002)
    older, newer, damaged = sorted((tmp_path / "o" / "runs").iterdir())
    changed(older, margin=..., scored=..., setting=..., versions={"unlearnbench": "0.0.9"}, method_setting=...)
    changed(newer, setting="", method_setting="", versions={"unlearnbench": "9.9"}, invented={"by": ["a", "later"]})
    (damaged / "metrics.csv").write_text("")
    assert main([str(tmp_path / "o"), "--to", str(tmp_path / "report")]) == 1
    assert "1 file or folder damaged and left out" in capsys.readouterr().out
    board, page = ((tmp_path / "report" / name).read_text() for name in ("leaderboard.md", "report.html"))
    assert "Runs of different versions are joined here: unlearnbench 0.0.9, 9.9." in board
    assert damaged.name in board and damaged.name in page and "Damaged and left out" in page
    assert len(pandas.read_csv(tmp_path / "report" / "runs.csv")) == 2
    (damaged / "metrics.csv").unlink()
    shutil.rmtree(damaged)
    assert main([str(tmp_path / "o"), "--to", str(tmp_path / "report")]) == 0


def test_zero_is_written_without_a_sign():
    assert [numbers.four(-0.00001), numbers.four(-0.5)] == ["0.0000", "-0.5000"]
    assert [numbers.three(-0.0004), numbers.three(0.0006)] == ["0.000", "0.001"]
