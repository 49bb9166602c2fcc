"""The templates of the HTML page."""

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

__all__ = ["template"]


@cache
def template(name: str) -> Template:
    """A template of this folder. It escapes every text it is given; a name that it is not given is an error."""
    environment = Environment(
        loader=PackageLoader("bench.report.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
