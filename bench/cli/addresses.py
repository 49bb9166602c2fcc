"""Options that name an address of results: the folder of this machine that stands for it, with all rows of it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["folders_of_addresses"]

OPTIONS = ("results", "against")
RUN_JOBS = {"run", "search", "check"}
"""Commands that fetch the rows when they begin to run jobs, once no other run can write there."""


def folders_of_addresses(command: str, options: Mapping[str, Any]) -> dict[str, Path]:
    """Name -> folder, of those options of a command that name an address.

    Raises:
        StoreError: an address cannot be used.
    """
    from bench.store.address import address_in

    given = {name: options[name] for name in OPTIONS if options.get(name) is not None}
    addresses = {name: value for name, value in given.items() if address_in(value)}
    if not addresses:
        return {}
    from bench.store.mirror import mirrored

    return {name: mirrored(value, fetch=command not in RUN_JOBS) for name, value in addresses.items()}
