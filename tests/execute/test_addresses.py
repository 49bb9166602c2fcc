"""A matrix whose results are at an address: killed, continued where nothing of it is, and reported from there."""

import shutil
import signal
import subprocess
from contextlib import closing, contextmanager

import fsspec
import pytest
from support.jobs import matrix_file
from support.terminal import BENCH, surroundings

import bench

OFTEN = 1e-6
"""Minutes between checkpoints: one after each step."""
LONG = ["recipe.epochs=20"]
SECRET = "the-secret-of-the-bucket"
ENSEMBLE = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'


@pytest.fixture(scope="module")
def matrix(tmp_path_factory):
    return matrix_file(tmp_path_factory.mktemp("matrix"), model_ensembles=ENSEMBLE, controls="false")


@pytest.fixture(scope="module")
def local(matrix, tmp_path_factory):
    """What a run in a folder gives."""
    folder = tmp_path_factory.mktemp("local") / "runs"
    for _ in bench.run(matrix, results=folder, workers=1, changes=LONG):
        pass
    return bits(folder)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def bits(results):
    rows = bench.load(results).set_index("key").sort_index()
    assert set(rows["status"]) == {"done"}
    return rows[["embeddings_sha", "first_hits_sha", "recall_at_1", "nmi"]]


def test_a_run_that_is_closed_goes_on_without_the_folder_that_it_had(matrix, local, cache):
    options = {"results": "memory://bucket/closed", "workers": 1, "changes": LONG}
    with closing(bench.run(matrix, checkpoint_every=OFTEN, **options)) as events:
        ended = 0
        for event in events:  # until the second job has a checkpoint
            ended += event.kind == "done"
            if ended and event.kind == "checkpoint" and event.job.objective.name == "contrastive":
                break
    shutil.rmtree(cache / "results")
    told = [event.kind for event in bench.run(matrix, **options)]
    assert (told.count("stored"), told.count("done")) == (1, 2)
    assert bits("memory://bucket/closed").equals(local)
    assert bench.load("memory://bucket/closed").set_index("objective").loc["contrastive", "resumed"] == 1
    assert not [name for name in fsspec.filesystem("memory").find("/bucket/closed") if "lossbench" in name]


@contextmanager
def bucket(monkeypatch):
    """An address in a bucket of a server on this machine."""
    boto3 = pytest.importorskip("boto3", reason="moto is not installed: pip install 'moto[s3]' flask flask-cors")
    server = pytest.importorskip("moto.moto_server.threaded_moto_server").ThreadedMotoServer("127.0.0.1", 0, False)
    pytest.importorskip("s3fs")
    server.start()
    host, port = server.get_host_and_port()
    try:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "someone",
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            monkeypatch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="bucket")
        yield client
        client.close()
    finally:
        server.stop()


def command(*words):
    return subprocess.Popen(
        [*BENCH, *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=surroundings()
    )


def test_a_run_at_a_bucket_is_killed_and_continued_and_reported_elsewhere(matrix, local, cache, monkeypatch, tmp_path):
    run = ("run", matrix, "--results", "s3://bucket/some/runs", "--workers", "1", "--set", *LONG)
    with bucket(monkeypatch) as client:
        with command(*run, "--checkpoint-every", OFTEN) as process:
            said = ""
            while "[1/3]" not in said:
                said += (more := process.stderr.readline())
                assert more, said
            process.send_signal(signal.SIGKILL)
        shutil.rmtree(cache / "results")
        with command(*run) as process:
            out, err = process.communicate()
        assert "3 cells, 1 done before" in err
        assert (process.returncode, err.splitlines()[-1]) == (0, "3 done")
        shutil.rmtree(cache / "results")
        with command("report", "--results", "s3://bucket/some/runs", "--output", tmp_path / "page") as process:
            process.communicate()
        assert "concatenate" in (tmp_path / "page" / "README.md").read_text()
        with command("run", matrix, "--results", "s3://none/runs") as process:
            refused = process.communicate()[1]
        assert (process.returncode, refused.count("\n")) == (2, 1)
        assert "s3://none/runs: cannot be written (The specified bucket does not exist)" in refused
        objects = [one["Key"] for one in client.list_objects_v2(Bucket="bucket")["Contents"]]
        contents = b"".join(client.get_object(Bucket="bucket", Key=key)["Body"].read() for key in objects)
    (folder,) = (one for one in (cache / "results").iterdir() if "some-runs" in one.name)
    assert bits(folder).equals(local)
    assert {key.rpartition("/")[0].count("/") for key in objects} == {2}  # nothing but what is in folders of jobs
    for told in (contents, (said + out + err + refused).encode(), *(file.read_bytes() for file in folder.rglob("*.*"))):
        assert SECRET.encode() not in told
