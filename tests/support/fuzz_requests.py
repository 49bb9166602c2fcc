"""Random matrix files and random command lines: done, or refused in sentences."""

import json
from pathlib import Path

import numpy as np
from support.jobs import matrix_file
from support.one_sentence import refused
from typer.testing import CliRunner

from bench.cli.app import app
from bench.matrix.expand import expand
from bench.matrix.file import load
from bench.matrix.job import ConfigError

__all__ = ["command_line", "matrix"]

Draws = np.random.Generator
VALUES = (
    *("0", "-1", "1", "1e400", "nan", "true", '""', '"triplet"', "[]", "[[]]", "{}", '["triplet"]', '["tripplet"]'),
    *(
        '[{ name = "triplet", margin = "wide" }]',
        '[{ name = "triplet", margin = -1.0 }]',
        "1979-05-27",
        "0x10",
        "'''a'''",
    ),
    *('[{ name = "sum", members = ["triplet"] }]', '[{ name = "sum", members = [] }]', '[{ members = ["triplet"] }]'),
    *('[{ name = "triplet", label = "a\\nb" }]', '["pml/TripletMarginLoss"]', '["pml/Nothing"]', "[{ name = 3 }]"),
    *("[" * 300 + "]" * 300, '"' + "x" * 9999 + '"', '[{ name = "triplet", seeds = 2 }]', '[{ name = "folder" }]'),
    *(
        "{ share = 2.0 }",
        '[{ name = "glyphs", classes = 0 }]',
        '[{ name = "timm/nothing" }]',
        '"\\u0000"',
        "3",
        "[0, 0]",
    ),
)
KEYS = (
    *("datasets", "backbones", "losses", "ensembles", "model_ensembles", "floors", "seeds", "controls", "recipe", "x"),
    *("searched", '"a b"', "recipe.epochs", "recipe.dim", "recipe.validation", "recipe.recall_at", "recipe.optimizer"),
)
HARMLESS = (("seeds", "2"), ("controls", "false"), ("losses", '["triplet"]'), ("floors", "[]"), ("seeds", "[3, 7]"))
SOUND = (
    ("list", "losses"),
    ("list", "columns", "--json"),
    ("list", "matrices"),
    ("data", "list"),
    ("plan", "tiny.toml"),
)
WORDS = (
    *(
        "plan",
        "compare",
        "report",
        "pack",
        "list",
        "complement",
        "evaluate",
        "data",
        "metrics",
        "losses",
        "metrics",
        "--all",
    ),
    *(
        "--results",
        "--seeds",
        "--set",
        "--metric",
        "--data",
        "--matrix",
        "--json",
        "--size",
        "--plugin",
        "--decide",
        "-x",
    ),
    *(
        "demo",
        "tiny.toml",
        "nothing.toml",
        "runs",
        "nothing",
        "/dev/null",
        "",
        "-1",
        "0",
        "99999",
        "é",
        "a=b",
        "losses=3",
    ),
    *(
        "recipe.epochs=x",
        "recall_at_1",
        "triplet",
        "contrastive",
        "--",
        "--help",
        "x" * 3000,
        "a\nb",
        "--dataset",
        "list",
    ),
)


def matrix(draws: Draws, place: Path) -> str:
    """Change a matrix file at random, and expand it; what came of it, in a word."""
    file = matrix_file(place)
    lines = file.read_text(encoding="utf-8").splitlines()
    for _ in range(int(draws.integers(1, 3))):
        key, value = str(draws.choice(KEYS)), str(draws.choice(VALUES))
        if draws.random() < 0.5:
            key, value = HARMLESS[int(draws.integers(len(HARMLESS)))]
        lines = [f"{key} = {value}", *(line for line in lines if line.partition(" =")[0] != key)]
    text = "\n".join(lines).encode()
    if draws.random() < 0.1:
        cut = int(draws.integers(len(text)))
        text = text[:cut] + draws.bytes(3) + text[cut:]
    file.write_bytes(text)
    try:
        expand(load(str(file)))
    except ConfigError as error:
        for sentence in str(error).splitlines():
            refused(ValueError(sentence.replace("\x1b", "")))
        return "refused"
    return "read"


def command_line(draws: Draws, place: Path) -> str:
    """Call `bench` with random words, of commands that train nothing; what came of it, in a word."""
    matrix_file(place)
    words = [str(word) for word in draws.choice(WORDS, size=int(draws.integers(1, 7)))]
    if draws.random() < 0.5:
        words = [*SOUND[int(draws.integers(len(SOUND)))], *words[: int(draws.integers(2))]]
    where = {"tiny.toml": str(place / "tiny.toml"), "runs": str(place / "runs"), "nothing": str(place / "nothing")}
    asked = [where.get(word, word) for word in words]
    done = CliRunner().invoke(app, asked, env={"BENCH_DATA": str(place)})
    assert done.exception is None or isinstance(done.exception, SystemExit), json.dumps(asked)
    assert done.exit_code in (0, 1, 2, 3), json.dumps(asked)
    assert "Traceback" not in done.output, json.dumps(asked)
    return "read" if done.exit_code == 0 else "refused"
