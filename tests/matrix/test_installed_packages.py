"""Parts of installed packages: found by their entry points, as an installer writes them, and read without an import."""

import sys
import warnings

import pytest
from support.jobs import tiny
from support.plugins import LOSS, plugin_file

from bench.matrix import plugins_in_use
from bench.matrix.catalogue import find
from bench.matrix.plugin_file import PluginError
from bench.matrix.plugins import use


@pytest.fixture(autouse=True)
def _none_afterwards():
    yield
    use([])


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package as an installer leaves it, whose __init__ must not be run to plan."""

    def installed(points, text=LOSS):
        place = tmp_path / "site"
        (place / "own_losses").mkdir(parents=True)
        (place / "own_losses" / "__init__.py").write_text("import sys\nsys.own_losses_was_imported = True\n")
        plugin_file(place / "own_losses", text, "pairs.py")
        info = place / "own_losses-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-losses\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(points)
        monkeypatch.syspath_prepend(place)
        plugins_in_use._installed.cache_clear()
        return place

    yield installed
    monkeypatch.undo()
    plugins_in_use._installed.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_losses"]:
        del sys.modules[name]


@pytest.mark.parametrize("value", ["own_losses.pairs", "own_losses.pairs:sigmoid_pairs"])
def test_an_installed_package_adds_what_its_entry_points_name(value, package):
    place = package(f"[lossbench.losses]\nany name = {value}\n", f"{LOSS}\nfrom own_losses.more import x\n")
    (place / "own_losses" / "more.py").write_text("x = 1\n")
    (job,) = tiny(losses=["sigmoid_pairs"])
    assert not hasattr(sys, "own_losses_was_imported")
    plugins_in_use._installed.cache_clear()
    (place / "own_losses" / "more.py").write_text("x = 2\n")
    (changed,) = tiny(losses=["sigmoid_pairs"])
    assert changed.key != job.key
    function = find("losses", "sigmoid_pairs").function()
    assert function.__module__ == "own_losses.pairs"
    del sys.own_losses_was_imported


@pytest.mark.parametrize(
    ("points", "text", "said"),
    [
        ("[lossbench.losses]\na = own_losses.nothing\n", LOSS, "names no Python module; it is left out"),
        ("[lossbench.losses]\na = not_there.at_all\n", LOSS, "names no Python module; it is left out"),
        ("[lossbench.losses]\na = own_losses.pairs:other\n", LOSS, "defines no function of the kind losses"),
        ("[lossbench.floors]\na = own_losses.pairs\n", LOSS, "defines no function of the kind floors"),
        ("[lossbench.losses]\na = own_losses.pairs\n", "def f(shape", "line 1 is not Python"),
        ("[lossbench.losses]\na = own_losses.pairs\n", "def triplet(shape): ...", "'triplet' is taken by lossbench"),
        ("[lossbench.losses]\na = own_losses.pairs\n", "def f(shape, *, a=1): ...", "f: say what 'a' may be"),
    ],
)
def test_a_package_that_cannot_be_used_is_a_warning_and_stops_nothing(points, text, said, package):
    package(points, text)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        use([])
        assert len(tiny()) == 1
    (warning,) = caught
    assert said in str(warning.message)
    assert "own-losses (" in str(warning.message)
    assert find("losses", "triplet").plugin is None


def test_a_file_and_a_package_share_no_name(package, tmp_path):
    package("[lossbench.losses]\na = own_losses.pairs\n")
    with pytest.raises(PluginError, match=r"'sigmoid_pairs' is taken by own-losses \(own_losses\.pairs\): give yours"):
        use([plugin_file(tmp_path)])
