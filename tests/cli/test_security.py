"""What SECURITY.md promises: files of strangers are data, whatever is in them, and nothing is sent anywhere."""

import json
import os
import pickle
import re
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.jobs import matrix_file, tiny
from support.one_sentence import refused
from support.sample_rows import history, row, table, unfinished
from support.source_calls import ROOT, calls
from support.stored import finished
from typer.testing import CliRunner

import bench
from bench import store
from bench.cli.app import app
from bench.datasets.split import DataError
from bench.matrix.job import ConfigError
from bench.report import write

UNPICKLES = re.compile(
    r"(.*\.)?(pickle|cPickle|dill|cloudpickle|marshal|shelve|joblib)\.(load|loads|Unpickler|open)"
    r"|.*\.(read_pickle|unsafe_load|full_load|unserialize)|(os\.(system|popen|exec\w*|spawn\w*))"
)


def test_the_source_unpickles_nothing_and_starts_no_shell():
    found = list(calls("bench", "losses"))
    assert len(found) > 5000  # it was looked at
    assert [call for call in found if UNPICKLES.fullmatch(call.name)] == []
    assert [call for call in found if call.name == "torch.load" and call.options.get("weights_only") != "True"] == []
    assert [call for call in found if call.options.get("allow_pickle", "False") != "False"] == []
    assert [call for call in found if call.options.get("shell", "False") != "False"] == []


def test_only_a_plugin_that_was_named_is_executed():
    found = {(call.file, call.name) for call in calls("bench", "losses") if call.name in ("eval", "exec", "compile")}
    assert found == {
        ("bench/matrix/entry.py", "eval"),  # annotations of our own source, as in the next
        ("bench/matrix/catalogue.py", "eval"),
        ("bench/matrix/plugin_import.py", "exec"),
        ("bench/matrix/plugin_import.py", "compile"),
    }


