"""What a refusal looks like."""

import unicodedata

__all__ = ["refused"]


def refused(error: Exception) -> str:
    """The word for a trial that ended so, once it is sure that the error is one line that a terminal can show."""
    text = str(error)
    assert len(text.splitlines()) == 1, f"not one sentence: {text!r}"
    assert all(unicodedata.category(letter) not in ("Cc", "Cs") for letter in text), repr(text)
    return "refused"
