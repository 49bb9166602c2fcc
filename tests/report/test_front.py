import re
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Tags, opened
from support.sample_rows import history, row, table

from bench.matrix.job import ConfigError
from bench.report import write
from bench.report.front import write_front

HOSTILE = "\"Losses\" & <img src='http://127.0.0.1:9/x'> of *two* | kinds"


def reports(folder: Path) -> Path:
    rows = table([row(name, seed, dataset=dataset) for name in "ab" for seed in range(2) for dataset in ("one", "two")])
    write(rows, history(rows), folder / "first", title="Losses")
    write(rows[rows["dataset"] == "two"], history(rows), folder / "second", title=HOSTILE)
    write(rows, history(rows), folder / "latest", title="Yesterday")
    (folder / "mine").mkdir()
    (folder / "mine" / "index.html").write_text("<title>Mine</title><meta name='boards' content='[]'>")
    (folder / "thoughts.md").write_text("# Does <it> pay?\n\nNo.\n")
    return folder


def test_the_front_page_leads_to_every_report_and_to_each_of_its_boards(tmp_path: Path) -> None:
    write_front(reports(tmp_path))
    html, text = ((tmp_path / name).read_text(encoding="utf-8") for name in ("index.html", "README.md"))
    tags = Tags(html)
    assert tags.open == []
    links = [attributes["href"] for tag, attributes in tags.found if tag == "a"]
    boards = ["first/index.html#board-1", "first/index.html#board-2", "second/index.html#board-1"]
    assert [link for link in links if link and "#" in link] == boards
    assert {"first/index.html", "second/index.html", "thoughts.md"} == set(links) - set(boards)
    for link in boards:
        file, _, mark = str(link).partition("#")
        assert f'id="{mark}"' in (tmp_path / file).read_text(encoding="utf-8")
    assert re.findall(r"\]\((.*?)\)", text) == ["first/README.md", "second/README.md", "thoughts.md"]
    assert not [tag for tag, _ in tags.found if tag == "img"]
    assert not re.search(r"(?<!\\)<", text)
    assert "Yesterday" not in html + text
    assert "Mine" not in html + text


def test_the_front_page_is_the_same_each_time_and_can_be_replaced(tmp_path: Path) -> None:
    write_front(reports(tmp_path))
    first = (tmp_path / "index.html").read_bytes()
    write_front(tmp_path)
    assert (tmp_path / "index.html").read_bytes() == first


def test_a_page_of_others_is_not_replaced(tmp_path: Path) -> None:
    reports(tmp_path)
    (tmp_path / "README.md").write_text("# My thesis")
    with pytest.raises(ConfigError, match=r"README.md was not made by bench"):
        write_front(tmp_path)
    assert not (tmp_path / "index.html").exists()


def test_a_browser_shows_it_without_a_request_or_an_error(tmp_path: Path) -> None:
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed to open the page with")
    write_front(reports(tmp_path))
    with opened(tmp_path / "profile") as browser:
        browser.screen(390)
        browser.open(tmp_path / "index.html")
        assert browser.js("document.querySelector('.themes [value=dark]') !== null")
        assert browser.js("document.documentElement.scrollWidth <= innerWidth")
        assert browser.problems() == []
