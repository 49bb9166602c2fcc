"""Jobs on a cluster of two nodes, each of which is a few processes of this machine. No clock decides."""

import re
import shutil
import signal
import socket
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest
from support.jobs import matrix_file, tiny
from support.sample_sets import call, own
from support.terminal import BENCH, surroundings

import bench
from bench.datasets.split import OtherDataError
from bench.execute import pool, ray_executor
from bench.execute.conditions import Conditions
from bench.execute.event import ENDINGS
from bench.execute.ray_cluster import Cluster, connected, each_node
from bench.execute.stop import Stop
from bench.execute.worker import Limits
from bench.matrix.job import ConfigError
from bench.store.mirror import mirrored

pytest.importorskip("ray", reason="Ray is not installed: pip install 'lossbench[ray]'")

pytestmark = pytest.mark.filterwarnings("default")  # Ray has warnings of its own
LONG = {"epochs": 40}
"""Epochs that last longer than it takes to kill a node."""
JOBS = tiny(losses=["triplet", "contrastive", "proxy_nca", "multi_similarity"], recipe=LONG)
OFTEN = 1e-6
"""Minutes between checkpoints: one after each step."""
SMALL = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
SMALL |= {"no_monitor": True, "include_log_monitor": False}
"""A node of as few processes as it can do with, and with room for one job."""
PORTS = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
"""Where a node is told these, it does not wait for its agents, which a busy machine starts too late for it."""


def small():
    with ExitStack() as stack:
        found = [stack.enter_context(socket.create_server(("", 0))).getsockname()[1] for _ in PORTS]
    return {**SMALL, **dict(zip(PORTS, found, strict=True))}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two nodes; the driver is connected to the first one. They and the driver have a home of their own."""
    from ray.cluster_utils import Cluster as Processes

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # else its workers hardly run beside other tests
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PYTHONPATH", surroundings()["PYTHONPATH"])
        made = Processes(initialize_head=True, head_node_args=small())
        try:
            made.add_node(**small())
            yield made
        finally:
            made.shutdown()


def run(jobs, results, cluster, **options):
    """The events of these jobs, none of which waits for another."""
    results.mkdir(exist_ok=True)
    queue = iter(jobs)
    place = options.pop("places", Cluster(cluster.address))
    return ray_executor.execute(lambda: next(queue, None), jobs, Conditions(results, None, place, **options))


def bits(folder):
    """What has to be equal, by key."""
    return bench.load(folder).set_index("key").sort_index()[["status", "embeddings_sha", "recall_at_1", "nmi"]]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same of these jobs without Ray."""
    results, queue = tmp_path_factory.mktemp("local"), iter(JOBS)
    for _ in pool.execute(lambda: next(queue, None), JOBS, Conditions(results, None, ["cpu"])):
        pass
    found = bits(results)
    return lambda jobs: found[found.index.isin([job.key for job in jobs])]


def actors():
    return [one for one in psutil.process_iter() if one.name().startswith("ray::Host") or "ray::Host" in _line(one)]


def _line(process):
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def remarks_of_lost_nodes(told):
    """All remarks. Ray may start an actor anew on a node that is going, so that one node is lost to a job twice."""
    remarks = [event for event in told if event.kind == "remark"]
    assert [event.reason for event in remarks if "its node was lost" not in event.reason] == []
    return remarks


def test_a_node_is_lost_in_the_middle_of_a_job_and_the_bits_are_those_of_a_local_run(cluster, local, tmp_path):
    jobs, far, told = JOBS[:3], set(), []
    with closing(run(jobs, tmp_path / "ray", cluster, limits=Limits(checkpoint_every=OFTEN))) as events:
        for event in events:
            told.append(event)
            far |= {event.job.key} if event.kind == "epoch" and event.epochs >= 3 else set()
            if len(far) == 2 and cluster.worker_nodes:
                (node,) = cluster.worker_nodes
                cluster.remove_node(node, allow_graceful=False)
    assert [event.kind for event in told if event.kind in ENDINGS] == ["done"] * 3
    assert [event.kind for event in told].count("started") == 3
    lost = [event.job.key for event in remarks_of_lost_nodes(told)]
    rows = bench.load(tmp_path / "ray").set_index("key")
    assert lost
    assert (rows.loc[lost, "resumed"] >= 1).all()
    assert bits(tmp_path / "ray").equals(local(jobs))


