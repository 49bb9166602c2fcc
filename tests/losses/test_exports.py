"""What losses exports, which needs no list."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.generated import ROOT

import losses
from bench.matrix.catalogue import entries

LOSSES = ROOT / "losses"
EXPORTED = {**entries("losses"), **entries("ensembles")}


@pytest.mark.parametrize("name", EXPORTED)
def test_every_loss_and_ensemble_is_exported_by_its_name(name: str) -> None:
    """Also once the files were imported: none has the name of something in it."""
    importlib.import_module(EXPORTED[name].module)
    assert getattr(losses, name) is EXPORTED[name].function()
    assert name in dir(losses)
    assert not (LOSSES / f"{name}.py").exists()


def test_nothing_else_is_exported_and_no_builtin_is_hidden() -> None:
    assert set(losses.__all__) == EXPORTED.keys() - {"sum"} | {"Shape", "Unsuitable"}
    with pytest.raises(AttributeError, match="losses has no 'tripet'"):
        _ = losses.tripet
    with pytest.raises(ImportError, match="tripet"):
        from losses import tripet  # noqa: F401


def test_importing_and_listing_needs_no_torch() -> None:
    code = "import sys, losses; print(len(dir(losses)) > 40, 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["True", "False"]


def test_a_new_file_is_found_without_a_list(tmp_path: Path) -> None:
    """A copy of the package with one more file in it."""
    shutil.copytree(LOSSES, tmp_path / "losses")
    source = (LOSSES / "distribution.py").read_text(encoding="utf-8").replace("histogram", "another")
    (tmp_path / "losses" / "novelty.py").write_text(source, encoding="utf-8")
    code = "from losses import Shape, another; print(another(Shape(8, 3)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.stdout.startswith("another(bins=100)"), run.stderr
