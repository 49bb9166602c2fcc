"""Parts of the user's own, from files and from packages: found, named, checked and hashed without an import."""

import subprocess
import sys

import pytest
from support.jobs import tiny
from support.plugins import ALL_KINDS, LOSS, plugin_file

from bench.matrix.catalogue import KINDS, check, entries, find, own_entries
from bench.matrix.job import ConfigError
from bench.matrix.plugin_file import POSITIONAL, PluginError
from bench.matrix.plugins import unused, use
from bench.matrix.plugins_in_use import named


@pytest.fixture(autouse=True)
def _none_afterwards():
    yield
    use([])


OWN = {
    "losses": {"sigmoid_pairs"},
    "ensembles": {"halves"},
    "backbones": {"tiny_trunk"},
    "datasets": {"stripes"},
    "floors": {"brightness"},
    "model_ensembles": {"first_only"},
    "metrics": {"half_recall", "half_recall_at", "purity"},
}


def added():
    return {kind: new for kind in KINDS if (new := entries(kind).keys() - own_entries(kind).keys())}


def test_what_a_function_is_follows_from_its_positional_arguments(tmp_path):
    use([plugin_file(tmp_path, ALL_KINDS)])
    assert added() == OWN
    assert find("losses", "sigmoid_pairs").label == "Sigmoid of pairs (after Zhai et al., ICCV 2023)."
    assert check(find("ensembles", "halves"), {}) == {"share": 0.5}
    assert {"width", "pooling"} <= find("backbones", "tiny_trunk").parameters.keys()


@pytest.mark.parametrize("kind", sorted({*POSITIONAL.values()}))
def test_our_own_parts_follow_the_same_rule(kind):
    others = [e.positional for e in own_entries(kind).values() if POSITIONAL.get(e.positional) != kind]
    assert others in ([], [("channels", "model", "size", "packaged")])


def test_a_plugin_is_in_use_until_others_are(tmp_path):
    use([plugin_file(tmp_path)])
    tiny(losses=["sigmoid_pairs"])
    use([])
    with pytest.raises(ConfigError, match="there is no loss 'sigmoid_pairs'"):
        tiny(losses=["sigmoid_pairs"])


def test_all_names_what_is_public(tmp_path):
    text = '__all__ = ["one"]\n\ndef one(shape): ...\n\ndef two(shape): ...\n\ndef _three(shape): ...\n'
    use([plugin_file(tmp_path, text)])
    assert added()["losses"] == {"one"}
    use([plugin_file(tmp_path, text.partition("\n")[2])])
    assert added()["losses"] == {"one", "two"}


