"""Every way to damage a stored file, held against the rule of results/README.md."""

import os
import shutil
import signal
import socket
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.jobs import BACKBONE, DATASET, RECIPE, go, matrix_file, tiny
from support.stored import finished
from typer.testing import CliRunner

import bench
from bench import store
from bench.analysis.boards import boards
from bench.analysis.provenance_facts import facts
from bench.cli.app import app
from bench.execute.status import standing
from bench.matrix.file import Matrix
from bench.matrix.job import Job
from bench.report import markdown, terminal
from bench.store.checked_files import SEEN
from bench.store.column_checks import ESSENTIAL
from bench.store.columns import known
from bench.store.job_folders import StoreError
from bench.store.queries import Queries
from bench.store.row_journal import NOTED

CHANGES = {"losses": ["triplet", "contrastive"], "seeds": 2}
ENSEMBLES = [{"name": "sum", "members": ["triplet", "contrastive"]}]
JOBS = tiny(**CHANGES, ensembles=ENSEMBLES)
SUM = next(job for job in JOBS if job.kind == "ensemble" and job.seed == 0)
"""The job that is damaged: it is the one with a log of members."""
PARTS = ("row.parquet", "history.parquet", "members.parquet", "queries.parquet", "embeddings.npy", "training.npy")


def other(file: Path) -> bytes:
    """A whole file of the same kind, made by someone else for something else."""
    if file.suffix == ".npy":
        return saved(np.arange(12).reshape(3, 4))
    written = BytesIO()
    pq.write_table(pa.table({"key": ["a", "b"], "epoch": ["one", "two"], "first_hit": [0.5, 1.5]}), written)
    return written.getvalue()


def saved(array: np.ndarray) -> bytes:
    written = BytesIO()
    np.save(written, array)
    return written.getvalue()


def flipped(content: bytes) -> bytes:
    """The same length, and in its middle third noise, between a beginning and an end that are right."""
    third = len(content) // 3
    return content[:third] + np.random.default_rng(0).bytes(third) + content[2 * third :]


