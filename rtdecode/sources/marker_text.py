"""The text of a marker: the same live and from a recording, since a stimulus is found by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

ONE_HOT_TYPE = "annotations"
"""Type of the streams in which mne-lsl's ``PlayerLSL`` sends annotations: one channel of numbers for each."""


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


def _text(value: str | bytes | np.generic) -> str:
    if isinstance(value, bytes):
        try:
            return value.decode().strip()
        except UnicodeDecodeError:  # some senders write their code page, and that must not end a session
            return value.decode("latin-1").strip()
    if isinstance(value, np.floating) and np.isfinite(value):
        return np.format_float_positional(value, trim="-")
    return str(value).strip()
