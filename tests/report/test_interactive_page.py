"""The leaderboard of the page in a real browser: baseline, details, filter, theme; by mouse, by keys and on paper."""

import base64
import importlib.util
import math
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from support.browser import CHROMIUM, Browser, opened
from support.sample_rows import large, logs, row, table
from support.stored_boards import SCORES, stored_rows, write_rows

from bench.analysis.board_comparison import Comparison, Range
from bench.analysis.boards import boards
from bench.analysis.changes import changes
from bench.analysis.methods_of_rows import Source
from bench.analysis.pair_table import MOST_PAIRED
from bench.analysis.two_methods import compare
from bench.analysis.verdict_text import probability
from bench.report.changes import Since
from bench.report.gallery import BUDGET
from bench.report.page.page import page
from bench.report.plots.draw import pictures

HOSTILE = (
    '<img src="http://127.0.0.1:9/x" onerror="alert(1)">',
    "</script><script>alert(1)</script>",
    "\"quoted\" 'twice' & `so` ${on}",
    "long" * 75,
    "خسارة ثلاثية (هامش 0.2)",
)
ROWS = 'document.querySelectorAll("tr[data-place]")'
LABELS = f'[...{ROWS}].filter(row => !row.hidden).map(row => row.querySelector("bdi").textContent)'
GAPS = f"""[...{ROWS}].map(row => [row.querySelector("bdi").textContent,
  row.querySelector(".gap")?.textContent ?? ""])"""
WIDTHS = "[document.documentElement.scrollWidth, innerWidth]"
PAPER = "getComputedStyle(document.body).backgroundColor"
DARK, LIGHT = "rgb(15, 20, 25)", "rgb(255, 255, 255)"


