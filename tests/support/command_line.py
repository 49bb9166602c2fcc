"""A `bench` command line as its own parser understands it, without running it."""

from collections.abc import Sequence
from typing import Any

import typer.main

from bench.cli.app import app

__all__ = ["parsed"]


def parsed(words: Sequence[str]) -> dict[str, Any]:
    """The options by name; a command's name alone, as in running text, may leave its arguments out.

    typer brings a click of its own, so a group is what has commands. A wrong option ends in an error of the parser.
    """
    first, *rest = words
    assert first == "bench"
    command: Any = typer.main.get_command(app)
    while rest and hasattr(command, "commands") and not rest[0].startswith("-"):
        name, *rest = rest
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    if not rest and (hasattr(command, "commands") or any(parameter.required for parameter in command.params)):
        return {}
    found: dict[str, Any] = command.make_context("bench", list(rest)).params
    return found
