"""What is asked of a cluster, and how many jobs its nodes have room for. Nothing here needs Ray, or a cluster."""

import socket
import sys

import pytest
from support.jobs import matrix_file

import bench
from bench.execute import ray_cluster
from bench.execute.ray_cluster import Cluster, Share, connected, share
from bench.execute.stop import Stop
from bench.execute.worker import Setup
from bench.matrix.job import ConfigError


def node(**resources):
    return {"Resources": {name.upper().rstrip("S"): value for name, value in resources.items()}}


@pytest.mark.parametrize(
    ("held", "resources", "jobs"),
    [
        (Share(1, 0), {"cpus": 8.0}, 8),
        (Share(4, 0), {"cpus": 7.0}, 1),
        (Share(0.1, 0), {"cpus": 0.3}, 3),
        (Share(1, 1), {"cpus": 8.0}, 0),
        (Share(1, 0.25), {"cpus": 8.0, "gpus": 1.0}, 4),
        (Share(1, 0.25), {"cpus": 3.0, "gpus": 4.0}, 3),
        (Share(1, 0.4), {"cpus": 16.0, "gpus": 2.0}, 4),  # two on each card, though 2 / 0.4 is 5
    ],
)
def test_a_node_has_room_for_so_many_jobs(held, resources, jobs):
    assert held.fits(node(**resources)) == jobs


@pytest.mark.parametrize(
    ("cluster", "expected"),
    [
        (Cluster(), Share(2, 1)),
        (Cluster(device="cpu"), Share(2, 0)),
        (Cluster(cpus=0.5, gpus=0.25), Share(0.5, 0.25)),
    ],
)
def test_a_job_holds_a_cpu_for_each_thread_and_a_gpu_if_there_is_one(cluster, expected):
    assert share(cluster, [node(cpus=4.0), node(cpus=4.0, gpus=1.0)], threads=2) == expected


def test_without_gpus_a_job_holds_none():
    assert share(Cluster(), [node(cpus=4.0)], threads=1) == Share(1, 0)


@pytest.mark.parametrize(
    ("cluster", "sentence"),
    [
        (Cluster(cpus=64), "--cpus-per-job 64: no node of the cluster has more than 16"),
        (Cluster(gpus=0.5), "--gpus-per-job 0.5: no node of the cluster has more than 0"),
        (Cluster(device="cuda"), "--gpus-per-job 1: no node of the cluster has more than 0"),
    ],
)
def test_more_than_any_node_has_is_refused(cluster, sentence):
    with pytest.raises(ConfigError, match=sentence):
        share(cluster, [node(cpus=16.0), node(cpus=8.0)], threads=1)


def test_cpus_and_gpus_have_to_be_of_one_node():
    with pytest.raises(ConfigError, match="has both 16 CPUs and 1 GPUs"):
        share(Cluster(cpus=16, gpus=1), [node(cpus=16.0), node(cpus=8.0, gpus=1.0)], threads=1)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cpus_per_job": 0.0}, "--cpus-per-job 0: give a whole number, or a part of one CPU"),
        ({"cpus_per_job": 1.5}, "--cpus-per-job 1.5: give a whole number"),
        ({"cpus_per_job": float("inf")}, "--cpus-per-job inf: give a whole number"),
        ({"workers": 0}, "--workers 0: give 1 or more"),
        ({"gpus_per_job": 2.0}, "--gpus-per-job 2: a job trains on one GPU"),
        ({"gpus_per_job": float("nan")}, "--gpus-per-job nan: a job trains on one GPU"),
        ({"gpus_per_job": 0.5, "device": "cpu"}, "--gpus-per-job 0.5 and --device cpu exclude each other"),
        ({"device": "gpu"}, "choose auto, cpu or cuda"),
        ({"executor": "local", "cpus_per_job": 0.5}, "--cpus-per-job belongs to --executor ray"),
        ({"executor": "local", "address": "auto"}, "--address belongs to --executor ray"),
        ({"executor": "local", "any_versions": True}, "--any-versions belongs to --executor ray"),
    ],
)
def test_a_wrong_request_is_said_before_anything_is_stored(tmp_path, options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        next(bench.run(matrix_file(tmp_path), results=tmp_path / "runs", **{"executor": "ray", **options}))
    assert not (tmp_path / "runs").exists()


def test_without_ray_the_command_to_install_it_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)  # as if it were not installed
    with pytest.raises(ConfigError, match=r"pip install 'lossbench\[ray\]'"):
        next(bench.run(matrix_file(tmp_path), results=tmp_path / "runs", executor="ray"))


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:port", ":6379"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConfigError, match=r"give auto, local, or HOST:PORT"), connected(address):
        pass


def test_an_address_where_nobody_listens_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    said = rf"--address 127.0.0.1:{port}: no Ray cluster answers there \("
    with pytest.raises(ConfigError, match=said), connected(f"127.0.0.1:{port}"):
        pass


def test_what_one_node_lacks_is_told_though_another_one_of_its_name_is_fit(tmp_path, monkeypatch):
    """As pods behind one address are, or nodes on one machine."""
    told = [("node a (::1)", ["it has torch 1"])] * 2 + [("node a (::1)", [])]
    monkeypatch.setattr(ray_cluster, "each_node", lambda *_: iter(told))
    with pytest.raises(ConfigError, match=r"^node a \(::1\): it has torch 1$"):
        ray_cluster.see_fit(None, [node()], Setup("cpu", 1, tmp_path, None), stop=Stop())
