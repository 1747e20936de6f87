"""Signal and marker streams of the Lab Streaming Layer (LSL).

Facts that shaped this module:

- An inlet that recovers by itself hides an outage of seconds; ours raises :class:`StreamLostError` and the
  service reconnects. liblsl then drops what was sent but not yet pulled, so a sender that ends on purpose
  should linger for a moment after its last sample.
- liblsl's own jitter removal knows no gaps. Stamps are raw here; :mod:`rtdecode.sources.clock_offsets`
  measures what separates the sender's clock from ours.
- A pull for one sample wakes when data arrive; a pull for a full chunk waits for the chunk.
- Asking a dead stream for its description blocks, so that every call here has a time-out.
"""

from __future__ import annotations

import ctypes
import logging
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pylsl
from pylsl.lib import lib as liblsl

from rtdecode.errors import UserError
from rtdecode.sources.base import (
    Clock,
    ClockReading,
    RawChunk,
    RawMarker,
    StreamDescription,
    StreamLostError,
)
from rtdecode.sources.lsl_resolve import StreamQuery, resolve
from rtdecode.sources.marker_text import ONE_HOT_TYPE, marker_text, one_hot_texts
from rtdecode.sources.metadata import parse_unit, stream_channels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

__all__ = [
    "LslClock",
    "MarkerInlet",
    "SignalInlet",
    "StreamQuery",
    "parse_unit",
    "resolve",
    "stream_channels",
]

_log = logging.getLogger(__name__)

liblsl.lsl_time_correction_ex.restype = ctypes.c_double  # pylsl offers the same without its uncertainty

# The same library, called without letting go of the interpreter, for what takes microseconds at most: with 16
# streams it takes milliseconds each time to get the interpreter back.
_holding = ctypes.PyDLL(liblsl._name)
_local_clock = _holding.lsl_local_clock
_local_clock.restype = ctypes.c_double

_BUFFERED_S = 60
_LARGEST_CHUNK_BYTES = 1 << 18
"""What a pull brings at the most: enough to catch up, and not so much that others wait for long."""

_FORMATS = {
    pylsl.cf_float32: "float32",
    pylsl.cf_double64: "double64",
    pylsl.cf_string: "string",
    pylsl.cf_int32: "int32",
    pylsl.cf_int16: "int16",
    pylsl.cf_int8: "int8",
    pylsl.cf_int64: "int64",
}


class LslClock:
    """``pylsl.local_clock()``: the clock of all stamps on this machine."""

    def now(self) -> float:
        """Seconds since a start that only this machine knows."""
        return float(_local_clock())


class _Inlet:
    """A pylsl inlet that never waits for ever and says with our own words that its stream is gone."""

    def __init__(self, info: pylsl.StreamInfo, clock: Clock, timeout_s: float) -> None:
        self.clock = clock
        self.name: str = info.name()
        inlet = pylsl.StreamInlet(
            info, max_buflen=_BUFFERED_S, recover=False, processing_flags=pylsl.proc_none
        )
        try:
            self.info: pylsl.StreamInfo = inlet.info(timeout_s)
            inlet.open_stream(timeout_s)
        except (pylsl.util.LostError, pylsl.util.TimeoutError) as error:
            raise StreamLostError(
                f"stream {self.name!r} was found but did not answer within {timeout_s:g} s"
            ) from error
        self._inlet: pylsl.StreamInlet | None = inlet

    @property
    def hostname(self) -> str:
        """Machine that sends the stream."""
        return str(self.info.hostname())

    def _opened(self) -> pylsl.StreamInlet:
        if self._inlet is None:
            raise StreamLostError(f"the inlet of stream {self.name!r} is closed")
        return self._inlet

    def _lost(self) -> StreamLostError:
        return StreamLostError(f"stream {self.name!r} was lost: its sender went away")

    def time_correction(self, timeout_s: float) -> ClockReading | None:
        """From the sender's clock to ours; None if not known in time. Any thread may ask.

        Takes about 0.6 s the first time and nothing later, when liblsl's own thread keeps it up to date.

        Raises
        ------
        StreamLostError
            If the stream is gone or the inlet closed.
        """
        inlet = self._opened()  # held here: another thread's close() must not destroy it under our feet
        measured_at, uncertainty, code = ctypes.c_double(), ctypes.c_double(), ctypes.c_int()
        seconds = liblsl.lsl_time_correction_ex(
            inlet.obj,
            ctypes.byref(measured_at),
            ctypes.byref(uncertainty),
            ctypes.c_double(timeout_s),
            ctypes.byref(code),
        )
        try:
            pylsl.util.handle_error(code)
            return ClockReading(float(seconds), float(uncertainty.value))
        except pylsl.util.TimeoutError:
            return None
        except (pylsl.util.LostError, pylsl.util.InternalError) as error:
            raise self._lost() from error

    def waiting(self) -> int:
        """Count the samples that were received and not pulled yet."""
        return 0 if self._inlet is None else int(self._inlet.samples_available())

    def flush(self) -> int:
        """Throw away what was received and not pulled yet, and count it."""
        return 0 if self._inlet is None else int(self._inlet.flush())

    def close(self) -> None:
        """Disconnect; may take half a second."""
        self._inlet = None