DAMAGED: dict[str, Callable[[Path], bytes]] = {
    "empty": lambda file: b"",
    "one byte": lambda file: file.read_bytes()[:1],
    "cut": lambda file: file.read_bytes()[: len(file.read_bytes()) * 2 // 3],
    "zeros": lambda file: bytes(len(file.read_bytes())),
    "noise": lambda file: np.random.default_rng(1).bytes(len(file.read_bytes())),
    "other": other,
    "text": lambda file: b"key,epoch\na,1\n",
}


def listen(file: Path) -> None:
    here = os.getcwd()
    os.chdir(file.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(file.name)
    os.chdir(here)


CLOSED: dict[str, Callable[[Path], object]] = {
    "folder": lambda file: file.mkdir(),
    "pipe": os.mkfifo,
    "link to nothing": lambda file: file.symlink_to(file.with_name("nowhere")),
    "link to itself": lambda file: file.symlink_to(file),
    "socket": listen,
    "device": lambda file: file.symlink_to("/dev/zero"),
}


@pytest.fixture(autouse=True)
def _never_waits() -> Iterator[None]:
    """A pipe that is waited for ends the test, and not the day."""

    def late(*_: object) -> None:
        raise TimeoutError("something was waited for")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What six small jobs really leave."""
    results = tmp_path_factory.mktemp("damaged") / "runs"
    for job in JOBS:
        go(job, results)
    return results


@pytest.fixture
def results(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "runs"))


def damage(results: Path, part: str, way: str) -> Path:
    """Do it to a file of the job; the file."""
    file = results / SUM.key / part
    if way in DAMAGED:
        content = DAMAGED[way](file)
        file.write_bytes(content)
    else:
        file.unlink()
        CLOSED[way](file)
    return file


def names(results: Path) -> set[str]:
    return {path.name for path in results.iterdir()} - {NOTED, SEEN}


def heard(read: Callable[[], object]) -> tuple[object, list[str]]:
    """What a function gives, and the warnings that it gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read()
    return found, [str(one.message) for one in caught]


def planned(results: Path) -> tuple[set[str], list[str]]:
    """The keys of the jobs that `bench.run` would train, and its warnings; nothing trains."""
    keys = set()
    with closing(bench.run(asked(), results=results)) as events:

        def first() -> None:
            for _ in JOBS:
                event = next(events)
                assert event.kind in ("planned", "stored"), event
                if event.kind == "planned":
                    keys.add(event.job.key)

        _, said = heard(first)
    return keys, said


def repaired(results: Path) -> tuple[set[str], list[str]]:
    """The keys of the jobs that a run would set aside for what lies beside the rows, and what it would say.

    `bench.run` calls this first, as other tests here hold; alone it is quick enough for every way of damage.
    """
    again = store.set_aside_beside(results, [job.key for job in JOBS])
    return set(again.keys), list(again.sentences)


def asked() -> Matrix:
    whole = {"datasets": [DATASET], "backbones": [BACKBONE], "recipe": RECIPE, "ensembles": ENSEMBLES, **CHANGES}
    return Matrix.model_validate({**whole, "controls": False})


READERS: dict[str, Callable[[Path], object]] = {
    "history.parquet": lambda results: store.history(results)["key"],
    "members.parquet": lambda results: store.members(results)["key"],
    "queries.parquet": lambda results: store.usable(results / SUM.key, "queries.parquet"),
    "embeddings.npy": lambda results: store.usable(results / SUM.key, "embeddings.npy"),
    "training.npy": lambda results: store.usable(results / SUM.key, "training.npy"),
}


@pytest.mark.parametrize("way", DAMAGED)
def test_a_damaged_row_is_named_and_left_out_and_its_job_runs_again(results, way):
    file = damage(results, "row.parquet", way)
    rows, said = heard(lambda: bench.load(results))
    assert set(rows["key"]) == {job.key for job in JOBS} - {SUM.key}
    assert [one for one in said if str(file) in one] == said != []
    keys, said = planned(results)
    assert keys == {SUM.key}
    assert any(str(file) in one and f".broken-{SUM.key}-0" in one for one in said), said
    assert names(results) == {job.key for job in JOBS} - {SUM.key} | {f".broken-{SUM.key}-0"}


@pytest.mark.parametrize("way", CLOSED)
def test_a_row_that_cannot_be_opened_is_named_and_nothing_is_renamed(results, way, tmp_path):
    file = damage(results, "row.parquet", way)
    before = names(results)
    for read in (bench.load, store.set_aside, lambda place: store.pack(place, tmp_path / "out.parquet")):
        with pytest.raises(StoreError) as told:
            read(results)
        assert str(told.value).startswith(f"{file}: ")
    assert names(results) == before


@pytest.mark.parametrize("part", PARTS[1:])
@pytest.mark.parametrize("way", DAMAGED)
def test_a_damaged_part_is_named_and_left_out_and_its_job_runs_again(results, part, way):
    file = damage(results, part, way)
    assert len(bench.load(results)) == len(JOBS)
    found, said = heard(lambda: READERS[part](results))
    assert found is False or SUM.key not in set(found)
    assert [one for one in said if str(file) in one and "left out" in one], said
    keys, said = repaired(results)
    assert keys == {SUM.key}
    assert any(str(file) in one and f".broken-{SUM.key}-0" in one for one in said), said
    assert (results / f".broken-{SUM.key}-0" / part).exists()


def opened(look: Callable[[], object]) -> set[str]:
    """The files of jobs that a function opens, by name."""
    OPENED.clear()
    look()
    return {Path(name).name for name in OPENED}


OPENED: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _watched() -> None:
    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith((".parquet", ".npy")):
            OPENED.append(str(arguments[0]))

    sys.addaudithook(watch)


def test_files_that_were_found_whole_are_not_looked_into_again(results):
    keys = [job.key for job in JOBS]
    for marks in (b"", bytes(range(256))):
        (results / SEEN).write_bytes(marks)
        assert opened(lambda: store.set_aside_beside(results, keys)) >= {"history.parquet", "embeddings.npy"}
        assert opened(lambda: store.set_aside_beside(results, keys)) == set()


def test_files_that_were_just_stored_are_not_looked_into(tmp_path):
    store.write(tmp_path, finished(SUM))
    assert opened(lambda: store.set_aside_beside(tmp_path, [SUM.key])) == set()


@pytest.mark.parametrize("part", PARTS[1:])
@pytest.mark.parametrize("way", CLOSED)
def test_a_part_that_cannot_be_opened_is_named_and_left_alone(results, part, way):
    file = damage(results, part, way)
    before = names(results)
    assert len(bench.load(results)) == len(JOBS)
    found, said = heard(lambda: READERS[part](results))
    assert found is False or SUM.key not in set(found)
    assert [one for one in said if str(file) in one and "left out" in one], said
    keys, said = repaired(results)
    assert (keys, names(results)) == (set(), before)
    assert any(str(file) in one for one in said), said


@pytest.mark.parametrize("part", PARTS)
def test_noise_inside_a_file_never_ends_in_a_traceback(results, part):
    file = results / SUM.key / part
    file.write_bytes(flipped(file.read_bytes()))
    heard(lambda: bench.load(results))
    if part != "row.parquet":
        heard(lambda: READERS[part](results))
    store.set_aside(results)
    repaired(results)


@pytest.mark.parametrize("part", PARTS[1:])
@pytest.mark.parametrize(("way", "again"), [("cut", {SUM.key}), ("pipe", set())])
def test_a_run_begins_by_looking_at_what_lies_beside_the_rows(results, part, way, again):
    file = damage(results, part, way)
    keys, said = planned(results)
    assert keys == again
    assert [one for one in said if str(file) in one] == said != []


EMBEDDINGS = {
    "not a number": lambda right: np.where(np.arange(len(right))[:, None] == 1, np.nan, right),
    "infinite": lambda right: np.where(np.arange(len(right))[:, None] == 1, np.inf, right),
    "few rows": lambda right: right[:3],
    "one dimension": lambda right: right[:, 0],
    "three dimensions": lambda right: right[:, :, None],
    "double": lambda right: right.astype(np.float64),
    "no columns": lambda right: right[:, :0],
    "objects": lambda right: right.astype(object),
}


@pytest.mark.parametrize("wrong", EMBEDDINGS)
def test_embeddings_that_no_job_leaves_are_named_and_never_used(results, wrong):
    file = results / SUM.key / "embeddings.npy"
    right = np.load(file)
    changed = EMBEDDINGS[wrong](right)
    np.save(file, changed.astype(np.float32) if changed.dtype == np.float64 and wrong != "double" else changed)
    found, said = heard(lambda: store.usable(file.parent, "embeddings.npy"))
    assert found is False
    assert any(str(file) in one for one in said)
    keys, said = repaired(results)
    assert keys == {SUM.key}
    assert any(str(file) in one for one in said)


def test_embeddings_that_are_not_finite_are_not_even_returned(results):
    file = results / SUM.key / "embeddings.npy"
    np.save(file, np.full_like(np.load(file), np.nan))
    with pytest.raises(ValueError, match=r"embeddings\.npy: holds numbers that are not finite"):
        store.embeddings(results, SUM.key)


def test_a_stated_shape_is_not_believed(results):
    """A header of terabytes before a few bytes costs no memory."""
    file = results / SUM.key / "embeddings.npy"
    header = np.lib.format.magic(1, 0)
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 64), }".ljust(117) + b"\n"
    file.write_bytes(header + len(text).to_bytes(2, "little") + text + bytes(64))
    assert heard(lambda: store.usable(file.parent, "embeddings.npy"))[0] is False