def test_of_three_nodes_that_share_no_folder_two_leave_one_after_the_other(cluster, local, tmp_path, monkeypatch):
    """Each of them has a cache of its own, and so has the driver; the results go to an address."""
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "driver"))
    address = f"file://{tmp_path}/far"
    for node in list(cluster.worker_nodes):
        cluster.remove_node(node)
    for name in ("node0", "node1"):
        cluster.add_node(**small(), env_vars={"BENCH_CACHE": str(tmp_path / name)})
    far, told = {}, []
    with closing(run(JOBS, mirrored(address), cluster, limits=Limits(checkpoint_every=OFTEN))) as events:
        for event in events:
            told.append(event)
            if event.kind == "epoch":
                far[event.job.key] = event.epochs
            left = len(cluster.worker_nodes)
            if sum(epochs >= 6 - 2 * left for epochs in far.values()) >= 3 and left:
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
    assert not cluster.worker_nodes
    assert [event.kind for event in told if event.kind in ENDINGS] == ["done"] * 4
    assert len({event.job.key for event in told if event.kind == "done"}) == 4
    assert len(remarks_of_lost_nodes(told)) >= 2
    assert bench.load(address)["resumed"].sum() >= 2
    assert bits(address).equals(local(JOBS))
    assert sum((place / "results").exists() for place in tmp_path.iterdir()) >= 3