class SignalInlet(_Inlet):
    """A regularly sampled LSL stream, in SI units with raw stamps. One thread pulls.

    Parameters
    ----------
    info
        From :func:`resolve`.
    clock
        Gives the arrival stamps.
    unit, channel_names
        What the configuration states; see :func:`stream_channels`.
    timeout_s
        How long the stream may take to answer when the inlet opens.

    Raises
    ------
    UserError
        If the stream is no signal, or its units or channel names are unknown and not stated.
    StreamLostError
        If it does not answer.
    """

    def __init__(
        self,
        info: pylsl.StreamInfo,
        clock: Clock,
        *,
        unit: str | Mapping[str, str] | None = None,
        channel_names: Sequence[str] | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        if info.channel_format() == pylsl.cf_string or info.nominal_srate() <= 0:
            kind = "text" if info.channel_format() == pylsl.cf_string else "samples at irregular times"
            raise UserError(
                f"stream {info.name()!r} sends {kind}: it can be a marker stream but not a signal; "
                "correct the configuration"
            )
        super().__init__(info, clock, timeout_s)
        self._description = _describe(self.info, unit, channel_names)
        scale = np.array(self._description.scale)
        self._scale: NDArray[np.float64] | None = None if (scale == 1).all() else scale
        self.max_samples = max(1, min(4096, _LARGEST_CHUNK_BYTES // (8 * scale.size)))
        """How many samples one pull brings at the most."""
        inlet = self._opened()
        self._values = np.empty((self.max_samples, scale.size), inlet.np_dtype)
        self._stamps = np.empty(self.max_samples)
        self._error = ctypes.c_int()
        self._wait_for = inlet.do_pull_chunk
        name = self._wait_for.__name__
        if not hasattr(_holding, name):  # pylsl's stand-in for what liblsl lacks here
            raise UserError(
                f"stream {self.name!r} sends {self._description.value_format}, which liblsl cannot read on "
                "this system: have its sender use another format"
            )
        self._fetch = getattr(_holding, name)
        # Made once: to make them takes longer than the call.
        self._first = self._room(0, 1)
        self._rest = (*self._room(1, self.max_samples - 1), ctypes.c_double(0.0), ctypes.byref(self._error))
        self._has_first = False

    def _room(self, first: int, n: int) -> tuple[Any, ...]:
        """Arguments that tell liblsl to write up to ``n`` samples, the first one to row ``first``."""
        return (
            ctypes.c_void_p(self._values.ctypes.data + first * self._values.strides[0]),
            ctypes.c_void_p(self._stamps.ctypes.data + first * self._stamps.strides[0]),
            ctypes.c_ulong(n * self._values.shape[1]),
            ctypes.c_ulong(n),
        )

    def describe(self) -> StreamDescription:
        """Return what the stream says about itself."""
        return self._description

    def wait(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` seconds for a sample; :meth:`take` then returns it, and what follows.

        Raises
        ------
        StreamLostError
            If the sender went away.
        """
        if not self._has_first:
            n_values = self._wait_for(
                self._opened().obj, *self._first, ctypes.c_double(timeout_s), ctypes.byref(self._error)
            )
            if self._error.value:
                try:
                    pylsl.util.handle_error(self._error)
                except (pylsl.util.LostError, pylsl.util.InternalError) as error:
                    raise self._lost() from error
            self._has_first = n_values > 0
        return self._has_first

    def take(self) -> RawChunk:
        """Return all that is there, without waiting for more; only after :meth:`wait` has found something.

        It never lets go of the interpreter while it asks liblsl.
        """
        n = 1
        if self.max_samples > 1:
            # Of a stream that is lost meanwhile the first sample remains; the next wait says that it is lost.
            n += self._fetch(self._opened().obj, *self._rest) // self._values.shape[1]
        self._has_first = False
        arrival = self.clock.now()
        samples = self._values[:n].astype(np.float64)
        if self._scale is not None:
            samples *= self._scale
        return RawChunk(samples, self._stamps[:n].copy(), arrival)

    def pull(self, timeout_s: float) -> RawChunk | None:
        """Wait up to ``timeout_s`` seconds; returns all that is there as soon as anything is.

        Raises
        ------
        StreamLostError
            If the sender went away.
        """
        return self.take() if self.wait(timeout_s) else None


def _describe(
    info: pylsl.StreamInfo, unit: str | Mapping[str, str] | None, channel_names: Sequence[str] | None
) -> StreamDescription:
    channels, scale = stream_channels(info, unit=unit, channel_names=channel_names)
    ours = info.desc().child("rtdecode")
    speed_text = ours.child_value("speed").strip() or "1"
    try:
        speed = float(speed_text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise UserError(
            f"stream {info.name()!r} announces speed {speed_text!r}; its sender must be corrected"
        )
    return StreamDescription(
        name=info.name(),
        type=info.type(),
        source_id=info.source_id(),
        hostname=info.hostname(),
        rate_hz=info.nominal_srate(),
        channels=channels,
        scale=scale,
        value_format=_FORMATS[info.channel_format()],
        simulated=ours.child_value("simulated").strip().casefold() == "true",
        speed=speed,
        recording=ours.child_value("recording").strip(),
        faults=ours.child_value("faults").strip(),
    )


class MarkerInlet(_Inlet):
    """An LSL marker stream; each marker becomes one text. One thread pulls.

    - Text, and numbers of one channel: as :func:`~rtdecode.sources.marker_text.marker_text` writes them.
    - Numbers, several channels: only where they are one-hot annotations, as mne-lsl's ``PlayerLSL`` sends
      them (type ``annotations``): one marker for each channel that is not zero, named as the channel.

    A marker without text is none, and one whose stamp is no number is dropped and logged.

    Parameters
    ----------
    info
        From :func:`resolve`.
    clock
        Gives the arrival stamps.
    timeout_s
        How long the stream may take to answer when the inlet opens.

    Raises
    ------
    UserError
        If the stream cannot be a marker stream.
    StreamLostError
        If it does not answer.
    """

    _MAX_SAMPLES = 256

    def __init__(self, info: pylsl.StreamInfo, clock: Clock, *, timeout_s: float = 5.0) -> None:
        self._is_text = info.channel_format() == pylsl.cf_string
        if not self._is_text and info.nominal_srate() > 0:
            raise UserError(
                f"stream {info.name()!r} sends {info.nominal_srate():g} numbers a second, so it is a "
                "signal; name it as a signal stream with a trigger channel"
            )
        one_hot = not self._is_text and info.channel_count() > 1
        if one_hot and info.type().casefold() != ONE_HOT_TYPE:
            raise UserError(
                f"marker stream {info.name()!r} sends {info.channel_count()} numbers a marker; send "
                "one, or text"
            )
        super().__init__(info, clock, timeout_s)
        self._one_hot: list[str] | None = None
        if one_hot:
            channels, _ = stream_channels(self.info, unit="1")
            self._one_hot = [channel.name for channel in channels]

    def pull(self, timeout_s: float) -> list[RawMarker]:
        """Wait up to ``timeout_s`` seconds; returns all that is there as soon as anything is.

        Raises
        ------
        StreamLostError
            If the sender went away.
        """
        try:
            values, stamps = self._opened().pull_chunk(
                timeout_s, self._MAX_SAMPLES, min_samples=1, as_numpy=True
            )
        except (pylsl.util.LostError, pylsl.util.InternalError) as error:
            raise self._lost() from error
        arrival = self.clock.now()
        markers = []
        for row, stamp in zip(values, stamps.tolist(), strict=True):
            for label in self._labels(row):
                if math.isfinite(stamp):
                    markers.append(RawMarker(label, stamp, arrival))
                else:
                    _log.warning(
                        "marker %r of stream %r is dropped: its stamp is %s", label, self.name, stamp
                    )
        return markers

    def _labels(self, row: NDArray[np.generic]) -> list[str]:
        if self._one_hot is not None:
            return one_hot_texts(row, self._one_hot)
        label = marker_text(row)
        return [label] if label else []