FOREIGN = {
    "a score of 7": {"recall_at_1": pa.array([7.0])},
    "a score below": {"map_at_r": pa.array([-3.0])},
    "an infinite score": {"nmi": pa.array([np.inf])},
    "a negative spread": {"nmi_sd": pa.array([-0.1])},
    "negative seconds": {"seconds": pa.array([-1.0])},
    "endless seconds": {"seconds": pa.array([np.inf])},
    "negative parameters": {"parameters": pa.array([-5])},
    "a negative seed": {"seed": pa.array([-1])},
    "a seed as text": {"seed": pa.array(["0"])},
    "a score as text": {"recall_at_1": pa.array(["0.5"])},
    "a list as score": {"recall_at_1": pa.array([[0.5]])},
    "a date as score": {"recall_at_1": pa.array([0], pa.timestamp("s"))},
    "a number as label": {"objective": pa.array([3])},
    "no label": {"dataset": pa.array([None], pa.string())},
    "a seed with a fraction": {"seed": pa.array([0.5])},
    "a table as seed": {"seed": pa.array([{"a": 1}])},
    "another status": {"status": pa.array(["finished"])},
    "another kind": {"kind": pa.array(["lost"])},
    "a recipe that is no JSON": {"recipe": pa.array(["{"])},
    "a recipe that is a list": {"recipe": pa.array(["[1]"])},
    "a recipe without end": {"recipe": pa.array(['{"a":' * 500 + "1" + "}" * 500])},
    "a recipe too deep to read": {"recipe": pa.array(["[" * 100_000])},
    "epochs below 0": {"epoch": pa.array([[-1]])},
    "no member": {"members": pa.array([[None]], pa.list_(pa.string()))},
    "another key": {"key": pa.array(["glyphs-conv4-triplet-s0-000000000000"])},
    "a key that is none": {"key": pa.array(["\x1b[31mred\x00"])},
}
KEYS = ("another key", "a key that is none")


