"""Where `bench` begins: interruptions are caught before anything that takes long to import."""

import sys

from bench.cli import interrupts

__all__ = ["main"]


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    interrupts.catch()
    from bench.cli.app import app
    from bench.cli.output import finish, spell_out

    spell_out()
    try:
        app()
        code: object = 0
    except SystemExit as end:
        code = end.code
    code = finish(code if isinstance(code, int) else 0)
    interrupts.ignore()
    sys.exit(code)


if __name__ == "__main__":
    main()
