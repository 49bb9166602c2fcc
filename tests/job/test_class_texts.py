import subprocess
import sys

import pytest
import torch
from support.jobs import tiny
from torch.nn import functional as F

from bench import datasets
from bench.job import fit
from bench.job.cannot_build import refusals
from bench.job.class_texts import class_vectors
from bench.job.run import run

TEXTS = ["LATIN SMALL LETTER A", "LATIN SMALL LETTER A WITH ACUTE", "GREEK CAPITAL LETTER OMEGA"]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *sorted({word for text in TEXTS for word in text.lower().split()}),
]


def test_like_names_have_like_vectors():
    vectors = class_vectors(TEXTS)
    similar = vectors @ vectors.T
    assert torch.allclose(similar.diagonal(), torch.ones(3), atol=1e-6)
    assert similar[0, 1] > 0.6 > similar[0, 2]


def test_a_model_needs_its_package_and_the_sentence_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(ValueError, match=r"'some/model'.*pip install 'lossbench\[text\]'.*'tfidf'\.$") as found:
        class_vectors(TEXTS, "some/model")
    assert "\n" not in str(found.value)


def test_scikit_learn_waits_until_a_text_is_read():
    code = "import sys, bench.job.run; sys.exit('sklearn.feature_extraction' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("objective", "seen"),
    [
        ({"losses": ["triplet"]}, False),
        ({"losses": ["adaptive_additive"]}, True),
        ({"losses": [], "ensembles": [{"name": "sum", "members": ["triplet", "proxy_nca"]}]}, False),
        ({"losses": [], "ensembles": [{"name": "sum", "members": ["triplet", "adaptive_additive"]}]}, True),
    ],
    ids=["loss without", "loss with", "ensemble without", "ensemble with"],
)
def test_texts_are_read_only_for_an_objective_that_needs_them(monkeypatch, objective, seen):
    read = []
    monkeypatch.setattr(fit, "class_vectors", lambda texts, encoder: read.append(encoder) or class_vectors(texts))
    (job,) = tiny(**objective)
    assert refusals([job], None) == []
    assert read == (["tfidf"] if seen else [])


def test_a_model_that_cannot_be_had_is_refused_before_anything_trains(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    (job,) = tiny(losses=["adaptive_additive"], recipe={"text": "some/model"})
    (sentence,) = refusals([job], None)
    assert sentence.startswith("adaptive_additive on conv4")
    assert "lossbench[text]" in sentence


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a random BERT, two layers and eight dimensions, that knows the words of the texts."""
    pytest.importorskip("sentence_transformers")
    from sentence_transformers import SentenceTransformer
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("model")
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    torch.manual_seed(0)
    size = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(WORDS), **size)).save_pretrained(folder)
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    SentenceTransformer(str(folder), device="cpu").save_pretrained(str(folder / "saved"))
    return folder / "saved"


def test_a_model_gives_unit_vectors_the_means_of_its_tokens(model):
    from transformers import AutoModel, AutoTokenizer

    bert, tokenize = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)
    with torch.no_grad():
        means = [bert(**tokenize(text, return_tensors="pt")).last_hidden_state[0].mean(0) for text in TEXTS]
    vectors = class_vectors(TEXTS, str(model))
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, F.normalize(torch.stack(means)), atol=1e-5, rtol=1e-5)


def test_a_job_takes_its_margins_from_a_model(model, tmp_path):
    (job,) = tiny(losses=["adaptive_additive"], recipe={"text": str(model), "epochs": 1})
    assert len(datasets.load(job.dataset, None).train.texts) == 12
    result = run(job, data=None, results=tmp_path, device=torch.device("cpu"))
    assert result.row.status == "done"


def test_a_model_that_is_none_is_a_sentence(tmp_path):
    pytest.importorskip("sentence_transformers")
    with pytest.raises(ValueError, match=r"is no model that sentence-transformers can load \(.+\): name one") as found:
        class_vectors(TEXTS, str(tmp_path / "nothing"))
    assert "\n" not in str(found.value)
