import re
import subprocess
from functools import cache
from html import unescape
from itertools import product
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.browser import CHROMIUM, FLAGS, Tags
from support.published_boards import ALIKE, board, dataset, measured, published
from support.sample_rows import history, logs, row, table

from bench.analysis import published as reading
from bench.analysis.boards import boards
from bench.analysis.literature import literature
from bench.report import write
from bench.report.literature import MOST_MEASURED, caution, literature_table
from bench.report.markdown import markdown, plain
from bench.report.page.page import page
from bench.report.plots.draw import Picture, pictures
from bench.report.plots.literature import FEWEST
from bench.scoring.names import NONE

MARKUP = '<b>mine</b> & "yours" | *theirs*'
ROWS = measured(dataset("cub200"), dataset("cars196"), dataset("inshop"))
BOARDS = boards(ROWS)


@cache
def all_pictures() -> list[Picture]:
    return pictures(BOARDS, logs(ROWS))


def section(html: str) -> str:
    """The section on the literature; empty where there is none."""
    return html.partition('<section id="literature">')[2].partition("</section>")[0]


def folded(text: str) -> str:
    return text.partition("\n## Literature\n")[2].partition("\n## ")[0]


def cells(html: str) -> list[list[str]]:
    """The texts of every row of a page's tables."""
    rows = re.findall(r"<tr>(.*?)</tr>", html, re.DOTALL)
    return [[unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<t[dh].*?</t[dh]>", row)] for row in rows]


@pytest.fixture(scope="module")
def html() -> str:
    return page(BOARDS, title="Losses", pictures=all_pictures())


def test_every_published_result_is_a_row_with_its_source_below_what_is_measured(html: str) -> None:
    whole, text = section(html), folded(markdown(BOARDS, title="Losses"))
    shown = [found for board in BOARDS if (found := literature(board))]
    assert len(shown) == 3
    for found in shown:
        assert caution(found) in whole
        assert caution(found) in text
    results = [one.result for found in shown for one in found.beside]
    assert whole.count('href="https://') == text.count("](https://") == len(results)
    assert all(f'href="{result.source}"' in whole and f"]({result.source})" in text for result in results)
    names = [row[0] for row in cells(whole) if len(row) > 1 and row[0] != "Method"]
    assert names == [name for found in shown for name in ("proxy_anchor", *(one.result.method for one in found.beside))]


def test_a_row_says_what_the_file_says() -> None:
    """The first lines of the raw file, read by hand."""
    found = literature(board(dataset("cub200")))
    assert found
    rows = {(row[0].text, row[-2].text): [cell.text for cell in row] for row in literature_table(found).rows}
    assert literature_table(found).heads == (
        *("Method", "Recall@1", "MAP@R", "NMI", "Width", "Year", "Trunk", "Kind", "Comparable", "Paper", "Source"),
    )
    facenet = "FaceNet / triplet semi-hard (Schroff et al., CVPR 2015)"
    assert rows["Triplet semi-hard", facenet][1:9] == [
        *("42.6", NONE, "55.4", "64", "2015", "BN-Inception", "loss", "no: other trunk and width"),
    ]
    own = rows["proxy_anchor", "measured here"]
    assert re.fullmatch(r"66\.3 ± \d\.\d", own[1])
    assert own[4:8] == ["512", NONE, "ResNet50", "loss"]


def test_nothing_published_is_subtracted_from_anything_measured(html: str) -> None:
    """No number of the page, shown or sorted by, is such a difference, and none has a sign."""
    whole, text = section(html), folded(markdown(BOARDS, title="Losses"))
    scores = [
        (line.scores[name].mean, one.result.scores[name])
        for board in BOARDS
        if (found := literature(board))
        for line, one in product(found.measured, found.beside)
        for name in ("recall_at_1", "nmi")
        if name in one.result.scores
    ]
    assert len(scores) > 200
    differences = {round(sign * (ours - theirs), 9) for ours, theirs in scores for sign in (1, -1)}
    orders = {round(float(order), 9) for order in re.findall(r'data-order="(-?[\d.]+)"', html)}
    assert orders.isdisjoint(differences - {0})
    shown_cells = [cell for row in cells(whole) for cell in row]
    shown_cells += [cell.strip() for line in text.split("\n") for cell in line.split(" | ")]
    assert not [cell for cell in shown_cells if re.match(r"[+−-]\s?\d|Here", cell)]


def test_a_difference_is_shown_where_all_is_known_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [ALIKE, {"method": "Another", "value": "61"}, {"method": "Third", "backbone": "", "value": "60"}]
    monkeypatch.setattr(reading, "FILE", published(tmp_path / "a.csv", *lines))
    one = board()
    rows = cells(section(page([one], title="One")))
    assert [row[2] for row in rows if len(row) > 2 and row[0] != "Method"] == [NONE, "+4.8", NONE, NONE]
    assert [row[7] for row in rows if len(row) > 2 and row[0] != "Method"] == [
        *(NONE, "yes", "unclear: crop, pretraining, epoch choice and interval unknown"),
        "unclear: trunk, crop, pretraining, epoch choice and interval unknown",
    ]
    assert "1 of 3 results are comparable with the first row" in markdown([one], title="One")


def test_markup_in_names_is_shown_letter_by_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"method": MARKUP, "paper": MARKUP, "backbone": MARKUP, "source_url": "https://example.org/?a=1&b=2'"}]
    monkeypatch.setattr(reading, "FILE", published(tmp_path / "a.csv", *lines))
    one = board(dataset().model_copy(update={"label": MARKUP}))
    whole, text = page([one], title="One"), folded(markdown([one], title="One"))
    assert "<b>mine" not in whole
    assert Tags(whole).open == []
    assert [row[0] for row in cells(section(whole))][-1] == MARKUP
    assert '<a href="https://example.org/?a=1&amp;b=2&#39;">example.org</a>' in whole
    assert "<b>mine" not in text
    assert f"| {plain(MARKUP)} |" in text
    assert len({line.count(" | ") for line in text.replace(r"\|", "").split("\n") if line.startswith("|")}) == 1


