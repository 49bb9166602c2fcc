import tomllib

import pytest

from bench.matrix.file import Matrix, load, matrices
from bench.matrix.matrix_text import written
from bench.matrix.searched import Searched

AWKWARD = 'a "b" \\ c\nd\x7f Ω é 🐦'
SEARCHED = Searched(trials=12, seed=1000, metric="validation_map_at_r", validation={"share": 0.2}, command=AWKWARD)


def read(text, tmp_path):
    file = tmp_path / "written.toml"
    file.write_text(text, encoding="utf-8")
    return load(file)


@pytest.mark.parametrize("name", sorted(matrices()))
def test_a_matrix_that_is_written_reads_as_the_same(name, tmp_path):
    matrix = load(name).model_copy(update={"searched": SEARCHED})
    assert read(written(matrix, headline="One\nline"), tmp_path) == matrix


def test_values_of_every_kind(tmp_path):
    matrix = Matrix.model_validate(
        {
            "datasets": [{"name": "manifest", "path": AWKWARD, "label": AWKWARD}],
            "backbones": ["conv4"],
            "losses": [
                "softmax",
                {"name": "triplet", "normalize": False, "margin": 1e-7, "recipe": {"crop_area": [0.5, 1.0]}},
                {"name": "contrastive", "a b": float("inf"), "parts": [[1], ["x", True]]},
            ],
            "ensembles": [{"name": "sum", "members": ["softmax", {"name": "triplet", "margin": 0.1}]}],
            "model_ensembles": [{"name": "concatenate", "members": ["softmax"], "seeds": 2}],
            "seeds": [3, 7],
            "controls": False,
            "recipe": {"validation": {"folds": 4}, "clip": 1.0, "recall_at": [1, 10]},
        }
    )
    text = written(matrix, headline="Values")
    assert read(text, tmp_path) == matrix
    assert tomllib.loads(text)["losses"][0] == "softmax"


def test_a_matrix_says_how_it_was_found_and_nothing_else(tmp_path):
    text = written(load("demo").model_copy(update={"searched": SEARCHED}), headline="Demo")
    assert "12 trials on held-out training classes" in read(text, tmp_path).searched.sentence
    with pytest.raises(ValueError, match=r"searched\.trails: unknown; did you mean 'trials'"):
        read(text.replace("trials = ", "trails = "), tmp_path)
    with pytest.raises(ValueError, match=r"searched\.trials: "):
        read(text.replace("trials = 12", "trials = 0"), tmp_path)
