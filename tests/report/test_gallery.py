import base64
import io
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result as Done
from PIL import Image
from support.jobs import go, tiny
from support.sample_vectors import data, npz
from typer.testing import CliRunner

import bench
from bench import datasets, store
from bench.analysis.boards import boards
from bench.cli.app import app
from bench.report.gallery import BUDGET, galleries
from bench.report.page.page import page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
HOSTILE = ('<script>alert("1")</script>', "\"quoted\" 'twice' & <b>", "x" * 300, "خط عربي \u202eabc", "two\nlines")
SHOT = re.compile(
    r'<title>(right: |wrong: |)(.*?), (test|gallery) (image|vector) (\d+)</title>(?:<use href="#picture-(\d+)")?'
)
MEMBERS = ["triplet", "contrastive"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two losses and what fuses them, two seeds."""
    results = tmp_path_factory.mktemp("runs")
    for job in tiny(losses=MEMBERS, model_ensembles=[{"name": "concatenate", "members": MEMBERS}], seeds=2):
        go(job, results)
    return results


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The results of two losses on stored embeddings, whose names are hostile; and their file."""
    folder = tmp_path_factory.mktemp("vectors")
    points, columns = data()
    columns["class_name"] = [f"{HOSTILE[label % 5]} {label}" for label in columns["label"]]
    dataset = {"name": "embeddings", "path": str(folder / npz(folder, points, columns)), "label": HOSTILE[0]}
    named = [{"name": name, "label": f"{label} {name}"} for name, label in zip(MEMBERS, HOSTILE[2:], strict=False)]
    recipe = {"classes_per_batch": 4}
    for job in tiny(datasets=[dataset], backbones=["identity"], losses=named, recipe=recipe):
        go(job, folder / "runs")
    return folder / "runs", folder / "x.npz"


def made(results, *, rows=None, **options):
    """The galleries of the only board, and what is said."""
    rows = bench.load(results) if rows is None else rows
    found = galleries(boards(rows), rows, results, None, **options)
    ((_, html),) = found.html.items()
    return str(html), found.problems


def decoded(html):
    """By number, the pictures that the page stores."""
    stored = re.findall(r'<symbol id="picture-(\d+)" [^>]*><image href="data:image/webp;base64,([^"]+)"', html)
    assert len({number for number, _ in stored}) == len({uri for _, uri in stored}) == len(stored)
    return {
        int(number): np.asarray(Image.open(io.BytesIO(base64.b64decode(uri))).convert("L")) for number, uri in stored
    }


def run(*arguments) -> Done:
    return CliRunner().invoke(app, [str(one) for one in arguments], catch_exceptions=False)


def jobs_of(results):
    rows = bench.load(results)
    return {(row["objective"], row["seed"]): row["key"] for row in rows.to_dict("records")}


def test_every_picture_is_the_one_of_the_data_that_its_text_names(runs):
    html, problems = made(runs)
    split = datasets.load(tiny()[0].dataset, None)
    everything = split.test.images[..., 0].astype(float)
    pictures, shots = decoded(html), SHOT.findall(html)
    assert problems == ()
    assert len(pictures) > 10
    assert {int(shot[-1]) for shot in shots} == set(pictures)
    for _, name, side, kind, row, number in shots:
        assert (side, kind) == ("test", "image")
        assert unescape(name) == split.test.classes[split.test.labels[int(row)]]
        apart = np.abs(everything - pictures[int(number)]).mean((1, 2))
        assert apart.argmin() == int(row)
        assert apart[int(row)] < 12


def test_cards_show_what_is_stored_of_the_queries_and_signs_say_what_is_right(runs):
    html, _ = made(runs)
    labels, keys = datasets.load(tiny()[0].dataset, None).test.labels, jobs_of(runs)
    cards = html.split('<div class="card">')[1:]
    assert len(cards) > 3
    for card in cards:
        query = int(SHOT.findall(card)[0][4])
        for strip in card.split('<div class="strip">')[1:]:
            name, rank = re.search(r"<bdi>(.*?)</bdi></b><span>(first hit: \d+|no hit found)", strip).groups()
            found = store.read_queries(runs, keys[name, 0])
            shots = SHOT.findall(strip)
            assert [int(shot[4]) for shot in shots] == found.neighbours[query, :5].tolist()
            assert [shot[0] == "right: " for shot in shots] == (
                labels[found.neighbours[query, :5]] == labels[query]
            ).tolist()
            signs = re.findall(r'<li class="(right|wrong)">.*?#sign-(right|wrong)"', strip, re.S)
            assert [f"{sign}: " for _, sign in signs] == [f"{frame}: " for frame, _ in signs] == [s[0] for s in shots]
            assert int(re.sub(r"\D", "", rank) or 0) == found.first_hit[query]


def test_headings_count_over_all_queries_and_each_pair_comes_once(runs):
    html, _ = made(runs)
    keys, pairs = jobs_of(runs), set()
    heads = re.findall(r"<h5><bdi>(.*?)</bdi> finds, <bdi>(.*?)</bdi> misses: (\d+) of 32 queries", html)
    for one, other, count in heads:
        first, second = (store.read_queries(runs, keys[name, 0]).first_hit for name in (one, other))
        assert int(count) == ((first == 1) & (second != 1)).sum()
        pairs.add((one, other))
    assert len(pairs) == len(heads) == 4 or len(heads) == 2
    leader = boards(bench.load(runs))[0].lines[0].label
    assert re.search(rf"<bdi>{re.escape(leader)}</bdi> misses: (\d+) of", html)


def test_a_packed_file_gives_the_same_and_so_does_a_second_time(runs, tmp_path):
    store.pack(runs, tmp_path / "all.parquet")
    assert made(tmp_path / "all.parquet") == made(runs) == made(runs)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_budget_shortens_all_lists_alike_and_says_so(runs, share):
    whole, _ = made(runs)
    budget = int(share * len(whole.encode()))
    html, _ = made(runs, budget=budget)
    lists = [part.count('<div class="card">') for part in html.split("<h5>")[1:]]
    full = [part.count('<div class="card">') for part in whole.split("<h5>")[1:]]
    most = max(lists)
    assert len(html.encode()) <= budget < len(whole.encode()) < BUDGET
    assert lists == [min(count, most) for count in full[: len(lists)]]
    assert f"a list shows {most or 'none'} instead of 6" in html
    assert "instead of 6" not in whole


def other_data(rows):
    return rows.assign(dataset_sha="0" * 64)


def no_data(rows):
    return rows.assign(dataset_sha=None)


def other_version(rows):
    return rows.assign(job=[text.replace('"difficulty"', '"hardness"') for text in rows["job"]])


def other_classes(rows):
    """Other parameters with the hash of the old ones: no honest row, which the split's own hash tells."""
    return rows.assign(job=[re.sub(r'"test_classes":\s*8', '"test_classes":9', text) for text in rows["job"]])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (other_data, "its data has changed since the rows were stored"),
        (no_data, "its rows do not say which data they were measured on"),
        (other_version, "its data cannot be read: glyphs has no parameter 'hardness'"),
        (other_classes, "its data has changed since the rows were stored"),
    ],
)
def test_data_that_is_not_the_rows_is_a_sentence_and_no_picture(runs, change, sentence):
    html, problems = made(runs, rows=change(bench.load(runs)))
    assert len(problems) == 1
    assert sentence in problems[0]
    assert sentence in unescape(html)
    assert "<image" not in html
    assert "card" not in html