def test_without_published_results_there_is_no_section_and_no_plot() -> None:
    others = boards(table([row(seed=seed) for seed in range(2)]))
    small = boards(measured(dataset(size=64)))
    for found in (others, small):
        texts = page(found, title="One") + markdown(found, title="One")
        assert "No paper is known here" in texts
        assert "Literature" not in texts
        assert "literature" not in texts
    assert not [picture for picture in pictures(small, logs(measured(dataset(size=64)))) if "report" in picture.name]


def test_a_plot_has_one_mark_per_reported_recall_and_the_measured_line(html: str) -> None:
    drawn = [picture for picture in all_pictures() if picture.name.startswith("reported")]
    counts = {found.dataset: _reported(found) for board in BOARDS if (found := literature(board))}
    assert len(drawn) == sum(count >= FEWEST for count in counts.values()) > 0
    for picture, count in zip(drawn, (count for count in counts.values() if count >= FEWEST), strict=True):
        assert _marks(picture) == count
        words = "".join(ElementTree.fromstring(picture.svg).itertext())
        assert "here: proxy_anchor" in words
        assert picture.svg in section(html)
        assert html.count(picture.svg) == 1


def _reported(found: object) -> int:
    return sum("recall_at_1" in one.result.scores for one in found.beside)  # type: ignore[attr-defined]


def _marks(picture: Picture) -> int:
    """The marks of scatter plots: what is used again and again, but for the ticks of the axes."""
    elements = ElementTree.fromstring(picture.svg).iter("{http://www.w3.org/2000/svg}use")
    return sum("fill-opacity" in (element.get("style") or "") for element in elements)


@pytest.mark.parametrize("count", [FEWEST - 1, FEWEST])
def test_a_few_values_are_no_plot(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [{"method": f"Method {number}", "year": "2019"} for number in range(count)]
    monkeypatch.setattr(reading, "FILE", published(tmp_path / "a.csv", *lines))
    rows = measured()
    names = [picture.name for picture in pictures(boards(rows), logs(rows))]
    assert sum(name.startswith("reported") for name in names) == (count == FEWEST)


def test_one_seed_has_a_line_without_a_band(tmp_path: Path) -> None:
    rows = measured(seeds=1)
    assert [picture for picture in pictures(boards(rows), logs(rows)) if picture.name.startswith("reported")]


def test_of_many_leading_lines_the_first_are_shown() -> None:
    place = {"dataset": dataset(), "recipe": {"dim": 512}, "nmi": 0.6}
    values = [0.5, 0.6, 0.7]
    rows = [row(f"loss {n}", seed, **place, recall_at_1=values[seed] + n / 1e4) for n in range(6) for seed in range(3)]
    found = literature(boards(table(rows))[0])
    assert found
    assert len(found.measured) == 6
    shown = [row[-2].text for row in literature_table(found).rows]
    assert shown.count("measured here") == MOST_MEASURED


def test_the_same_rows_give_the_same_bytes_and_every_picture_is_there(tmp_path: Path) -> None:
    for name in "ab":
        write(ROWS if name == "a" else ROWS.sample(frac=1, random_state=1), history(ROWS), tmp_path / name)
    first, second = ({file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in "ab")
    assert first == second
    links = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", first["README.md"].decode())
    assert "reported-literature-cub200-resnet50.svg" in links
    assert set(links) == {name for name in first if name.endswith(".svg")}


def test_a_browser_lays_it_out_within_a_phone_and_sorts_it(html: str, tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed to open the page with")
    script = """<script>
    const table = document.querySelector("#literature table");
    table.querySelectorAll("th button")[1].click();
    const shown = [...table.tBodies[0].rows].map((row) => parseFloat(row.cells[1].textContent));
    const known = shown.filter((value) => !isNaN(value));
    document.title = [document.documentElement.scrollWidth <= innerWidth,
      known.every((value, place) => !place || known[place - 1] >= value), known.length > 20,
      document.querySelector("#literature details").open].join();
    </script></body>"""
    path = tmp_path / "page.html"
    path.write_text(html.replace("</body>", script), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=500,900", "--dump-dom"]
    shown = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "<title>true,true,true,true</title>" in shown