def test_reading_runs_nothing(tmp_path):
    file = plugin_file(tmp_path, f"{LOSS}\nraise SystemExit('it was run')\n")
    code = (
        f"import sys; from bench.matrix.plugins import use; use([{str(file)!r}])\n"
        "from bench.matrix.catalogue import find; print(find('losses', 'sigmoid_pairs').label, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "Sigmoid of pairs (after Zhai et al., ICCV 2023). False\n"
    assert not (tmp_path / "__pycache__").exists()


WRONG = {
    "def mine(shape, *, margin=1.0): ...": "mine: say what 'margin' may be, as in margin: float = 1.0",
    "def mine(shape, *, margin: Margin = 1.0): ...": "the type of 'margin' has 'Margin', which a matrix cannot set",
    "def mine(shape, *, margin: 'float' = 1.0): ...": "write the type of 'margin' without quotes: float",
    "def mine(shape, *, margin: __import__('os') = 1.0): ...": "the type of 'margin' has '__import__'",
    "def mine(shape, *, margin: float = math.pi): ...": "the default of 'margin', math.pi, is no plain value",
    "def mine(shape, *, margin: float = 1e999): ...": "the default of 'margin', 1e309, is no plain value",
    "def mine(shape, *, margin: int = 0.5): ...": "mine: margin = 0.5 is not possible; it should be a valid integer",
    "def mine(shape, margin=0.5): ...": "mine: put a * before 'margin', as in def mine(shape, *, margin, ...)",
    "def mine(embeddings, labels): ...": "no function here is a part (mine(embeddings, labels)): a loss begins with",
    "def mine(shape, **more: float): ...": "no function here is a part",
    "x = 1": "no function here is a part (it has no public function)",
    "def mine(ranking, *, k: int = 1): ...": "a matrix cannot set 'k' of a metric",
    "def mine(shape):\n  return (": "line 2 is not Python",
    "x\0": "is not Python",
    "__all__ = sorted(names)\ndef mine(shape): ...": "write __all__ as a plain list of names",
    "import near\ndef triplet(shape): ...": "the name 'triplet' is taken by lossbench: give yours another name",
    "def sum(shape): ...": "the name 'sum' is taken by lossbench",
    "def mine(_width, *, hidden: int = 9): ...": "mine: every backbone has 'hidden' already: give yours another name",
    "def mine(channels, *, pooling: str = 'max'): ...": "mine: every backbone has 'pooling' already",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_plugin_is_one_sentence(text, tmp_path):
    use([good := plugin_file(tmp_path, name="good.py")])
    with pytest.raises(PluginError) as error:
        use([good, plugin_file(tmp_path, text)])
    (said,) = str(error.value).splitlines()
    assert said.startswith(f"{tmp_path / 'my_losses.py'}: ")
    assert WRONG[text] in said


def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(PluginError, match=r"nothing\.py: there is no such file; name a Python file"):
        use([tmp_path / "nothing.py"])
    with pytest.raises(PluginError, match="cannot be opened"):
        use([tmp_path])


def test_two_plugins_share_no_name(tmp_path):
    one, two = plugin_file(tmp_path), plugin_file(tmp_path, name="two.py")
    with pytest.raises(PluginError, match=r"two\.py: the name 'sigmoid_pairs' is taken by .*my_losses\.py: give"):
        use([one, two])
    use([one, tmp_path / ".." / tmp_path.name / one.name])
    assert len(named()) == 1


def keys(file, **changes):
    use([file])
    return {job.objective.label: job.key for job in tiny(losses=["triplet", "sigmoid_pairs"], **changes)}


def test_the_content_of_a_plugin_is_part_of_the_keys_of_its_jobs_alone(tmp_path):
    use([])
    (plain,) = tiny()
    first = keys(plugin_file(tmp_path))
    assert first["triplet"] == plain.key
    assert keys(plugin_file(tmp_path, name="renamed.py")) == first
    changed = keys(plugin_file(tmp_path, LOSS.replace("scale * similar", "scale * similar + 0")))
    assert changed["triplet"] == plain.key
    assert changed["sigmoid_pairs"] != first["sigmoid_pairs"]


def test_members_and_other_parts_have_it_too(tmp_path):
    use([file := plugin_file(tmp_path, ALL_KINDS)])
    (sha,) = [plugin.sha for plugin in named()]

    def jobs():
        made = tiny(
            datasets=["stripes"],
            backbones=["tiny_trunk"],
            ensembles=[{"name": "sum", "members": ["triplet", "sigmoid_pairs"]}],
            model_ensembles=[{"name": "first_only", "members": ["triplet"]}],
            floors=["brightness"],
        )
        return {job.kind: job for job in made}

    before = jobs()
    assert before["loss"].dataset.plugin == before["loss"].backbone.plugin == sha
    assert before["loss"].objective.plugin is None
    assert [member.plugin for member in before["ensemble"].objective.members] == [None, sha]
    assert before["model_ensemble"].objective.plugin == before["floor"].objective.plugin == sha
    use([plugin_file(tmp_path, f"{ALL_KINDS}\n# changed\n")])
    after = jobs()
    assert not {job.key for job in before.values()} & {job.key for job in after.values()}
    assert file.name == "my_losses.py"


def test_local_modules_that_it_imports_count_as_well(tmp_path):
    text = f"{LOSS}\nfrom near import pulled\nimport os\n"
    (tmp_path / "near.py").write_text("from inside.deep import pulled\n")
    (tmp_path / "os.py").write_text("a file that shadows nothing\n")
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "deep.py").write_text("pulled = 1\n")
    (tmp_path / "far.py").write_text("pulled = 1\n")
    file = plugin_file(tmp_path, text)
    first = keys(file)
    (tmp_path / "far.py").write_text("pulled = 2\n")
    assert keys(file) == first
    (tmp_path / "inside" / "deep.py").write_text("pulled = 2\n")
    assert keys(file)["sigmoid_pairs"] != first["sigmoid_pairs"]
    (tmp_path / "near.py").write_text("from inside.deep import (\n")
    with pytest.raises(PluginError, match=r"near\.py: line 1 is not Python"):
        use([file])


def test_a_stored_job_is_read_without_the_plugin(tmp_path):
    use([plugin_file(tmp_path)])
    (job,) = tiny(losses=["sigmoid_pairs"])
    use([])
    again = type(job).stored(job.model_dump_json())
    assert again == job
    assert again.key == job.key


def test_a_plugin_that_nothing_uses_is_told(tmp_path):
    use([plugin_file(tmp_path), plugin_file(tmp_path, "def mine(ranking): ...", name="metric.py")])
    assert unused(named(), tiny(losses=["sigmoid_pairs"])) == []
    (said,) = unused(named(), tiny())
    assert said.endswith("my_losses.py: the matrix uses nothing of this plugin; name its functions there")


IMPORTED = '''
from near import number

number += 0


def mine(shape, *, margin: float = 1.0):
    """Mine."""
    return number
'''


def test_importing_finds_what_lies_beside_it_and_leaves_no_trace(tmp_path):
    functions = []
    for number in (1, 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "near.py").write_text(f"number = {number}\n")
        use([plugin_file(folder, IMPORTED)])
        functions.append(find("losses", "mine").function())
    assert [function(None) for function in functions] == [1, 2]
    assert not any(str(tmp_path) in place for place in sys.path)
    assert not list(tmp_path.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import no_such_thing\ndef mine(shape): ...",
            "cannot be imported (ModuleNotFoundError: No module named 'no_such_thing' in line 1): mend it",
        ),
        ("def mine(shape): ...\n\n1 / 0", "cannot be imported (ZeroDivisionError: division by zero in line 3)"),
        ("def mine(shape): ...\n\nexit(3)", "cannot be imported (SystemExit: 3 in line 3): mend it"),
        ("def mine(shape): ...\nmine = 3", "mine is no function once the file has run"),
    ],
)
def test_what_fails_on_import_is_one_sentence(text, said, tmp_path):
    use([plugin_file(tmp_path, text)])
    with pytest.raises(PluginError) as error:
        find("losses", "mine").function()
    assert said in str(error.value)


def test_a_file_that_changes_after_it_was_read_is_not_run(tmp_path):
    use([file := plugin_file(tmp_path)])
    plugin_file(tmp_path, LOSS.replace("10.0", "20.0"))
    with pytest.raises(PluginError, match="has changed since this run began: give the same command again"):
        find("losses", "sigmoid_pairs").function()
    file.unlink()
    with pytest.raises(PluginError, match="is gone since this run began"):
        find("losses", "sigmoid_pairs").function()
