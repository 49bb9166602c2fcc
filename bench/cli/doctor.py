"""The command `bench doctor`: what this machine offers a run, and what is wrong with it."""

import json

import typer

from bench.cli.exit_codes import FAILED
from bench.cli.options import RESULTS, DataOption, JsonOption, ResultsOption

__all__ = ["doctor"]


def doctor(results: ResultsOption = RESULTS, data: DataOption = None, as_json: JsonOption = False) -> None:
    """Look at versions, devices, memory, disk and folders; a problem is named with its mend, and gives exit code 1."""
    from bench.cli.output import say
    from bench.datasets.split import legible
    from bench.execute.environment import environment
    from bench.matrix.printable import without_control

    facts = list(environment(results, data))
    problems = [problem for fact in facts for problem in fact.problems]
    if as_json:
        typer.echo(json.dumps({"good": not problems, "facts": [fact._asdict() for fact in facts]}, indent=2))
    else:
        for fact in facts:
            typer.echo(f"{fact.name:9} {without_control(legible(fact.value))}")
        typer.echo(f"\n{len(problems)} problem{'s' * (len(problems) != 1)}" if problems else "\nnothing is wrong")
        for problem in problems:
            say(problem)
    if problems:
        raise typer.Exit(FAILED)
