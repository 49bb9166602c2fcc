"""KEY=VALUE, as `--set` takes it."""

import tomllib
from typing import Any

from bench.matrix.job import ConfigError

__all__ = ["apply", "key_and_value"]


def key_and_value(change: str) -> tuple[str, Any]:
    """The key and the value of "KEY=VALUE"; what is not a TOML value is taken as text.

    Raises:
        ConfigError: there is no key or no "=".
    """
    key, equals, text = map(str.strip, change.partition("="))
    if not equals or not key or not all(key.split(".")):
        raise ConfigError(f"--set {change}: write it as KEY=VALUE, for example recipe.epochs=3 or size=128")
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key, text


def apply(change: str, raw: dict[str, Any]) -> None:
    """Set one value of nested tables: `recipe.epochs=3`.

    Raises:
        ConfigError: the change is not KEY=VALUE, or a key on its way is not a table.
    """
    dotted, value = key_and_value(change)
    *tables, last = dotted.split(".")
    for table in tables:
        raw = raw.setdefault(table, {})
        if not isinstance(raw, dict):
            raise ConfigError(f"--set {change}: {table} is not a table")
    raw[last] = value