def test_a_job_that_loses_its_actor_again_and_again_has_failed(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(ray_executor, "TRIES", 1)
    endless, job = tiny(losses=[{"name": "triplet", "recipe": {"epochs": 10**7}}, "contrastive"])
    told = []
    with closing(run([endless, job], tmp_path / "ray", cluster, places=Cluster(cluster.address, most=1))) as events:
        for event in events:
            told.append(event)
            if event.kind == "epoch" and event.job == endless:
                for one in actors():
                    one.kill()
    assert [(event.kind, event.job.key) for event in told if event.kind in ENDINGS] == [
        ("failed", endless.key),
        ("done", job.key),
    ]
    assert [event.kind for event in told].count("remark") == 1
    rows = bench.load(tmp_path / "ray").set_index("key")
    assert "lost 2 times" in rows.loc[endless.key, "reason"]
    assert actors() == []


def test_a_driver_is_stopped_then_killed_and_the_same_command_continues(cluster, tmp_path):
    """With a model ensemble, which waits for its members."""
    ensemble = '[{ name = "concatenate", members = ["triplet", "contrastive"] }]'
    losses = '["triplet", "contrastive", "proxy_nca"]'
    matrix = matrix_file(tmp_path, losses=losses, model_ensembles=ensemble, controls="false")
    options = ("--executor", "ray", "--address", cluster.address, "--workers", "1", "--set", "recipe.epochs=20")
    command = [*BENCH, "run", str(matrix), "--results", str(tmp_path / "ray"), "--checkpoint-every", str(OFTEN)]
    for line, number in (("[1/4]", signal.SIGTERM), ("[1/3]", signal.SIGKILL), ("4 done", None)):
        with subprocess.Popen(
            [*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=surroundings()
        ) as process:
            said = ""
            while line not in said:
                said += (more := process.stderr.readline())
                assert more, said
            if number is not None:
                process.send_signal(number)
            said += process.stderr.read()
        assert "Traceback" not in said
        if number == signal.SIGTERM:
            assert "interrupted; the same command continues" in said
            assert process.returncode == 130
    events = bench.run(matrix, results=tmp_path / "local", workers=1, changes=["recipe.epochs=20"])
    assert [event.kind for event in events].count("done") == 4
    assert bits(tmp_path / "ray").equals(bits(tmp_path / "local"))


def test_more_than_any_node_has_is_refused_before_anything_trains(cluster, tmp_path):
    with pytest.raises(ConfigError, match="--cpus-per-job 64: no node of the cluster has more than 1"):
        list(run(tiny(), tmp_path / "ray", cluster, places=Cluster(cluster.address, cpus=64)))


def test_data_is_prepared_once_on_every_node_and_other_data_is_named(cluster, tmp_path, monkeypatch):
    """One of them has another home, so that one path leads to other pictures there."""
    homes, caches = [Path.home(), tmp_path / "home"], [tmp_path / name for name in ("one", "two")]
    other = cluster.add_node(**small(), env_vars={"HOME": str(homes[1]), "BENCH_CACHE": str(caches[1])})
    for home in homes:
        own(home / "mine")
    monkeypatch.setenv("BENCH_CACHE", str(caches[0]))
    asked = ("prepare", "folder", "--set", "path=~/mine", "--set", "size=16", "--data", tmp_path)
    ray = ("--executor", "ray", "--address", cluster.address)
    said = call(*asked, *ray)
    assert (said.exit_code, said.stderr) == (0, "")
    assert said.stdout.count(": the same data\n") == len(cluster.worker_nodes) + 1
    assert [len(list(cache.iterdir())) for cache in caches] == [1, 1]
    next((homes[1] / "mine").rglob("*.png")).unlink()
    said = call(*asked, *ray)
    assert said.exit_code == 2
    assert re.search(r"^bench: node .+: folder\(.+\): the data on .+ is not what this command began with", said.stderr)
    assert said.stdout.count(": the same data\n") == len(cluster.worker_nodes)
    matrix = matrix_file(tmp_path, datasets='[{ name = "folder", path = "~/mine", size = 16 }]', seeds="4")
    changes, way = ["recipe.classes_per_batch=3"], {"executor": "ray", "address": cluster.address}
    with pytest.raises(OtherDataError, match="make it the same"), pytest.warns(UserWarning, match="files left out"):
        list(bench.run(matrix, results=tmp_path / "runs", data=tmp_path, changes=changes, **way))
    shutil.rmtree(homes[1])
    said = call(*asked, *ray)
    assert re.search(r"^bench: node .+: .+ is not a folder", said.stderr)
    cluster.remove_node(other)


def test_what_ends_before_it_has_answered_has_said_nothing(cluster):
    def end(_):
        import os

        os.kill(os.getpid(), 9)

    with connected(cluster.address) as ray:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        assert list(each_node(ray, nodes, end, None, Stop())) == []


def until_own_node_is_lost(jobs, results, cluster):
    """The events of a run whose node is killed in the middle, which Ray takes seconds to see."""
    with connected(cluster.address) as ray:
        own = ray.get_runtime_context().get_node_id()
        (node,) = (one for one in cluster.list_all_nodes() if one.node_id == own)
        killed = False
        with closing(run(jobs, results, cluster, limits=Limits(checkpoint_every=OFTEN))) as events:
            for event in events:
                yield event
                if event.epochs >= 3 and not killed:
                    node.kill_raylet()
                    killed = True


def test_the_node_of_the_driver_is_lost_and_the_same_command_goes_on_from_another_one(cluster, local, tmp_path):
    """The last test with this cluster: its first node may be the one. An endless job sees that the run ends by this."""
    if not cluster.worker_nodes:
        cluster.add_node(**small())
    (endless,) = tiny(recipe={"epochs": 10**7})
    with pytest.raises(ConfigError, match="the node of this run has left"):
        list(until_own_node_is_lost([endless, *JOBS[:2]], tmp_path / "ray", cluster))
    stored = set(bench.load(tmp_path / "ray")["key"])
    left = [job for job in JOBS[:2] if job.key not in stored]
    assert left
    cluster.add_node(**small())  # seen once: Ray knew of no other node any more
    assert [event.kind for event in run(left, tmp_path / "ray", cluster)].count("done") == len(left)
    assert bits(tmp_path / "ray").equals(local(JOBS[:2]))