def without_neighbours(found):
    return found._replace(neighbours=None, distances=None)


def turned(found):
    """Of the data, but with the queries in another order."""
    return found._replace(classes=None, neighbours=found.neighbours[::-1])


def far_away(found):
    return found._replace(neighbours=found.neighbours + 32)


def fewer(found):
    return found._replace(
        classes=None, **{n: getattr(found, n)[:-1] for n in ("first_hit", "neighbours", "distances")}, values={}
    )


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_neighbours, "no neighbours are stored of their queries"),
        (turned, "are not those of its data"),
        (far_away, "are not those of its data"),
        (fewer, "are not those of its data"),
    ],
)
def test_queries_that_cannot_be_of_the_data_are_a_sentence_and_no_picture(runs, tmp_path, change, sentence):
    shutil.copytree(runs, tmp_path / "runs")
    for file in (tmp_path / "runs").glob("*/queries.parquet"):
        found = store.read_queries(tmp_path / "runs", file.parent.name)
        file.unlink()
        store.queries.write_queries(change(found), file)
    html, (problem,) = made(tmp_path / "runs")
    assert sentence in problem
    assert sentence in html
    assert "<image" not in html


def test_what_one_run_lacks_leaves_the_others_their_gallery(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "runs")
    second = boards(bench.load(runs))[0].lines[1]
    (tmp_path / "runs" / second.keys[0] / "queries.parquet").unlink()
    html, (problem,) = made(tmp_path / "runs")
    assert second.label in problem
    assert "nothing is stored of their queries" in problem
    assert "<image" in html