def changed(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    for name, column in columns.items():
        table = table.set_column(table.column_names.index(name), name, column)
    return table


@pytest.mark.parametrize("what", FOREIGN)
def test_a_row_that_no_job_leaves_is_named_by_its_column(results, what):
    file = results / SUM.key / "row.parquet"
    pq.write_table(changed(pq.read_table(file), FOREIGN[what]), file)
    rows, said = heard(lambda: bench.load(results))
    assert set(rows["key"]) == {job.key for job in JOBS} - {SUM.key}
    assert len(said) == 1
    assert said[0].startswith(f"{file}: ")
    assert ("another job" if what in KEYS else next(iter(FOREIGN[what]))) in said[0]
    assert said[0].isprintable()
    (sentence,) = store.set_aside(results).sentences
    assert sentence.startswith(f"{file}: ")


@pytest.mark.parametrize("what", [name for name in FOREIGN if name not in KEYS])
def test_a_packed_file_of_a_stranger_is_refused_or_read_without_the_row(results, what, tmp_path):
    file = tmp_path / "packed.parquet"
    store.pack(results, file, queries=False)
    whole = pq.read_table(file)
    ((name, column),) = FOREIGN[what].items()
    filled = pa.concat_arrays([column] * len(whole))
    if filled.type == whole[name].type:  # only the first row, as in a file in which one row was changed
        filled = pa.concat_arrays([column, *(chunk for chunk in whole[name].slice(1).chunks)])
    pq.write_table(changed(whole, {name: filled}), file)
    try:
        rows, said = heard(lambda: bench.load(file))
    except StoreError as error:
        said, rows = [str(error)], None
    assert len(said) == 1
    assert said[0].startswith(f"{file}: ")
    assert name in said[0]
    assert rows is None or set(rows["key"]) == set(whole["key"].to_pylist()[1:])


@pytest.mark.parametrize("numbers", [pa.int64(), pa.float32(), pa.float16()])
def test_numbers_of_another_width_are_numbers(results, numbers):
    file = results / SUM.key / "row.parquet"
    pq.write_table(changed(pq.read_table(file), {"recall_at_1": pa.array(np.array([1])).cast(numbers)}), file)
    rows, said = heard(lambda: bench.load(results))
    assert (len(rows), said) == (len(JOBS), [])
    assert rows.set_index("key")["recall_at_1"][SUM.key] == 1.0


def test_a_column_that_nobody_knows_is_kept_and_one_of_another_type_is_named(results):
    values = {job.key: 20.0 for job in JOBS} | {SUM.key: "hot"}
    for key, value in values.items():
        file = results / key / "row.parquet"
        pq.write_table(pq.read_table(file).append_column("watts", pa.array([value])), file)
    rows, said = heard(lambda: bench.load(results))
    assert set(rows["watts"]) == {20.0}
    assert len(rows) == len(JOBS) - 1
    assert len(said) == 1
    assert str(results / SUM.key) in said[0]
    assert "watts" in said[0]


LOG = {
    "an epoch as text": ("history.parquet", {"epoch": pa.array(["1", "2"])}),
    "no epoch": ("history.parquet", {"epoch": pa.array([None, 1], pa.int64())}),
    "an epoch below 0": ("history.parquet", {"epoch": pa.array([-1, 1])}),
    "a loss as text": ("history.parquet", {"loss": pa.array(["low", "lower"])}),
    "lists of losses": ("history.parquet", {"loss": pa.array([[1.0], [2.0]])}),
    "a first hit below 0": ("queries.parquet", {"first_hit": pa.array(np.full(32, -1))}),
    "a first hit as text": ("queries.parquet", {"first_hit": pa.array(["1"] * 32)}),
    "no first hit": ("queries.parquet", {"first_hit": pa.array([None] * 32, pa.int32())}),
    "a class without end": ("queries.parquet", {"class": pa.array(np.full(32, 2**40))}),
    "a value as text": ("queries.parquet", {"map_at_r": pa.array(["1"] * 32)}),
    "one neighbour": ("queries.parquet", {"neighbours": pa.array(np.arange(32))}),
}


@pytest.mark.parametrize("what", LOG)
def test_what_no_job_writes_down_is_named_by_its_column(results, what):
    part, columns = LOG[what]
    file = results / SUM.key / part
    pq.write_table(changed(pq.read_table(file), columns), file)
    _, said = heard(lambda: READERS[part](results))
    assert [one for one in said if str(file) in one and next(iter(columns)) in one], said
    assert repaired(results)[0] == {SUM.key}


def test_logs_and_queries_are_read_as_they_were_written(results):
    """The checks change nothing of what is right."""
    assert planned(results) == (set(), [])
    assert len(store.history(results)) == len(JOBS) * 2
    assert len(store.members(results)) == 2 * 2 * 2
    assert isinstance(store.read_queries(results, SUM.key), Queries)


def test_a_packed_file_with_logs_of_a_stranger_is_a_sentence(results, tmp_path):
    file = tmp_path / "packed.parquet"
    store.pack(results, file, queries=False)
    whole = pq.read_table(file)
    for column in (
        pa.array([[{"epoch": "one"}]] * len(whole)),
        pa.array([[{"loss": 1.0}]] * len(whole)),
        pa.array([[1]] * len(whole)),
        pa.array(["log"] * len(whole)),
    ):
        pq.write_table(changed(whole, {"history": column}), file)
        with pytest.raises(StoreError, match="its column 'history' is not one of"):
            store.history(file)


def test_a_packed_file_with_queries_of_a_stranger_is_a_sentence(results, tmp_path):
    file = tmp_path / "packed.parquet"
    store.pack(results, file)
    whole = pq.read_table(file)
    for name, column in (
        ("query_first_hit", pa.array([["a"]] * len(whole))),
        ("query_first_hit", pa.array([1] * len(whole))),
        ("query_first_hit", pa.array([{"a": 1}] * len(whole))),
        ("query_first_hit", pa.array([{}] * len(whole), pa.map_(pa.int32(), pa.int32()))),
        ("query_first_hit", pa.array([[]] * len(whole), pa.list_(pa.int32()))),
        ("query_neighbours", pa.array([[1, 2, 3]] * len(whole))),
        ("query_map_at_r", pa.array([["good"]] * len(whole))),
    ):
        pq.write_table(changed(whole, {name: column}), file)
        with pytest.raises(ValueError, match="are not those of `bench pack`") as told:
            store.read_queries(file, SUM.key)
        assert str(told.value).startswith(f"{file}: ")


def call(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr


def labelled(job: Job) -> str:
    return job.objective.label


COMMANDS: dict[str, tuple[tuple[str, ...], Callable[[Path, Path], tuple[object, ...]]]] = {
    "plan": ((), lambda place, runs: ("plan", place / "tiny.toml", "--results", runs)),
    "pack": (
        ("history.parquet", "members.parquet", "queries.parquet"),
        lambda place, runs: ("pack", place / "out.parquet", "--results", runs),
    ),
    "compare": (
        ("queries.parquet",),
        lambda place, runs: ("compare", labelled(SUM), "triplet", "--results", runs),
    ),
    "complement": (
        ("queries.parquet", "embeddings.npy"),
        lambda place, runs: ("complement", place / "tiny.toml", "--results", runs, "--output", place / "page"),
    ),
    "report": (
        ("history.parquet", "members.parquet"),
        lambda place, runs: ("report", "--results", runs, "--output", place / "page"),
    ),
}
"""What each reads beside the rows, and how it is called."""


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("way", ["noise", "pipe"])
def test_commands_name_the_file_and_go_on_without_it(results, tmp_path, command, way):
    reads, words = COMMANDS[command]
    matrix_file(
        tmp_path, seeds="2", controls="false", ensembles='[{ name = "sum", members = ["triplet", "contrastive"] }]'
    )
    for part in reads or ("history.parquet",):
        damage(results, part, way)
    code, said = call(*words(tmp_path, results))
    assert code == 0, said
    assert [part for part in reads if str(results / SUM.key / part) not in said] == []
    assert "Traceback" not in said


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(("way", "ends"), [("cut", 0), ("pipe", 2)])
def test_commands_go_on_without_a_damaged_row_and_end_at_a_closed_one(results, tmp_path, command, way, ends):
    matrix_file(
        tmp_path, seeds="2", controls="false", ensembles='[{ name = "sum", members = ["triplet", "contrastive"] }]'
    )
    file = damage(results, "row.parquet", way)
    code, said = call(*COMMANDS[command][1](tmp_path, results))
    assert (code, str(file) in said) == (ends, True), said


def test_a_run_repairs_what_is_damaged_bit_for_bit(results, trained):
    for job, part in zip(JOBS, PARTS, strict=True):
        file = results / job.key / part
        file.write_bytes(file.read_bytes()[:40] if file.exists() else b"half a log")
    keys, said = heard(lambda: [event.job.key for event in bench.run(asked(), results=results) if event.kind == "done"])
    assert sorted(keys) == sorted(job.key for job in JOBS)
    assert len(said) == len(JOBS)
    for job in JOBS:
        assert np.array_equal(store.embeddings(results, job.key), store.embeddings(trained, job.key))
    assert planned(results) == (set(), [])


@pytest.fixture(scope="module")
def packed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    file = tmp_path_factory.mktemp("packed") / "rows.parquet"
    store.pack(trained, file)
    return pq.read_table(file)


@pytest.mark.parametrize("emptied", [False, True], ids=["without the column", "with an empty column"])
@pytest.mark.parametrize("name", sorted({*known(), "recall_at_1"} - set(ESSENTIAL)))
def test_rows_of_others_may_lack_any_column_that_is_not_essential(packed, tmp_path, name, emptied):
    file = tmp_path / "theirs.parquet"
    theirs = packed.select([one for one in packed.column_names if one != name])
    if emptied:
        theirs = theirs.append_column(name, pa.nulls(len(packed)))
    pq.write_table(theirs, file)
    rows = bench.load(file)
    found = boards(rows)
    assert "Theirs" in markdown(found, title="Theirs", facts=facts(rows), plots={})
    assert terminal(found)
    assert set(standing(JOBS, file, choose=True).statuses) >= {job.key for job in JOBS}
