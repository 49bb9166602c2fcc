"""Text that can be printed anywhere: on one line of a terminal, in SVG, HTML and Markdown."""

import re

__all__ = ["without_control"]

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
"""What would end the line or move the cursor of a terminal, and what XML does not take or UTF-8 cannot write."""


def without_control(text: str) -> str:
    """Text on one line: its control characters as escapes."""
    if text.isprintable():  # nearly always, and quicker to see
        return text
    return CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