def test_vectors_are_shown_as_labels_and_every_text_is_escaped(vectors):
    html, problems = made(vectors[0])
    shots = SHOT.findall(html)
    split = datasets.load(tiny(datasets=[{"name": "embeddings", "path": str(vectors[1])}])[0].dataset, None)
    assert problems == ()
    assert len(shots) > 10
    assert "<image" not in html
    assert "<script" not in html
    for _, name, _, kind, row, _ in shots:
        whole = split.test.classes[split.test.labels[int(row)]]
        assert kind == "vector"
        assert unescape(name) == (whole if len(whole) <= 300 else f"{whole[:299]}…")


def test_without_the_flag_no_data_is_read_and_the_page_stays_as_it_is(vectors, tmp_path):
    results, file = vectors
    moved = file.rename(file.with_suffix(".away"))
    datasets._load.cache_clear()  # what the jobs of this process have read
    try:
        plain = run("report", "--results", results, "--output", tmp_path / "plain")
        lacking = run("report", "--results", results, "--output", tmp_path / "lacking", "--galleries")
    finally:
        moved.rename(file)
    again = run("report", "--results", results, "--output", tmp_path / "again", "--galleries")
    assert [done.exit_code for done in (plain, lacking, again)] == [0, 0, 0]
    said = "no gallery, as its data cannot be read"
    assert [said in done.stderr for done in (plain, lacking, again)] == [False, True, False]
    pages = [(tmp_path / name / "index.html").read_text(encoding="utf-8") for name in ("plain", "lacking", "again")]
    assert [said in html for html in pages] == [False, True, False]
    assert ['class="gallery"' in html for html in pages] == [False, True, True]
    for name in ("lacking", "again"):
        files = {path.name for path in (tmp_path / name).iterdir()} - {"index.html"}
        assert all((tmp_path / name / one).read_bytes() == (tmp_path / "plain" / one).read_bytes() for one in files)
        html = (tmp_path / name / "index.html").read_text(encoding="utf-8")
        bare = re.sub(r'<div class="gallery">.*?</div>\n*</section>', "</section>", html, flags=re.S)
        bare = bare.replace(html[html.index("<style>\n.gallery") : html.index("</head>")], "")
        assert bare.replace("\n", "") == pages[0].replace("\n", "")


def test_galleries_do_not_wait_for_torch(runs, tmp_path):
    code = (
        "import sys; from bench.cli.app import app\n"
        f"try: app(['report', '--galleries', '--results', {str(runs)!r}, '--output', {str(tmp_path)!r}])\n"
        "except SystemExit as end: sys.exit(end.code or int('torch' in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "<image" in (tmp_path / "index.html").read_text(encoding="utf-8")


STRICT = "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">"  # noqa: E501
TELL = "<script>document.title = [document.documentElement.scrollWidth <= innerWidth, performance.getEntriesByType('resource').length]</script>"  # noqa: E501


@pytest.mark.parametrize("source", ["runs", "vectors"])
@pytest.mark.parametrize("added", ["", "<img src='https://example.invalid/x.png'>"], ids=["as it is", "with a fault"])
def test_a_browser_shows_it_without_an_error_or_a_request(source, added, runs, vectors, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed to open the page with")
    results = runs if source == "runs" else vectors[0]
    rows = bench.load(results)
    found = boards(rows)
    html = page(found, title="Galleries", galleries=galleries(found, rows, results, None).html)
    html = html.replace("<head>", f"<head>{STRICT}").replace("</body>", f"{added}{TELL}</body>")
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    asked = (
        "--enable-logging=stderr",
        "--window-size=500,900",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--dump-dom",
    )
    command = [CHROMIUM, *flags, *asked, (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert ("CONSOLE" in done.stderr) == bool(added), done.stderr
    if not added:
        assert "<title>true,0</title>" in done.stdout
