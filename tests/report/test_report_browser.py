"""report.html in a real browser: it sorts, filters, fits a phone, loads nothing, and shows markup as text."""

from __future__ import annotations

from urllib.parse import unquote

import pytest

from browser import Browser, needs_browser
from run_folders import make_run
from unlearnbench.files import sums
from unlearnbench.plots import report as plots
from unlearnbench.report import write

pytestmark = needs_browser
ODD = (
    "<script>document.title='owned'</script>",
    "a|b",
    "$x_1$",
    "\N{RIGHT-TO-LEFT OVERRIDE}evil",
    "'\"><b>q",
    "n" * 90,
)
FIRST = ".board:not([hidden]) table"


def shown(browser, table=0):
    """Return the names in the rows of a visible board's table."""
    return browser.run(
        f"[...document.querySelectorAll('{FIRST}')[{table}].tBodies[0].rows]"
        ".filter(row => !row.hidden).map(row => row.cells[0].textContent)"
    )


def click(browser, title):
    """Sort the first board by a column, and return its aria-sort."""
    head = f"[...document.querySelectorAll('{FIRST} thead th')].find(one => one.textContent === '{title}')"
    browser.run(f"{head}.querySelector('button').click()")
    return browser.run(f"{head}.getAttribute('aria-sort')")


def put(browser, name, value):
    """Fill in a filter as a user does."""
    field = f"document.forms[0].elements['{name}']"
    browser.run(f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('input', {{bubbles: true}}))")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of five methods on two forget sets, and of odd names on a third; one ratio is missing."""
    folder = tmp_path_factory.mktemp("page")
    for number, (method, retain, cost) in enumerate(
        (("npo", 0.91, 0.5), ("scrub", 0.95, 10.0), ("ssd", 0.89, None), ("finetune", 0.93, 2.0), ("none", 0.9, 0.01))
    ):
        for at, forget in enumerate(("class:a", "random:0.1")):
            accuracy = {"retain": retain, "forget": 0.3, "test": 0.8}
            make_run(folder, f"aaaaa{at}{number:02}", method, accuracy=accuracy, forget=forget, cost_ratio=cost)
    make_run(folder, "bbbbbbb1", "odd", experiment=" ".join(ODD), forget="class:odd")
    make_run(folder, "bbbbbbb2", '"a|b" $x_1$ <b>', forget="class:odd", experiment=" ".join(ODD))
    (run,) = (folder / "runs").glob("npo*_aaaaa000")
    (run / "run.log").write_text("what happened\n")
    sums.write(run)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "MOST", 1)
        return write([folder], folder / "report") / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser() as one:
        yield one


def test_numbers_sort_as_numbers_with_references_on_top_and_missing_ones_last(browser, page):
    browser.open(page)
    top, ranked = ["retrained", "original"], shown(browser)
    assert click(browser, "cost ratio") == "ascending"
    assert shown(browser) == [*top, "none", "npo", "finetune", "scrub", "ssd"]
    assert click(browser, "cost ratio") == "descending"
    assert shown(browser) == [*top, "scrub", "finetune", "npo", "none", "ssd"]
    assert click(browser, "cost ratio") == "none" and shown(browser) == ranked
    assert click(browser, "method") == "ascending"
    assert shown(browser) == [*top, "finetune", "none", "npo", "scrub", "ssd"]
    browser.run("document.querySelectorAll('.board thead button')[1].focus()")
    browser.press("Enter")
    assert shown(browser) == [*top, "ssd", "none", "npo", "finetune", "scrub"]


def test_filters_hide_rows_and_boards_and_say_how_many_are_left(browser, page):
    browser.open(page)
    put(browser, "find", "NP, scrub")
    assert shown(browser) == ["retrained", "original", "scrub", "npo"]
    assert browser.run("document.forms[0].elements.count.value").startswith("2 of ")
    put(browser, "find", "")
    put(browser, "family", "ascent")
    assert shown(browser) == ["retrained", "original", "npo"]
    put(browser, "forget", "random:0.1")
    assert browser.run("document.querySelectorAll('.board:not([hidden])').length") == 1
    runs = "[...document.querySelectorAll('table')].find(one => one.textContent.includes('folder')).tBodies[0].rows"
    assert browser.run(f"[...{runs}].filter(row => !row.hidden).map(row => row.cells[3].textContent)") == ["random:0.1"]
    browser.run("document.forms[0].querySelector('[type=reset]').click()")
    assert (
        browser.run("new Promise(done => setTimeout(() => done(document.querySelectorAll('[hidden]').length), 20))")
        == 0
    )


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_the_page_fits_loads_nothing_and_runs_nothing_of_others(browser, page, width, scheme):
    browser.errors.clear()
    browser.requests.clear()
    browser.open(page, width, scheme)
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.errors == []
    assert [one for one in browser.requests if not one.startswith("data:")] == [page.as_uri()]
    assert browser.run("document.title") == "unlearnbench report"
    assert browser.run("document.scripts.length") == 1 and browser.run("document.querySelectorAll('b').length") == 0
    titles = browser.run("[...document.querySelectorAll('h3')].map(one => one.textContent)")
    assert any(all(name in title for name in ODD) for title in titles)
    back = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (back == "rgb(255, 255, 255)") == (scheme == "light")
    box = "document.querySelector('.board .scroll')"
    left = "getBoundingClientRect().left"
    moved = f"({box}.scrollLeft = 200, {box}.querySelector('tbody th').{left} - {box}.{left})"
    assert 0 <= browser.run(moved) < 5  # the first column stays
    hidden = (
        "[...document.querySelectorAll('img')].filter(one => !one.complete || !one.naturalWidth || !one.alt).length"
    )
    assert browser.run(hidden) == 0


def test_links_lead_to_the_files_of_a_run_and_of_a_figure(browser, page):
    browser.open(page)
    links = browser.run("[...document.querySelectorAll('td a, figcaption a')].map(one => one.getAttribute('href'))")
    assert links and all((page.parent / unquote(link)).exists() for link in links)
    assert not any(link.startswith(("/", "file:")) for link in links)
    assert any(link.endswith("aaaaa000/run.log") for link in links) and any(link.endswith(".svg") for link in links)


def test_a_script_that_is_not_the_pages_own_is_refused(browser, page, tmp_path):
    """Nothing gets through by the policy alone, should a value ever not be escaped."""
    changed = tmp_path / "changed.html"
    changed.write_text(page.read_text().replace("<h1>", "<script>document.title = 'owned'</script><h1>", 1))
    browser.open(changed)
    assert browser.run("document.title") == "unlearnbench report"
    assert any("Content Security Policy" in error for error in browser.errors)
