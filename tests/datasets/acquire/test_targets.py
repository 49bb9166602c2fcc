import importlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from support.loopback import Answer, serving
from support.sample_sets import call, own

from bench.cli.step_bar import bar
from bench.datasets.acquire.sources import SOURCES, present
from bench.datasets.acquire.steps import MEGABYTES, PICTURES
from bench.datasets.split import DataError
from bench.matrix.catalogue import check, entries


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return tmp_path / "cache"


def test_prepare_your_own_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.chdir(own(tmp_path / "mine"))
    for more in ([], ["--data", "."], ["--data", tmp_path / "mine"]):
        done = call("prepare", "manifest", "--set", "path=photos.csv", "--set", "size=16", *more)
        assert (done.exit_code, done.stderr) == (0, "")
        assert done.stdout.startswith("manifest(path=photos.csv, size=16): train 3 classes 12 pictures, test 3 classes")
        assert "; 16 × 16 × 3; " in done.stdout
    assert len(list(cache.iterdir())) == 1, "decoded more than once"
    assert call("prepare", "folder", "--set", f"path={tmp_path / 'mine'}").exit_code == 0


@pytest.mark.parametrize("name", ["folder", "manifest"])
@pytest.mark.parametrize("matrix", [False, True])
def test_prepare_leaves_out_what_is_broken_where_it_may_and_says_so(tmp_path: Path, name: str, matrix: bool) -> None:
    path = own(tmp_path / "mine", broken=2) / ("photos.csv" if name == "manifest" else "")
    asked = [name, "glyphs", "--set", f"path={path}", "--set", "size=16"]
    if matrix:
        file, parameters = tmp_path / "my.toml", f'{{ name = "{name}", path = "{path}", size = 16 }}'
        file.write_text(f'datasets = [{parameters}, "glyphs"]\nbackbones = ["conv4"]\nlosses = ["triplet"]')
        asked = ["--matrix", file]
    refused = call("prepare", *asked)
    assert refused.exit_code == 2
    assert re.search(r"2 picture\(s\) that cannot be read, such as class 0/0.png .*--skip-broken", refused.stderr)
    done = call("prepare", *asked, "--skip-broken")
    assert (done.exit_code, done.stderr) == (0, "")
    assert "    pictures left out: 2 that are missing or cannot be read: class 0/0.png, class 1/1.png\n" in done.stdout