class Canary:
    """Makes a folder when it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = str(place)

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_the_canary_sings(tmp_path):
    pickle.loads(pickle.dumps(Canary(tmp_path / "sang")))
    assert (tmp_path / "sang").is_dir()


def npy(canary: Canary) -> bytes:
    written = BytesIO()
    np.save(written, np.array([canary, canary], dtype=object), allow_pickle=True)
    return written.getvalue()


def npz(canary: Canary) -> bytes:
    written = BytesIO()
    np.savez(written, embeddings=np.array([canary], dtype=object), labels=np.array([canary], dtype=object))
    return written.getvalue()


def parquet(canary: Canary) -> bytes:
    """A column of a type that old versions of Arrow unpickled, and pickles as values."""
    kind = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(canary)}
    field = pa.field("embedding", pa.float32(), metadata=kind)
    label = pa.field("label", pa.binary())
    columns = [pa.array([0.5], pa.float32()), pa.array([pickle.dumps(canary)])]
    written = BytesIO()
    pq.write_table(pa.table(columns, schema=pa.schema([field, label])), written)
    return written.getvalue()


def bare(canary: Canary) -> bytes:
    return pickle.dumps({"embeddings": canary})


def torch_file(canary: Canary) -> bytes:
    import torch

    written = BytesIO()
    torch.save({"conv.weight": canary}, written)
    return written.getvalue()


MADE: dict[str, Callable[[Canary], bytes]] = {
    "npy": npy,
    "npz": npz,
    "parquet": parquet,
    "pickle": bare,
    "torch": torch_file,
}


def as_embeddings(file: Path) -> None:
    from bench.scoring.embeddings_file import read_embeddings

    read_embeddings(file)


def as_dataset(file: Path) -> None:
    from bench.datasets.embeddings import embeddings

    embeddings(None, path=str(file))


def as_manifest(file: Path) -> None:
    from bench.datasets.manifest import manifest

    manifest(None, path=str(file))


def as_weights(file: Path) -> None:
    from torch import nn

    from bench.job.weights import load

    load(nn.Conv2d(1, 1, 1), file)


def as_result(file: Path) -> None:
    bench.load(file)
    store.history(file)


READERS = {
    "embeddings": as_embeddings,
    "dataset": as_dataset,
    "manifest": as_manifest,
    "weights": as_weights,
    "result": as_result,
}


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("ending", ["npy", "npz", "parquet", "csv", "pt", "safetensors"])
def test_a_pickle_in_a_file_of_a_stranger_is_not_run(tmp_path, made, reader, ending):
    file = tmp_path / f"file.{ending}"
    file.write_bytes(MADE[made](Canary(tmp_path / "sang")))
    try:
        READERS[reader](file)
    except (DataError, ConfigError, store.StoreError, ValueError) as error:
        refused(error)
    else:
        assert (made, ending) == ("parquet", "parquet")  # a column of numbers and one of bytes, and no more than that
    assert not (tmp_path / "sang").exists()


@pytest.mark.filterwarnings("ignore")  # of files that are left out, which other tests hold
@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize(
    "name", ["row.parquet", "history.parquet", "members.parquet", "queries.parquet", "embeddings.npy"]
)
def test_a_pickle_in_place_of_a_result_is_not_run(tmp_path, made, name):
    (job,) = tiny()
    store.write(tmp_path, finished(job))
    (tmp_path / job.key / name).write_bytes(MADE[made](Canary(tmp_path / "sang")))
    for read in (bench.load, store.history, store.members):
        read(tmp_path)
    if name != "row.parquet":
        assert not store.usable(tmp_path / job.key, name)
    store.set_aside(tmp_path)
    store.set_aside_beside(tmp_path, [job.key])
    assert not (tmp_path / "sang").exists()
    assert not (tmp_path / job.key).exists()  # it was set aside as damaged


PAYLOADS = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '"><script>alert(1)</script>',
    "'><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    "javascript:alert(1)",
    "[click](javascript:alert(1))",
    "![x](https://tracker.example/p.png)",
    "<a href='javascript:alert(1)'>x</a>",
    "<iframe src='https://tracker.example'></iframe>",
    "<style>@import 'https://tracker.example'</style>",
    "<link rel=stylesheet href=https://tracker.example>",
    "<meta http-equiv=refresh content=0;url=https://tracker.example>",
    "<!-- --><script>alert(1)</script><!--",
    "]]><script>alert(1)</script><![CDATA[",
    "<foreignObject><body onload=alert(1)/></foreignObject>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "{{ 7 * 7 }}{% raw %}",
    "${7*7}#{7*7}<%= 7*7 %>",
    "| a | b |\n| --- | --- |",
    "# heading\n\n- item",
    "`code` **bold** ~~gone~~ _so_",
    "<https://tracker.example>",
    "https://tracker.example/auto",
    "../../../etc/passwd",
    "..\\..\\windows\\system32",
    "$\\frac{1}{2}$ $x$ unmatched $",
    "=cmd|' /C calc'!A0",
)


class Page(HTMLParser):
    """How often every tag is there, and every attribute that can do something."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.scripts = 0
        self.acts: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            target = (value or "").strip().lower()
            local = target.startswith(("#", "data:,")) or re.fullmatch(r"[a-z0-9-]+\.(svg|html|md)", target)
            if name.startswith("on") or (name.rpartition(":")[2] in ("href", "src", "action", "data") and not local):
                self.acts.append((tag, name, target))


def reported(place: Path, names: list[str]) -> Path:
    """A report in which these texts stand wherever a row has one."""
    rows = []
    for number, name in enumerate(names):
        facts = {"device": name, "commit": name, "torch": name, "python": name, "started": name}
        facts |= {"overlap": f"unknown, {name}", "left_out": name, "stopping": name, "dataset_sha": name}
        rows += [row(name, seed, recall_at_1=0.3 + number / 100 + seed / 50, **facts) for seed in range(2)]
        rows.append(unfinished(f"{name} again", 0, "failed", name))
    rows += [row("triplet", 0, dataset=name, backbone=name, recall_at_1=0.5) for name in names[:2]]
    members = [names[0], names[1]]
    rows += [row(names[2], 7, kind="ensemble", members=members)]
    found = table(rows)
    write(found, history(found), place, title=names[0])
    return place


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("hostile")
    return reported(place / "report", [" ".join(PAYLOADS[start : start + 4]) for start in range(0, len(PAYLOADS), 4)])


def test_a_report_of_hostile_texts_has_no_element_that_a_harmless_one_has_not(hostile, tmp_path):
    harmless = Page((reported(tmp_path / "report", [f"loss {n}" for n in range(4)]) / "index.html").read_text("utf-8"))
    page = Page((hostile / "index.html").read_text("utf-8"))
    assert (page.tags - harmless.tags, page.scripts, page.acts) == (set(), harmless.scripts, [])
    assert harmless.acts == []


