import importlib
import inspect
import subprocess
import sys

import pytest

from bench.matrix.catalogue import KINDS, check, did_you_mean, entries, find

PARTS = [(kind, name) for kind in KINDS for name in entries(kind)]


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_what_is_read_from_the_source_is_what_python_sees(kind, name):
    entry = entries(kind)[name]
    signature = inspect.signature(entry.function())
    own = {p.name: p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY}
    assert {n: p.default for n, p in own.items() if p.default is not p.empty} == {
        n: entry.parameters[n].default for n in own if not entry.parameters[n].required
    }
    assert name in importlib.import_module(entry.module).__all__


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_every_part_says_what_it_is(kind, name):
    entry = entries(kind)[name]
    assert len(entry.label) > 10
    assert len(entry.label) <= 120
    assert all(parameter.annotation != "Any" for parameter in entry.parameters.values())


def test_reading_imports_nothing_heavy():
    code = (
        "import sys; from bench.matrix.catalogue import KINDS, entries; [entries(k) for k in KINDS]; "
        "print({'torch', 'timm', 'faiss', 'pandas'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def test_the_spine_has_what_it_promises():
    assert {"contrastive", "triplet", "multi_similarity", "proxy_nca", "proxy_anchor"} <= entries("losses").keys()
    assert {"normalized_softmax", "arc_face"} <= entries("losses").keys()
    assert {"sum", "slices"} <= entries("ensembles").keys()
    assert {"glyphs", "omniglot", "folder"} <= entries("datasets").keys()
    assert entries("backbones").keys() == {"conv4", "identity", "timm"}
    assert "pooling" in entries("backbones")["conv4"].parameters


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("losses", "tripet", "there is no loss 'tripet'; did you mean 'triplet'?"),
        ("backbones", "resnet18", "timm/NAME"),
        ("backbones", "timm", "timm/NAME"),
        ("backbones", "conv4/x", "there is no backbone"),
        ("model_ensembles", "concat", "did you mean 'concatenate'?"),
    ],
)
def test_an_unknown_name_is_answered_with_a_known_one(kind, name, sentence):
    with pytest.raises(LookupError, match="there is no") as error:
        find(kind, name)
    assert sentence in error.value.args[0]


@pytest.mark.parametrize("count", [0, 1, 10, 11, 2000])
def test_a_sentence_about_an_unknown_word_names_ten_known_ones_at_most(count):
    known = [f"word{index}" for index in range(count)]
    said = did_you_mean("zzz", known)
    assert sum(word in said.replace(",", " ").split() for word in known) == min(count, 10)
    assert len(said) < 200


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_of_parts_is_cut_to_ten(kind):
    with pytest.raises(LookupError, match="there is no") as error:
        find(kind, "zzzzzzzz")
    assert error.value.args[0].count(", ") <= 9


def test_parameters_are_filled_in_and_checked():
    entry = find("losses", "proxy_anchor")
    assert check(entry, {"margin": 0}) == {"margin": 0.0, "alpha": 32.0, "initial_weights": None}
    with pytest.raises(LookupError, match="did you mean 'margin'"):
        check(entry, {"margn": 0.1})
    with pytest.raises(ValueError, match=r"proxy_anchor: alpha = -1 is not possible; it should be greater than 0"):
        check(entry, {"alpha": -1})
    with pytest.raises(ValueError, match="valid number"):
        check(entry, {"alpha": "32"})
    with pytest.raises(LookupError, match="needs the parameter 'path'"):
        check(find("datasets", "folder"), {})


def test_a_far_word_lists_what_is_known():
    assert did_you_mean("zzz", ["b", "a"]) == "; known: a, b"
    assert did_you_mean("zzz", []) == "; there are none"
