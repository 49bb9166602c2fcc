"""The command line: which commands there are. Every command imports what it needs inside itself."""

import typer

from bench.cli import (
    check,
    compare,
    complement,
    data,
    doctor,
    evaluate,
    export,
    pack,
    plan,
    plugin,
    report,
    run,
    search,
    status,
)
from bench.cli.exit_codes import guarded
from bench.cli.list import list_

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Which loss, or which ensemble of losses, retrieves best on your data, and is the difference real?",
    epilog="Exit codes: 0 all good, 1 a job failed or results are worse, 2 the request is wrong, "
    "3 nothing was measured, 130 interrupted.",
)

for command in (
    *(
        run.run,
        plan.plan,
        status.status,
        search.search,
        report.report,
        compare.compare,
        check.check,
        complement.complement,
        export.export,
        pack.pack,
    ),
    *(list_, evaluate.evaluate, plugin.test_plugin, doctor.doctor),
):
    guarded(app)(command)
app.add_typer(data.app, name="data")