def test_every_picture_of_hostile_texts_is_a_drawing_and_nothing_else(hostile):
    pictures = list(hostile.glob("*.svg"))
    assert len(pictures) > 5
    for picture in pictures:
        for element in ET.fromstring(picture.read_bytes()).iter():
            tag = str(element.tag).rpartition("}")[2]
            assert tag not in ("script", "foreignObject", "iframe", "image", "a", "animate", "set"), (picture, tag)
            for name, value in element.attrib.items():
                assert not name.startswith("on"), (picture, name)
                assert name.rpartition("}")[2] != "href" or value.startswith("#"), (picture, value)


def test_markdown_of_hostile_texts_has_no_element_and_no_link_of_theirs(hostile):
    text = (hostile / "README.md").read_text("utf-8")
    ours = ["<details>", "<summary>", "</summary>", "</details>"]  # which fold what is long
    found = re.findall(r"(?<!\\)<[^>]*>?", text)
    assert found == ours * (len(found) // len(ours))
    targets = re.findall(r"(?<!\\)\]\(([^)]*)\)", text)
    assert [target for target in targets if not re.fullmatch(r"[a-z0-9-]+\.(svg|html)", target)] == []
    rules = [line for line in text.splitlines() if line.startswith("#")]
    assert not any("heading" in line and line.startswith("# heading") for line in rules)


def test_a_report_of_hostile_texts_lies_in_its_folder_and_nowhere_else(hostile):
    assert [path.name for path in hostile.parent.iterdir()] == [hostile.name]
    assert all(path.is_file() and re.fullmatch(r"[A-Za-z0-9.-]+", path.name) for path in hostile.iterdir())


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": """["__import__('os').mkdir('sang')"]"""},
        {"losses": '["os.mkdir"]'},
        {"losses": '["pml/../../os.mkdir"]'},
        {"losses": "[{ name = \"triplet\", margin = \"__import__('os').mkdir('sang')\" }]"},
        {"losses": '[{ name = "triplet", plugin = "evil.py" }]'},
        {"losses": '["evil.py"]'},
        {"backbones": '["evil"]'},
        {"datasets": '["evil"]'},
        {"datasets": '[{ name = "folder", path = "$(mkdir sang)" }]'},
        {"datasets": '[{ name = "folder", path = "`mkdir sang`" }]'},
        {"plugin": '["evil.py"]'},
        {"plugins": '["evil.py"]'},
        {"results": '"/etc"'},
    ],
    ids="-".join,
)
def test_a_matrix_file_runs_nothing(tmp_path, monkeypatch, changes):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "evil.py").write_text("import os\nos.mkdir('sang')\n")
    done = CliRunner().invoke(app, ["plan", str(matrix_file(tmp_path, **changes)), "--data", str(tmp_path)])
    assert done.exit_code == 2, done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "sang").exists()


WATCHED = """
import json, sys
heard = []
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request", "os.system"):
        heard.append([event, repr(args)[:200]])
    if event == "subprocess.Popen":
        heard.append([event, repr(args[1])[:200]])
sys.addaudithook(watch)
from typer.testing import CliRunner
from bench.cli.app import app
ended = [CliRunner().invoke(app, words) for words in json.loads(sys.argv[1])]
print(json.dumps([heard, [(one.exit_code, one.output[-500:]) for one in ended]]))
"""


def test_commands_that_read_send_nothing_and_start_nothing(tmp_path):
    for job in tiny(losses=["triplet", "contrastive"], seeds=2):
        store.write(tmp_path / "runs", finished(job))
    runs, matrix = str(tmp_path / "runs"), str(matrix_file(tmp_path, seeds="2"))
    words = [
        ["plan", matrix, "--results", runs],
        ["report", "--results", runs, "--output", str(tmp_path / "page")],
        ["compare", "triplet", "contrastive", "--results", runs],
        ["pack", str(tmp_path / "out.parquet"), "--results", runs],
        ["list", "losses"],
        ["data", "list"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, json.dumps(words)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    heard, ended = json.loads(done.stdout.splitlines()[-1])
    assert heard == []
    assert [code for code, _ in ended] == [0] * len(words), ended


def test_what_is_promised_names_tests_that_are_there():
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)`", text)
    assert len(named) > 3
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["name"] in text
