"""Text of somebody else's in CSV, in Markdown and in a terminal: shown as it is, and nothing more."""

from __future__ import annotations

import csv
import io
import re

import pandas
import pytest
from markdown_it import MarkdownIt

from unlearnbench.files.escapes import csv_cell, csv_table, in_markdown, printable

HONEST = ["", "distill", "class:a", "-1.5", "+3e-4", "-inf", "+.5", "timm_x", "a=b", "a-b", "'quoted", "Ärzte", "a, b"]
FORMULAS = [
    "=1+1", "+1+1", "-2+3+cmd|' /C calc'!A0", "@SUM(1)", "\t=1", "\r=1", "\n=1", "=HYPERLINK(\"http://x\")", "--1", "-",
    "\N{FULLWIDTH EQUALS SIGN}1", "+1\n", "-1\t",
]  # fmt: skip
MARKUP = [
    "a|b", "[link](http://x.org)", "![i](http://x.org/i.png)", "<script>alert(1)</script>", "`code`", "a\nb\n\n# c",
    "a\\|b", "\\",
    "http://x.org", "HTTPS://x.org", "www.x.org", "<http://x.org>", "&lt;b&gt;", "&#91;x](y)", "a\r\n| b |",
    "[x]: http://x.org", "``` sh", "\\[x](http://x.org)", "\\`a`", "mailto:a@b.org", "a\u2028b", "a\x1b[31mb",
]  # fmt: skip


@pytest.mark.parametrize("text", HONEST)
def test_honest_cells_stay(text):
    assert csv_cell(text) == text


@pytest.mark.parametrize("text", FORMULAS)
def test_no_cell_begins_a_formula(text):
    assert csv_cell(text).startswith("'")
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerow(["x", csv_cell(text), "y"])
    assert len(list(csv.reader(io.StringIO(file.getvalue(), newline="")))) == 1


@pytest.mark.parametrize("value", [-1.5, 3, None, True, float("nan")])
def test_what_is_no_text_stays(value):
    assert csv_cell(value) is value


def test_no_line_end_within_a_cell_begins_a_row(tmp_path):
    table = pandas.DataFrame({"a": ["x\r=cmd()", "x\r\n=cmd()"], "b": [1, -2]})
    csv_table(table).to_csv(tmp_path / "t.csv", index=False, lineterminator="\n")
    raw = (tmp_path / "t.csv").read_bytes()
    assert b"\r" not in raw and raw.count(b'"') == 4
    assert list(csv.reader(raw.decode().splitlines(keepends=True)))[1] == ["x\n=cmd()", "1"]


def test_a_table_without_formulas_is_written_as_before():
    table = pandas.DataFrame(
        {"a": ["x", "-1.5", ""], "b": [1.5, float("nan"), -3.0], "c": [True, "", False], "d": [1, None, "x"]}
    )
    assert csv_table(table).to_csv(index=False) == table.to_csv(index=False)


def test_a_byte_that_is_no_text_can_be_written():
    assert csv_cell("a\udcff").encode() == b"a?"
    assert printable("a\udcff\x1b[2J\u202eb") == "a  [2J b"


@pytest.mark.parametrize("text", MARKUP)
def test_markdown_shows_the_text_and_makes_nothing_of_it(text):
    page = "\n".join(
        ["| method | seeds |", "|---|---|", f"| {in_markdown(text)} | 3 |", "", f"said: {in_markdown(text)}"]
    )
    html = MarkdownIt("commonmark").enable("table").render(page)
    tags = set(re.findall(r"<(\w+)", html))
    assert tags == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    cells = re.findall(r"<td>(.*?)</td>", html)
    assert len(cells) == 2 and cells[1] == "3"
    shown = MarkdownIt("zero").render(printable(text).strip()).removeprefix("<p>").strip().removesuffix("</p>")
    assert cells[0] == shown
    assert not re.search(r"(?i)(https?|ftp|mailto):\w*//|(?<!\\)www\.", in_markdown(text))
