import io
import re
import subprocess
from pathlib import Path

import pytest
from rich.console import Console
from support.browser import CHROMIUM, FLAGS, Tags
from support.sample_rows import large, logs, row, table, unfinished

from bench.analysis.boards import boards
from bench.report.markdown import markdown, plain
from bench.report.page.page import MOST_ROWS, page
from bench.report.plots.draw import pictures
from bench.report.terminal import ON_SCREEN, terminal

REASON = "Lower <script>alert(1)</script> & retry."


@pytest.fixture(scope="module")
def html() -> str:
    rows = [row("triplet", seed, recall_at_1=0.5 + seed / 100) for seed in range(3)]
    rows += [row("proxy & co", seed, recall_at_1=0.6 + seed / 100) for seed in range(3)]
    rows += [
        row("a sum", seed, recall_at_1=0.4, kind="ensemble", members=["triplet", "proxy & co"]) for seed in range(3)
    ]
    rows += [unfinished("angular", 0, "failed", REASON)]
    found = table(rows)
    facts = [("Devices", "CPU <1>")]
    drawn = pictures(boards(found), logs(found))
    return page(boards(found), title="Losses & <more>", facts=facts, pictures=drawn)


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed to open the page with")
    return [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}"]


def test_tags_are_closed_and_every_text_is_escaped(html: str) -> None:
    tags = Tags(html)
    assert tags.open == []
    kinds = [attributes.get("class") for tag, attributes in tags.found if tag == "script"]
    assert kinds == [None, "pairs", None]
    assert "Lower &lt;script&gt;alert(1)&lt;/script&gt; &amp; retry." in html
    assert "<h1>Losses &amp; &lt;more&gt;</h1>" in html
    assert "CPU &lt;1&gt;" in html


def test_the_answer_comes_first_and_how_it_was_measured_last(html: str) -> None:
    heads = ("The answer</h2", "At a glance</h2", "How to read this</h2", "Devices</dt")
    order = [html.index(f">{head}>") for head in heads]
    assert order == sorted(order)
    assert html.index("is better than every other") < html.index("At a glance")


def test_where_nothing_is_known_there_is_no_answer() -> None:
    lone = boards(table([row("triplet")]))
    assert "The answer" not in page(lone, title="One") + markdown(lone, title="One")


def test_intervals_are_drawn_on_one_axis_in_the_row(html: str) -> None:
    """From the lowest to the highest end of the board."""
    drawn = re.findall(r'left:([\d.]+)%;right:([\d.]+)%"></span><span class="mean" style="left:([\d.]+)%', html)
    spans = [(float(low), 100 - float(right), float(mean)) for low, right, mean in drawn]
    assert len(spans) == 3
    assert min(low for low, _, _ in spans) == 0
    assert max(high for _, high, _ in spans) == pytest.approx(100)
    for low, high, mean in spans:
        assert mean == pytest.approx((low + high) / 2, abs=0.11)
    assert [mean for _, _, mean in spans] == sorted((mean for _, _, mean in spans), reverse=True)


def test_the_page_loads_nothing_from_elsewhere(html: str) -> None:
    for tag, attributes in Tags(html).found:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            value = attributes.get(name) or ""
            assert value.startswith(("#", "data:")) or not value, (tag, name, value)
    assert not re.search(r"@import|url\((?!#)", html)


def test_plots_are_inline_with_their_captions(html: str) -> None:
    tags = [tag for tag, _ in Tags(html).found]
    assert tags.count("svg") == tags.count("figcaption") == 7
    assert "NMI with its 95 % interval over seeds" in html


def test_both_colour_schemes_and_small_screens_are_named(html: str) -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in html
    assert 'name="viewport"' in html


def test_without_script_the_table_is_sorted_by_recall(html: str) -> None:
    assert html.index(">proxy &amp; co<") < html.index(">triplet<") < html.index(">a sum<")


def order_after(click: str, html: str, folder: Path, browser: list[str]) -> list[str]:
    """First cells of the scores after the heads named in `click` were clicked, as a browser has them."""
    heads = ("Objective", "Against baseline", "Kind", "Rank", "Ties", "Recall@1")
    clicks = "".join(
        f"document.querySelectorAll('.leaderboard .sortable > thead button')[{heads.index(head)}].click();"
        for head in click.split("+")
    )
    path = folder / "page.html"
    path.write_text(html.replace("</body>", f"<script>{clicks}</script></body>"), encoding="utf-8")
    command = [*browser, "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    scores = shown[shown.index("<section") :]
    return re.findall(
        r'<tr(?: class="fixed"| data-method="\d+" data-place="\d+")><th scope="row"[^>]*>.*?<bdi>([^<]*)</bdi>',
        scores.replace("\n", ""),
    )


@pytest.mark.parametrize(
    ("click", "order"),
    [
        ("Recall@1", ["proxy &amp; co", "triplet", "a sum", "chance level"]),
        ("Recall@1+Recall@1", ["a sum", "triplet", "proxy &amp; co", "chance level"]),
        ("Objective+Rank", ["proxy &amp; co", "triplet", "a sum", "chance level"]),
        ("Objective", ["a sum", "proxy &amp; co", "triplet", "chance level"]),
    ],
)
def test_a_click_sorts(click: str, order: list[str], html: str, tmp_path: Path, browser: list[str]) -> None:
    assert order_after(click, html, tmp_path, browser) == order


@pytest.mark.parametrize(("scheme", "paper"), [("0", (15, 20, 25)), ("1", (255, 255, 255))], ids=["dark", "light"])
def test_a_browser_paints_both_schemes(
    scheme: str, paper: tuple[int, ...], html: str, tmp_path: Path, browser: list[str]
) -> None:
    from PIL import Image

    path, shot = tmp_path / "page.html", tmp_path / "page.png"
    path.write_text(html, encoding="utf-8")
    settings = [f"--blink-settings=preferredColorScheme={scheme}", "--window-size=900,1600", f"--screenshot={shot}"]
    subprocess.run([*browser, *settings, path.as_uri()], capture_output=True, timeout=120, check=True)
    with Image.open(shot) as image:
        pixels = image.convert("RGB")
        assert pixels.getpixel((2, 2)) == paper
        assert len(pixels.getcolors(1 << 24) or []) > 50


def test_no_board_is_wider_than_a_phone(html: str, tmp_path: Path, browser: list[str]) -> None:
    path = tmp_path / "page.html"
    told = "<script>document.title = document.documentElement.scrollWidth <= innerWidth</script></body>"
    path.write_text(html.replace("</body>", told), encoding="utf-8")
    command = [*browser, "--window-size=500,900", "--dump-dom", path.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>true</title>" in shown


def test_the_page_and_the_terminal_leave_to_the_markdown_what_is_too_long_for_them() -> None:
    found = boards(large(datasets=1, backbones=1, objectives=MOST_ROWS + 5, seeds=1))
    whole, html = markdown(found, title="Long"), page(found, title="Long").partition("<section")[2].partition("<h3>")[0]
    console = Console(file=io.StringIO(), width=100)
    console.print(terminal(found))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    labels = [line.label for line in found[0].lines]
    assert all(f"| {plain(label)} |" in whole for label in labels)
    assert [f'{label.lower()}"' in html for label in labels] == [True] * MOST_ROWS + [False] * 5
    assert "5 more rows of this table are in README.md" in html
    assert "chance level" in html
    assert f"and {len(labels) - ON_SCREEN} more lines" in shown
    assert "chance level" in shown
    assert labels[ON_SCREEN - 1] in shown