def clicked(place: int, what: str = ".baseline") -> str:
    return f"document.querySelector('tr[data-place=\"{place}\"] {what}').click()"


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    found = [*stored_rows(), row("alone", 0, recall_at_1=0.66)]
    found += [row("control of best", seed, kind="control", recall_at_1=0.7 + seed / 100) for seed in range(3)]
    levels = enumerate(HOSTILE, start=1)
    found += [row(label, seed, recall_at_1=at / 10 + seed / 200) for at, label in levels for seed in range(3)]
    return table(found)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed to open the page with")
    with opened(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def file(rows: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "index.html"
    found = boards(rows)
    since = Since(HOSTILE[0], changes(Source(path, rows), Source(path, rows[rows["objective"] != "best"])))
    text = page(found, title="Losses", pictures=pictures(found, logs(rows)), since=since)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def shown(file: Path, browser: Browser) -> Iterator[Browser]:
    """The page as it is opened first; whatever is done to it, nothing is complained about and nothing asked for."""
    browser.screen(1440)
    browser.open(file)
    browser.js("localStorage.clear()")
    browser.reload()
    yield browser
    assert browser.problems() == []


def points(value: float, sign: str = "") -> str:
    return f"{round(100 * value, 1) + 0.0:{sign}.1f}".replace("-", "−")


def said(pair: Comparison) -> str:
    """What the row of A shows where B is the baseline."""
    number = points(pair.difference, "+" if round(pair.difference, 3) else "")
    low, high = pair.interval
    interval = "" if math.isnan(low) else f" ({points(low)} to {points(high)})"
    if math.isnan(pair.p):
        return f"{number}{interval}? no verdict: {pair.reason}"
    verdict = "= cannot be told apart" if not pair.separated else "▲ better" if pair.difference > 0 else "▼ worse"
    return f"{number}{interval}{verdict}, p {probability(pair.p)}"


def test_every_row_against_every_baseline_reads_as_bench_compare_has_it(
    rows: pd.DataFrame, shown: Browser, tmp_path: Path
) -> None:
    (board,) = compare(results=write_rows(tmp_path / "rows.parquet", rows.to_dict("records"))).boards
    assert len(board.methods) == len(SCORES) + len(HOSTILE) + 1
    swapped = [
        pair._replace(a=pair.b, b=pair.a, difference=-pair.difference, interval=Range(-high, -low))
        for pair in board.pairs
        for low, high in [pair.interval]
    ]
    expected = {(pair.a, pair.b): said(pair) for pair in (*board.pairs, *swapped)}
    seen = {}
    for place in range(len(board.methods)):
        shown.js(clicked(place))
        base = shown.js('document.querySelector("tr.base bdi").textContent')
        for label, text in shown.js(GAPS):
            if label == base:
                assert text == ""
            else:
                seen[label, base] = text
    assert seen == expected
    for verdict in ("▲ better", "▼ worse", "= cannot be told apart", "? no verdict"):
        assert any(verdict in text for text in seen.values())


def test_the_other_side_of_a_pair_has_the_other_sign(rows: pd.DataFrame, shown: Browser, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.parquet", rows.to_dict("records"))
    for a, b in (("best", "second"), ("second", "best"), ("last", "third"), ("alone", "best")):
        (board,) = compare(a, b, results=file).boards
        shown.js(f"[...{ROWS}].find(row => row.querySelector('bdi').textContent === '{b}')"
                 ".querySelector('.baseline:not([aria-pressed=true])')?.click()")  # fmt: skip
        assert dict(shown.js(GAPS))[a] == said(board.pairs[0])


FADED = """[...document.querySelectorAll("svg")].map(figure => [...figure.querySelectorAll("[data-method]")].map(
  mark => [mark.dataset.method, +getComputedStyle(mark).opacity]))"""


@pytest.mark.parametrize("where", ["tr[data-place='1'] th", "svg [data-method='1']"])
def test_a_method_that_is_pointed_at_stands_out_in_every_figure_that_shows_it(shown: Browser, where: str) -> None:
    method = shown.js("document.querySelector('tr[data-place=\"1\"]').dataset.method")
    assert method == "1"
    shown.point(where)
    figures = shown.js(FADED)
    with_it = [dict(map(tuple, marks)) for marks in figures if method in dict(marks)]
    assert len(with_it) >= 3
    for marks in figures:
        faint = method in dict(marks)
        assert all(opacity == (0.15 if faint and one != method else 1) for one, opacity in marks)
    shown.point("h1")
    assert {opacity for marks in shown.js(FADED) for _, opacity in marks} == {1}


def test_the_keyboard_points_as_the_mouse_does(shown: Browser) -> None:
    shown.js("document.querySelector('tr[data-place=\"1\"] .opener').focus()")
    assert {opacity for marks in shown.js(FADED) for _, opacity in marks} == {0.15, 1}


def test_choosing_the_baseline_again_goes_back(shown: Browser) -> None:
    before = shown.js(LABELS)
    shown.js(clicked(2))
    assert "Baseline: " in shown.js('document.querySelector(".state").textContent')
    for _ in range(2):
        shown.js('document.querySelector("th.against button").click()')
    assert shown.js(LABELS) != before
    shown.js(clicked(2))
    assert shown.js(LABELS) == before
    assert shown.js('document.querySelectorAll(".gap, tr.base, [aria-pressed=true], [aria-sort]").length') == 0
    assert shown.js('document.querySelector(".state").textContent') == ""


def test_filter_sort_and_baseline_work_together(shown: Browser) -> None:
    """A row that is filtered out is not moved or lost; the baseline stays; details follow their row."""
    shown.js(clicked(1))
    base = shown.js('document.querySelector("tr.base bdi").textContent')
    shown.js('document.querySelector(".tools input").focus()')
    shown.write("on")
    found = shown.js(LABELS)
    assert base in found
    assert 1 < len(found) < len(HOSTILE) + len(SCORES)
    assert all("on" in label for label in found if label != base)
    assert "of 11 rows" in shown.js('document.querySelector(".tools [role=status]").textContent')
    shown.js('document.querySelector("th.against button").click()')
    assert shown.js('document.querySelector("th.against").getAttribute("aria-sort")') == "descending"
    gaps = dict(shown.js(GAPS))
    numbers = [float(gaps[label].partition(" ")[0].replace("−", "-") or 0) for label in shown.js(LABELS)]
    assert numbers == sorted(numbers, reverse=True)
    places = '[...document.querySelectorAll("tr.details")].every(row => row.previousElementSibling.querySelector('
    assert shown.js(f'{places}".opener").getAttribute("aria-controls") === row.id)')
    shown.js('document.querySelector(".tools input").value = ""; document.querySelector(".tools input").oninput()')
    assert len(shown.js(LABELS)) == len(HOSTILE) + len(SCORES) + 1


def test_a_control_is_no_baseline_and_is_not_compared(shown: Browser) -> None:
    shown.js(clicked(0))
    control = "[...document.querySelectorAll('tr')].find(row => row.textContent.includes('control of best'))"
    assert shown.js(f"{control}.querySelectorAll('.baseline').length") == 0
    assert "not compared" in shown.js(f"{control}.querySelector('.against').textContent")


def reach(browser: Browser, selector: str) -> None:
    """Press Tab until the focus is there."""
    for _ in range(60):
        browser.press("Tab")
        if browser.js(f"document.activeElement.matches('{selector}')"):
            return
    raise AssertionError(f"Tab never reaches {selector}")


def test_all_of_it_works_by_keyboard_alone(shown: Browser) -> None:
    reach(shown, ".leaderboard th[aria-sort] button, .leaderboard thead th:first-child button")
    shown.press("Enter")
    assert shown.js('document.querySelector(".leaderboard thead th").getAttribute("aria-sort")') == "ascending"
    reach(shown, ".opener")
    shown.press("Enter")
    opened_row = "document.getElementById(document.activeElement.getAttribute('aria-controls'))"
    assert shown.js("document.activeElement.getAttribute('aria-expanded')") == "true"
    assert shown.js(f"{opened_row}.querySelector('.sheet').checkVisibility()")
    shown.press(" ")
    assert shown.js("document.activeElement.getAttribute('aria-expanded')") == "false"
    assert not shown.js(f"{opened_row}.querySelector('.sheet').checkVisibility()")
    reach(shown, ".baseline")
    shown.press(" ")
    assert shown.js("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert shown.js("document.activeElement.closest('tr').classList.contains('base')")
    shown.press("Enter")
    assert shown.js("document.activeElement.getAttribute('aria-pressed')") == "false"


def test_the_focus_stays_where_it_is_when_rows_move(shown: Browser) -> None:
    shown.js(clicked(0))
    shown.js('document.querySelector("th.against button").click()')
    shown.js("document.querySelector('tr[data-place=\"3\"] .baseline').focus()")
    shown.press("Enter")
    assert shown.js("document.activeElement.closest('tr').dataset.place") == "3"


def test_a_theme_is_kept_for_the_next_visit(shown: Browser) -> None:
    assert shown.js(PAPER) == LIGHT
    shown.js("document.querySelector('.themes input:checked').focus()")
    shown.press("ArrowRight", "ArrowRight")
    assert shown.js("document.activeElement.value") == "dark"
    assert shown.js(PAPER) == DARK
    shown.reload()
    assert (shown.js(PAPER), shown.js("document.querySelector('.themes :checked').value")) == (DARK, "dark")
    shown.js("document.querySelector('.themes [value=light]').click()")
    shown.screen(1440, dark=True)
    assert shown.js(PAPER) == LIGHT
    shown.js("document.querySelector('.themes [value=system]').click()")
    assert shown.js(PAPER) == DARK
    shown.reload()
    assert shown.js("document.querySelector('.themes :checked').value") == "system"


def test_where_nothing_may_be_kept_the_theme_still_switches(file: Path, browser: Browser) -> None:
    browser.events.clear()
    browser.screen(1440)
    browser("Page.navigate", url="data:text/html;base64," + base64.b64encode(file.read_bytes()).decode())
    browser._loaded()
    assert browser.js("(() => { try { return !localStorage } catch { return true } })()")
    browser.js("document.querySelector('.themes [value=dark]').click()")
    assert browser.js(PAPER) == DARK
    assert browser.problems() == []


def test_paper_has_all_details_and_is_white(shown: Browser) -> None:
    shown.js("document.querySelector('.themes [value=dark]').click()")
    every = '[...document.querySelectorAll(".sheet")].map(sheet => sheet.getBoundingClientRect().height > 20)'
    assert not any(shown.js(every))
    shown.screen(1000, media="print")
    assert all(shown.js(every))
    assert shown.js(PAPER) == LIGHT
    assert not shown.js("document.querySelector('.baseline').checkVisibility()")


def test_without_script_every_text_is_there(file: Path, browser: Browser) -> None:
    browser.screen(1440)
    browser("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(file)
        assert browser.js("document.querySelectorAll('button').length") == 0
        assert browser.js(
            "[...document.querySelectorAll('td > details > summary')].every(summary => summary.checkVisibility())"
        )
        browser.screen(1000, media="print")
        assert browser.js(
            '[...document.querySelectorAll(".sheet")].every(one => one.getBoundingClientRect().height > 20)'
        )
    finally:
        browser("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("width", [1440, 820, 390])
def test_whatever_a_label_is_the_page_is_no_wider_than_the_screen(width: int, shown: Browser) -> None:
    shown.screen(width)
    shown.js(clicked(1))
    shown.js(f"for (const row of {ROWS}) row.querySelector('.opener').click()")
    assert set(HOSTILE) <= set(shown.js(LABELS))
    wide, screen = shown.js(WIDTHS)
    assert wide <= screen
    assert shown.js("[...document.querySelectorAll('.opener')].every(one => one.scrollWidth <= one.clientWidth + 1)")


def test_same_rows_give_the_same_bytes(rows: pd.DataFrame) -> None:
    assert page(boards(rows), title="One") == page(boards(rows[::-1]), title="One")


def test_only_a_board_whose_pairs_are_few_has_baselines() -> None:
    few, many = (
        page(boards(large(datasets=1, backbones=1, objectives=count, seeds=2)), title="One")
        for count in (MOST_PAIRED, MOST_PAIRED + 1)
    )
    assert few.count('class="pairs"') == 1
    assert 'class="pairs"' not in many


def test_forty_methods_on_four_datasets_stay_a_small_page() -> None:
    """Under 5 MB, whatever the galleries take of what they may."""
    rows = large(datasets=4, backbones=1, objectives=40, seeds=3)
    drawn = pictures(boards(rows), logs(rows))
    found = page(boards(rows), title="Many", pictures=drawn)
    assert found.count('class="pairs"') == 4
    assert found.count("<svg") > 20
    assert len(found.encode()) < 5_000_000 - BUDGET


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious(dark: bool, shown: Browser) -> None:
    there = importlib.util.find_spec("axe_core_python")
    if there is None or there.origin is None:
        pytest.skip("axe-core-python is not installed, which has the rules of accessibility to check the page by")
    shown.js((Path(there.origin).parent / "axe.min.js").read_text(encoding="utf-8") + "; 0")
    shown.screen(1000, dark=dark)
    shown.js(clicked(1) + ";" + clicked(0, ".opener"))
    found = shown.js(
        "axe.run().then(found => found.violations.map(one => [one.impact, one.id, one.nodes[0].html.slice(0, 300), "
        "one.nodes[0].failureSummary]))"
    )
    assert [one for one in found if one[0] in ("serious", "critical")] == []
