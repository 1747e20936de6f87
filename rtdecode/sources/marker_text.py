"""The text of a marker: the same live and from a recording, since a stimulus is found by it."""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

ONE_HOT_TYPE = "annotations"
"""Type of the streams in which mne-lsl's ``PlayerLSL`` sends annotations: one channel of numbers for each."""

_HALF_PAIR = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, as JSON may hold it: no text that could be published."""


def marker_text(values: Iterable[str | bytes | np.generic]) -> str:
    """Text of one marker; an empty one is no marker.

    Parameters
    ----------
    values
        One a channel. Text is stripped of white space at its ends; a number becomes the shortest decimal that
        its own format reads back, without a decimal point where it is whole.

    Returns
    -------
    str
        What is not empty, joined by ``/``.
    """
    return "/".join(filter(None, map(_text, values)))


def one_hot_texts(values: NDArray[np.generic], names: Sequence[str]) -> list[str]:
    """Markers in one sample of a stream of type :data:`ONE_HOT_TYPE`: channels that are not zero, by name."""
    return [names[channel] for channel in np.flatnonzero(values).tolist()]


def json_text(text: str, key: str) -> str:
    """What a marker says that is a JSON object: the value of one key, as :func:`marker_text` would write it.

    Parameters
    ----------
    text
        The marker.
    key
        Name of the member; dots lead into nested objects.

    Raises
    ------
    ValueError
        If it is no JSON object, lacks the key, or holds neither text nor a number there; the message says
        which.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # the latter where brackets are nested a thousand deep
        raise ValueError("is no JSON") from None
    for name in key.split("."):
        if not isinstance(value, dict) or name not in value:
            raise ValueError(f"is no JSON object with the key {key!r}")
        value = value[name]
    said = _json_value(value)
    if not said:
        raise ValueError(f"says nothing under the JSON key {key!r}: text or a number is needed")
    return said


def _json_value(value: Any) -> str:
    """Text of a string, a number or a truth value; empty for anything else."""
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case float() if math.isfinite(value):  # a number of a thousand digits is infinite
            return _text(np.float64(value))
        case str() if value.isascii() or not _HALF_PAIR.search(value):
            return value.strip()
    return ""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _text(value: str | bytes | np.generic) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError:  # some senders write their code page, and that must not end a session
            return value.decode("latin-1").strip()
    if isinstance(value, np.floating) and np.isfinite(value):
        return np.format_float_positional(value, trim="-")
    return str(value).strip()
