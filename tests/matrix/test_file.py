import pytest

from bench.matrix.expand import expand
from bench.matrix.file import headline, load, matrices
from bench.matrix.job import ConfigError
from bench.matrix.recipe import LATER, Recipe, complete

SMALL = """
datasets = ["glyphs"]
backbones = ["conv4"]
losses = ["contrastive"]
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "matrix.toml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    return write


@pytest.mark.parametrize("name", matrices())
def test_every_matrix_that_comes_along_expands(name):
    assert expand(load(name))
    assert headline(matrices()[name])


def test_a_byte_order_mark_and_other_line_ends_make_no_difference(write):
    for text in (SMALL.encode("utf-8-sig"), SMALL.replace("\n", "\r\n").encode("utf-8-sig")):
        assert load(write(text)) == load(write(SMALL))


def test_a_matrix_in_the_home_folder_may_be_written_short(write, tmp_path, monkeypatch):
    write(SMALL)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load("~/matrix.toml").losses[0].name == "contrastive"
    with pytest.raises(ConfigError, match=r"~/other.toml: no such matrix file"):
        load("~/other.toml")


def test_a_name_or_a_table(write):
    matrix = load(
        write(SMALL + '[[ensembles]]\nname = "sum"\nmembers = ["triplet", { name = "proxy_anchor", alpha = 8 }]')
    )
    (ensemble,) = matrix.ensembles
    assert [member.name for member in ensemble.members] == ["triplet", "proxy_anchor"]
    assert ensemble.members[1].parameters == {"alpha": 8}


def test_seeds_are_a_number_or_a_list(write):
    assert load(write("seeds = 3" + SMALL)).seeds == (0, 1, 2)
    assert load(write("seeds = [4, 2]" + SMALL)).seeds == (4, 2)


def test_values_can_be_changed_from_the_command_line(write):
    changes = ["recipe.epochs=3", "recipe.schedule=step", 'losses=["triplet"]', "recipe.recall_at=[1, 10]"]
    matrix = load(write(SMALL), changes)
    assert (matrix.recipe.epochs, matrix.recipe.schedule, matrix.recipe.recall_at) == (3, "step", (1, 10))
    assert matrix.losses[0].name == "triplet"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"\xff\xfe", "not UTF-8"),
        ("losses = [", "not TOML"),
        ("", "datasets: missing"),
        ("datasets = []\n" + SMALL.replace('datasets = ["glyphs"]', ""), "datasets: empty; name at least one"),
        (SMALL.replace('"contrastive"', ""), "losses and ensembles are both empty"),
        ("seeds = 0" + SMALL, "seeds: empty"),
        (
            "seeds = 10_000_000" + SMALL,
            "10,000,000 seeds make 10,000,000 cells or more",
        ),
        ("seeds = 60_000" + SMALL.replace('"contrastive"', '"contrastive", "triplet"'), "the matrix has 120,000 cells"),
        ("seeds = [-1]" + SMALL, "seeds.0: it should be greater than or equal to 0, not -1"),
        ("looses = []" + SMALL, "looses: unknown; did you mean 'losses'?"),
        (SMALL + "[recipe]\nepoch = 3", "recipe.epoch: unknown; did you mean 'epochs'?"),
        (SMALL + '[recipe]\nepochs = "three"', "recipe.epochs: it should be a valid integer, not 'three'"),
        (SMALL + "[recipe]\ntrunk_rate = -1", "recipe.trunk_rate: it should be greater than or equal to 0"),
        (SMALL + '[recipe]\nschedule = "cosin"', "recipe.schedule: it should be 'cosine', 'step' or 'constant'"),
        (SMALL.replace('"contrastive"', "7"), "losses.0: write a name, or a table with a name, not 7"),
        (
            SMALL.replace('["contrastive"]', '"triplet"'),
            """losses: write a list: losses = ["triplet"], not 'triplet'""",
        ),
        (SMALL.replace('["glyphs"]', '"glyphs"'), """datasets: write a list: datasets = ["glyphs"], not 'glyphs'"""),
        (
            SMALL.replace('["conv4"]', '{ name = "conv4" }'),
            "backbones: write a list: backbones = [{ name = ... }], not {",
        ),
        (SMALL + "[recipe]\nrecall_at = 10", "recipe.recall_at: write a list: recall_at = [10], not 10"),
        ('seeds = "3"' + SMALL, "seeds: write a number or a list of numbers, not '3'"),
        ("seeds = 2.5" + SMALL, "seeds: write a number or a list of numbers, not 2.5"),
        (SMALL.encode("utf-16"), "not UTF-8; save the matrix as UTF-8 text"),
        (
            SMALL + "[recipe]\nvalidation = { share = 1.5 }",
            "recipe.validation.share: it should be less than 1, not 1.5",
        ),
        (SMALL + "[recipe]\nvalidation = { fold = 4 }", "recipe.validation.fold: unknown; did you mean 'folds'?"),
        (SMALL + "[recipe]\nvalidation = { share = 0.2, folds = 4 }", "write one of them"),
        (SMALL + "[recipe]\nvalidation = {}", "write one of them"),
        (SMALL + '[recipe]\nselect = "validation"', "add validation = { share = 0.2 }"),
        (SMALL + "[recipe]\ncrop_area = [1.0, 0.2]", "crop_area = [1.0, 0.2] goes from large to small"),
        (SMALL + "[recipe]\ncrop_area = [0.2, 1.2]", "recipe.crop_area.1: it should be less than or equal to 1"),
        (
            SMALL + "[recipe]\nhead_epochs = -0.5",
            "recipe.head_epochs: it should be greater than or equal to 0, not -0.5",
        ),
        (SMALL + "[recipe]\nimages_at_a_time = 0", "recipe.images_at_a_time: it should be greater than or equal to 1"),
        (SMALL + "[recipe]\nimages_at_a_time = 2.5", "recipe.images_at_a_time: it should be a valid integer, not 2.5"),
        (SMALL + '[recipe]\noptimizer = "lion"', "recipe.optimizer: it should be 'adamw', 'adam', 'rmsprop' or 'sgd'"),
    ],
)
def test_a_wrong_matrix_is_refused_in_a_sentence(write, text, sentence):
    with pytest.raises(ConfigError) as error:
        load(write(text))
    assert sentence in str(error.value)


def test_a_missing_matrix_suggests_one():
    with pytest.raises(ConfigError, match="no such matrix file; did you mean 'demo'"):
        load("dem0")


@pytest.mark.parametrize("change", ["recipe.epochs", "=3", "seeds.x=3", "recipe..epochs=3", ".=3"])
def test_a_change_that_cannot_be_applied_is_refused(write, change):
    with pytest.raises(ConfigError, match="--set"):
        load(write("seeds = 2" + SMALL), [change])


def test_every_field_of_the_recipe_has_a_default_and_a_range():
    assert Recipe() == Recipe.model_validate(Recipe().model_dump(mode="json"))
    for field in ("dim", "classes_per_batch", "images_per_class", "restarts", "step_epochs"):
        with pytest.raises(ValueError, match="greater than or equal to 1"):
            Recipe.model_validate({field: 0})


@pytest.mark.parametrize("validation", [{"share": 0.2}, {"folds": 4}])
def test_validation_is_written_as_it_was_asked_for(validation):
    recipe = Recipe.model_validate({"validation": validation})
    assert recipe.model_dump(mode="json")["validation"] == validation
    assert recipe.total_epochs == 10 * validation.get("folds", 1)


def test_a_stored_recipe_is_completed_with_what_was_done_without_the_newer_fields():
    stored = {name: value for name, value in Recipe().model_dump(mode="json").items() if name not in LATER}
    assert Recipe.model_validate(complete(stored)).model_dump() == Recipe.model_validate(dict(LATER)).model_dump()
    assert complete({"crop": 224, "epochs": 3}) == {"epochs": 3, **LATER, "crop": 224}
