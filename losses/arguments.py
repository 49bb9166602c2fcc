"""What a loss may be given: its keyword-only arguments, checked against their annotations before it is built."""

import difflib
import math
from collections.abc import Callable, Iterable
from functools import wraps
from inspect import signature
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, ParamSpec, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from torch import nn

from losses.shape import Shape

__all__ = ["checked", "wanted"]

P = ParamSpec("P")

KINDS: dict[Any, tuple[type, str]] = {
    bool: (bool, "True or False"),
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    NoneType: (NoneType, "None"),
}
"""Annotation -> what counts as one, and what it is called."""

BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("ge", "{} or more"),
    Gt: ("gt", "greater than {}"),
    Le: ("le", "{} or less"),
    Lt: ("lt", "less than {}"),
}


def checked(build: Callable[P, nn.Module]) -> Callable[P, nn.Module]:
    """The function of a loss or an ensemble, which now refuses what its annotations do not allow.

    It raises TypeError for an argument it does not have, or anything but a Shape first, and ValueError for a value.
    """
    parameters = signature(build).parameters

    @wraps(build)
    def checked_build(*given: P.args, **settings: P.kwargs) -> nn.Module:
        shape = given[0] if given else settings.get("shape")
        if not isinstance(shape, Shape):
            kind = type(shape).__name__
            raise TypeError(f"{build.__name__} needs a Shape first, such as Shape(dim=128, classes=100), not {kind}.")
        if any(isinstance(member, nn.Module) for member in _members(given, settings)):
            raise TypeError(f"{build.__name__} builds its members: give it functions such as triplet, not modules.")
        for name, value in settings.items():
            if name not in parameters:
                known = [each.name for each in parameters.values() if each.kind is each.KEYWORD_ONLY]
                raise TypeError(f"{build.__name__} has no parameter {name!r}{_did_you_mean(name, known)}")
            reason = wanted(value, parameters[name].annotation)
            if reason:
                raise ValueError(f"{build.__name__}: {name} = {value!r} is not possible; it should be {reason}")
        return build(*given, **settings)

    return checked_build


def wanted(value: Any, annotation: Any) -> str | None:
    """What the value should be by the annotation, "greater than 0"; None where it is that already.

    Read are bool, int, float, None, Literal of words, Annotated with bounds, tuples of one kind, and unions of these;
    any other annotation allows everything.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        reasons = [wanted(value, part) for part in parts]
        return None if None in reasons else " or ".join(str(reason) for reason in reasons)
    if origin is Annotated:
        bounds = [bound for bound in parts[1:] if type(bound) in BOUNDS]
        return wanted(value, parts[0]) or next(filter(None, (_beyond(value, bound) for bound in bounds)), None)
    if origin is Literal:
        return None if isinstance(value, str) and value in parts else _one_of(value, parts)
    if origin is tuple:
        fits = isinstance(value, tuple | list) and all(wanted(each, parts[0]) is None for each in value)
        return None if fits else f"a list in which each is {wanted(None, parts[0])}"
    kind, name = KINDS.get(annotation, (object, ""))
    return None if isinstance(value, kind) and not _misleading(value, annotation) else name


def _members(given: tuple[Any, ...], settings: dict[str, Any]) -> Iterable[Any]:
    members: Iterable[Any] = given[1] if len(given) > 1 else settings.get("members", ())
    return members


def _misleading(value: Any, annotation: Any) -> bool:
    """Python counts True as 1; NaN is a number by name alone."""
    return annotation in (int, float) and (isinstance(value, bool) or math.isnan(value))


def _beyond(value: Any, bound: Any) -> str | None:
    attribute, words = BOUNDS[type(bound)]
    limit = getattr(bound, attribute)
    within = {"ge": value >= limit, "gt": value > limit, "le": value <= limit, "lt": value < limit}[attribute]
    return None if within else words.format(limit)


def _one_of(value: Any, words: tuple[str, ...]) -> str:
    shown = " or ".join([", ".join(map(repr, words[:-1])), repr(words[-1])] if len(words) > 1 else [repr(words[0])])
    return shown + _did_you_mean(str(value), words, otherwise="")


def _did_you_mean(word: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """A clause about the nearest known word, in upper or lower case, or about all of them."""
    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(word.casefold(), folded, n=1)
    if near:
        return f"; did you mean {folded[near[0]]!r}?"
    return (f"; known: {', '.join(folded.values())}" if folded else "; it has none") if otherwise is None else otherwise