def test_prepare_a_matrix(tmp_path: Path, cache: Path) -> None:
    own(tmp_path / "mine")
    matrix = tmp_path / "matrix.toml"
    datasets = '[{ name = "manifest", path = "photos.csv" }, { name = "folder", path = ".", size = 16 }]'
    matrix.write_text(f'datasets = {datasets}\nbackbones = ["conv4"]\nlosses = ["triplet"]', encoding="utf-8")
    done = call("prepare", "--matrix", matrix, "--data", tmp_path / "mine", "--set", "datasets.0.size=8")
    assert done.exit_code == 2, "datasets is a list"
    done = call("prepare", "--matrix", matrix, "--data", tmp_path / "mine")
    assert (done.exit_code, done.stderr) == (0, "")
    assert [line.partition("(")[0] for line in done.stdout.splitlines() if line[0] != " "] == [
        "manifest",
        "folder",
    ]
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("verb", ["prepare", "verify"])
@pytest.mark.parametrize(("arguments", "sentence"), [
    (["cub20"], "there is no dataset 'cub20'; did you mean 'cub200'?"),
    ([], "name datasets, or a matrix with --matrix"),
    (["glyphs", "--matrix", "demo"], "and not both"),
    (["glyphs", "--set", "sise=32"], "no parameter 'sise'; did you mean 'size'?"),
    (["glyphs", "--set", "size"], "write it as KEY=VALUE, for example"),
    (["glyphs", "--set", "size=1"], "size = 1 is not possible; it should be greater than or equal to 16"),
    (["manifest"], "manifest needs the parameter 'path'"),
    (["manifest", "--set", "path=nowhere.csv"], "there is no nowhere.csv"),
    (["cub200"], "cub200 needs the folder of the data sets: pass --data DIR or set BENCH_DATA."),
    (["--matrix", "dem0"], "did you mean 'demo'?"),
])  # fmt: skip
def test_a_wrong_request_is_a_sentence_and_exit_code_2(verb: str, arguments: list[str], sentence: str) -> None:
    done = call(verb, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(("name", "sentence"), [
    ("cars196", "cars196: car_ims.tgz cannot be downloaded; get car_ims.tgz by hand from https://ai.stanford.edu/"),
    ("inshop", "get the set from https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html"),
])  # fmt: skip
def test_sets_that_no_host_serves_name_their_page(tmp_path: Path, name: str, sentence: str) -> None:
    done = call("prepare", name, "folder", "--data", tmp_path, "--set", f"path={own(tmp_path / 'own')}")
    assert done.exit_code == 2
    assert sentence in done.stderr
    assert str(tmp_path / name) in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "train 3 classes 12 pictures" in done.stdout, "the other set was not prepared"
    assert list(tmp_path.glob(f"{name}*")) == []


def test_the_command_asks_the_published_address(tmp_path: Path) -> None:
    """A proxy on this machine stands for the host, which no longer has the file."""
    with serving(Answer(b"", 404)) as proxy:
        environment = {**os.environ, "HTTP_PROXY": proxy.url, "http_proxy": proxy.url, "NO_PROXY": "", "no_proxy": ""}
        code = "from bench.cli.data import app; app()"
        command = [sys.executable, "-c", code, "prepare", "sop", "--data", str(tmp_path)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    (url,) = SOURCES["sop"].files[0].urls
    assert [request.path for request in proxy.requests] == [url]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"bench: sop: {url} answers 404 Not Found; get Stanford_Online_Products.zip by hand from "
        f"https://cvgl.stanford.edu/projects/lifted_struct/, put it in {tmp_path / 'sop'}, and give the same command "
        "again.\n"
    )


def test_list_tells_what_there_is(tmp_path: Path) -> None:
    own(tmp_path)
    (tmp_path / "oxford-iiit-pet" / "images").mkdir(parents=True)
    before = {one["name"]: one for one in json.loads(call("list", "--data", tmp_path, "--json").stdout)}
    assert before.keys() == entries("datasets").keys()
    (tmp_path / "oxford-iiit-pet" / "annotations").mkdir()
    (tmp_path / "oxford-iiit-pet" / "annotations" / "list.txt").touch()
    call("prepare", "folder", "--set", f"path={tmp_path}", "--set", "size=24")
    after = {one["name"]: one for one in json.loads(call("list", "--data", tmp_path, "--json").stdout)}
    assert (before["oxford_pets"]["there"], after["oxford_pets"]["there"]) == (False, True)
    assert (before["folder"]["decoded"], after["folder"]["decoded"]) == ([], [24])
    assert after["oxford_pets"]["licence"] == "CC BY-SA 4.0"
    assert after["sop"]["bytes"] == 3_083_860_082
    text = call("list", "--data", tmp_path).stdout
    for one in after.values():
        assert f"{one['name']}\n    {one['label']}\n" in text
        assert one["page"] is None or one["page"] in text
    assert "in DATA/oxford_pets: there" in text
    assert "in DATA/flowers102: not there" in text
    assert "decoded at 24 pixels" in text
    assert "--data to see whether it is there" in call("list").stdout


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_agrees_with_the_loader(name: str, tmp_path: Path) -> None:
    source, entry = SOURCES[name], entries("datasets")[name]
    module = importlib.import_module(entry.module)
    assert module.SOURCE.startswith(source.page)
    with pytest.raises(DataError) as error:
        entry.function()(tmp_path, **check(entry, {}))
    assert str(tmp_path / source.places[0]) in str(error.value)
    counts = getattr(module, "COUNTS", None)
    if counts and name != "inshop":
        assert source.images == sum(photos for _, photos in counts.values())
    for file in source.files:
        assert re.fullmatch(r"(sha256:[0-9a-f]{64}|md5:[0-9a-f]{32})?", file.digest)
        assert any(file.place.startswith(place) for place in source.places)
        assert all(url.startswith("https://") or file.digest for url in file.urls)
    for file in source.files:
        (tmp_path / file.place).mkdir(parents=True)
    missing = [need for need in source.needs if not any((tmp_path / source.places[0] / one).exists() for one in need)]
    assert len(present(source, tmp_path)) == len(source.needs) - len(missing)
    assert source.downloadable or source.note


@pytest.mark.parametrize(("name", "place"), [(name, place) for name, one in SOURCES.items() for place in one.places])
def test_a_loader_looks_in_every_place_of_the_table(name: str, place: str, tmp_path: Path) -> None:
    """With folders where the files of the set should be, its sentence is about what is wrong there."""
    entry = entries("datasets")[name]
    for need in SOURCES[name].needs:
        (tmp_path / "data" / place / need[0]).mkdir(parents=True)
    with pytest.raises(DataError) as error:
        entry.function()(tmp_path / "data", **check(entry, {}))
    assert str(tmp_path / "data" / place) in str(error.value)
    assert "has no" not in str(error.value)


def test_the_commands_wait_for_nothing_heavy() -> None:
    heavy = "{'torch', 'timm', 'faiss', 'pandas'}"
    for code, also in (
        ("from bench.cli.data import app", "{'httpx', 'numpy', 'pydantic', 'PIL'}"),
        ("from bench.datasets.acquire.inventory import inventory; inventory(None)", "{'httpx'}"),
        (
            "import bench.datasets.acquire.prepare, bench.datasets.acquire.verify, bench.datasets.acquire.targets",
            "set()",
        ),
    ):
        line = f"import sys; {code}; print(({heavy} | {also}) & set(sys.modules))"
        done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "set()", code


def test_a_step_is_shown_on_a_terminal_and_elsewhere() -> None:
    for terminal, unit, expected in ((False, MEGABYTES, "got: 1.5 of 3.0 MB"), (True, PICTURES, "1,500,000 of")):
        out = io.StringIO()
        with bar(Console(file=out, width=120, force_terminal=terminal, _environ={}), "got", unit, seconds=0) as update:
            update(1_500_000, 3_000_000)
        assert expected in out.getvalue()
    out = io.StringIO()
    with bar(Console(file=out, force_terminal=False), "got", PICTURES) as update:
        update(1, None)
    assert out.getvalue() == ""
