"""What `bench test-plugin` says of the parts of a file: sound ones pass, and each fault is told in one sentence."""

import pytest
from support.plugins import ALL_KINDS, LOSS, OF_VECTORS, plugin_file

from bench.job.plugin_contract import contract
from bench.matrix.catalogue import KINDS, plugin_entries
from bench.matrix.plugins import use
from bench.matrix.plugins_in_use import named

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _none_afterwards():
    yield
    use([])


def faults(file):
    """Name -> what was wrong with it, of every part."""
    use([file])
    every = [entry for kind in KINDS for entry in plugin_entries(kind, named())]
    found = {entry.name: list(contract(entry)) for entry in every}
    assert all(len(checks) > 1 for checks in found.values())
    return {name: [check for check in checks if check.problem] for name, checks in found.items()}


def test_sound_parts_of_every_kind_pass(tmp_path):
    found = faults(plugin_file(tmp_path, ALL_KINDS))
    assert len(found) == 9
    assert not any(found.values())


def test_sound_parts_of_vectors_pass(tmp_path):
    assert faults(plugin_file(tmp_path, OF_VECTORS)) == {"blobs": [], "wider": [], "largest": []}


HEAD = "import numpy as np\nimport torch\nfrom torch import nn\nfrom bench.datasets.split import Images, Split\n\n\n"
WRONG = {
    'def mine(shape):\n    "Mine."\n    return 1.0': "it returns float: return an nn.Module",
    "def mine(shape):\n    return nn.Identity()": 'begin mine with """What it is."""',
    'def mine(shape):\n    "Mine."\n    return nn.Identity()': "it fails (TypeError: ",
    'def mine(shape):\n    "Mine."\n    return nn.Linear(shape.width, 1)': (
        "AttributeError: 'Shape' object has no attribute 'width' in line 9): mend it"
    ),
    'def mine(shape):\n    "Mine."\n    from losses.shape import Unsuitable\n    raise Unsuitable("it needs a text")': (
        "it fails (Unsuitable: it needs a text in line 10)"
    ),
    'def mine(channels):\n    "Mine."\n    return 1.0': "returns float, not an nn.Module",
    'def mine(channels):\n    "Mine."\n    return nn.Conv2d(3, 4, 3)': "do not suit this trunk",
    "class Lost(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.k = [nn.Parameter("
    "torch.ones(4, 1, 3, 3))]\n\n    def forward(self, x):\n        return torch.conv2d(x[:, :1], self.k[0])\n\n"
    'def mine(channels):\n    "Mine."\n    return Lost()': "a trainable tensor is no parameter of the module",
    "class Counts(nn.Module):\n    def __init__(self):\n        super().__init__()\n        self.seen = 0\n\n"
    "    def forward(self, x):\n        self.seen += 1\n        return nn.functional.avg_pool2d(x, 3) / self.seen\n\n"
    'def mine(channels):\n    "Mine."\n    return Counts()': "is not in its state_dict: keep it in a buffer",
    'def mine(data):\n    "Mine."\n    return 3': "it returns int: return a Split",
    'def mine(data):\n    "Mine."\n    one = Images(np.zeros((4, 8, 8, 1)), np.arange(4), tuple("abcd"))\n'
    "    return Split(one, one)": "train: images must be a NumPy array, uint8",
    'def mine(data):\n    "Mine."\n    one = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4), tuple("abcd"))\n'
    "    return Split(one, one)": "'a' is a class of both sides",
    'def mine(data):\n    "Mine."\n    one = Images(np.zeros((4, 8, 8, 1), np.uint8), np.arange(4), tuple("abc"))\n'
    "    return Split(one, one)": "train: labels must be the numbers from 0 to 2",
    'def mine(data):\n    "Mine."\n    return data / 0': "fails (TypeError: ",
    'def mine(data):\n    "Mine."\n    one = Images(np.full((4, 8), np.nan, "f4"), np.arange(4), tuple("abcd"))\n'
    "    return Split(one, one)": "train: vectors must be finite",
    'def mine(data):\n    "Mine."\n    one = Images(np.zeros((4, 8), "f4"), np.arange(4), tuple("abcd"))\n'
    '    other = Images(np.zeros((4, 9), "f4"), np.arange(4), tuple("efgh"))\n'
    "    return Split(one, other)": "its sides differ: give pictures on all of them",
    'def mine(width):\n    "Mine."\n    return nn.Unflatten(1, (width, 1))': "must give vectors [B, width]",
    'def mine(split):\n    "Mine."\n    return split.test.labels': "it gives the shape [6]: return [6, dim]",
    'def mine(split):\n    "Mine."\n    return np.full((6, 2), np.nan)': "some numbers are not finite",
    'def mine(split):\n    "Mine."\n    count = 6 if split.gallery is None else 12\n'
    "    return np.random.default_rng().normal(size=(count, 2))": "two calls differ",
    'def mine(members):\n    "Mine."\n    return 3': "it returns neither Stored",
    'def mine(members):\n    "Mine."\n    return members[0]._replace(queries=members[0].queries[1:])': (
        "keep the number of rows"
    ),
    'def mine(ranking):\n    "Mine."\n    return ranking.first_hit.mean()': "gives the shape []: return one value per",
    'def mine(ranking):\n    "Mine."\n    return ranking.first_hit * 9.0': "1 is perfect, so return less",
    'def mine(ranking, k):\n    "Mine."\n    return ranking.nothing': "fails (AttributeError: ",
    'def mine(clustering):\n    "Mine."\n    return clustering.labels': "gives the shape [6]: return one number",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_fault_is_told_in_one_sentence(text, tmp_path):
    found = [check.problem for check in faults(plugin_file(tmp_path, HEAD + text + "\n"))["mine"]]
    assert any(WRONG[text] in problem for problem in found), found
    assert not any("\n" in problem for problem in found)


def test_a_loss_in_batch_order_is_not_asked_for_another(tmp_path):
    placed = LOSS.replace(
        "return F.binary", "return torch.arange(len(labels)).to(similar) @ similar.mean(1) + F.binary"
    )
    placed = "import torch\n" + placed
    (fault,) = faults(plugin_file(tmp_path, placed))["sigmoid_pairs"]
    assert fault.what == "the order of the batch does not matter"
    said = placed.replace("2023).", "2023).\n\n    Takes images in batch order.\n    ")
    assert faults(plugin_file(tmp_path, said))["sigmoid_pairs"] == []


def test_what_has_no_default_is_not_tried(tmp_path):
    (check,) = faults(plugin_file(tmp_path, LOSS.replace(" = 10.0", "")))["sigmoid_pairs"]
    assert check.problem == "scale has no default, so nothing more can be tried"
    assert not check.tried
