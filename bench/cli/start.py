"""Where `bench` begins: interruptions are caught before anything that takes long to import."""

import gc

from bench.cli import interrupts

__all__ = ["main"]

NEW_OBJECTS = 200_000
"""How many objects are made between two searches for garbage: of thousands of rows there are millions, none of it."""


def main() -> None:
    """Run the command that the process was started with, and end the process."""
    interrupts.catch()
    gc.set_threshold(NEW_OBJECTS)
    from bench.cli.app import app
    from bench.cli.output import finish, spell_out

    spell_out()
    try:
        app()
        code: object = 0
    except SystemExit as end:
        code = end.code
    interrupts.end(finish(code if isinstance(code, int) else 0))


if __name__ == "__main__":
    main()
