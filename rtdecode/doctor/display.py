"""Records a photodiode and markers live, and says how late the screen is."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np

from rtdecode.doctor.finding import Finding, State
from rtdecode.doctor.photodiode import DisplayTiming, find_flashes, match_flashes
from rtdecode.errors import UserError
from rtdecode.signal.markers import TriggerDetector
from rtdecode.sources.base import StreamLostError
from rtdecode.sources.clock_offsets import ClockOffsets
from rtdecode.sources.lsl import LslClock, MarkerInlet, SignalInlet, StreamQuery, resolve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from rtdecode.sources.base import RawMarker

_FIND_S = 10.0
_OFFSET_S = 10.0
_PULL_S = 0.1
_UNSTEADY_S = 0.004
_ENOUGH = 10


def measure_display(
    channel: str,
    stream: StreamQuery,
    markers: str,
    duration_s: float,
    progress: Callable[[float], None] = lambda _: None,
) -> Finding:
    """Record for a while and compare the photodiode's flashes with the markers.

    Parameters
    ----------
    channel
        The photodiode's channel in ``stream``.
    stream
        The signal stream.
    markers
        A trigger channel of ``stream``, or else the marker stream, as :meth:`StreamQuery.parse` reads it.
    duration_s
        How long to record.
    progress
        Told the seconds recorded so far.

    Raises
    ------
    UserError
        If a stream or channel is not there.
    StreamLostError
        If a stream goes away meanwhile.
    """
    clock = LslClock()
    # A photodiode's unit does not matter here, so that channels that do not say theirs do no harm.
    signal = SignalInlet(resolve(stream, _FIND_S), clock, unit="1")
    names = [each.name for each in signal.describe().channels]
    if channel not in names:
        raise UserError(f"stream {signal.name!r} has no channel {channel!r}; it has {', '.join(names)}")
    with ClockOffsets() as offsets:
        offset = offsets.watch(signal)
        if markers in names:
            offset.wait(_OFFSET_S)
            columns, stamps = _record(
                signal, [names.index(channel), names.index(markers)], duration_s, progress
            )
            onsets = TriggerDetector().process(columns[:, 1])
            marker_times = (stamps + offset.seconds)[[sample for sample, _ in onsets]]
        else:
            marker_inlet = MarkerInlet(resolve(StreamQuery.parse(markers), _FIND_S), clock)
            marker_offset = offsets.watch(marker_inlet)
            offset.wait(_OFFSET_S)
            marker_offset.wait(_OFFSET_S)
            with _Collector(marker_inlet) as collector:
                columns, stamps = _record(signal, [names.index(channel)], duration_s, progress)
            marker_stamps = np.array([marker.stamp for marker in collector.markers])
            marker_times = marker_stamps + marker_offset.seconds
            marker_inlet.close()
        times = stamps + offset.seconds
    signal.close()
    return judge(columns[:, 0], times, marker_times)


def judge(values: NDArray[np.float64], times: NDArray[np.float64], markers: NDArray[np.float64]) -> Finding:
    """Say what a recording of a photodiode tells about the display.

    Parameters
    ----------
    values, times : arrays of shape (n_samples,)
        The photodiode and its times, seconds.
    markers : array of shape (n_markers,)
        Times of the markers, in the same clock.
    """
    flashes = find_flashes(values, times)
    # Markers whose flash may lie before or after the recording tell nothing.
    inside = (markers > times[0] + 0.1) & (markers < times[-1] - 0.5) if times.size else np.zeros(0, bool)
    timing = match_flashes(markers[inside], flashes.times)
    data: dict[str, object] = {
        "n_markers": int(inside.sum()),
        "n_flashes": int(flashes.times.size),
        "n_matched": int(timing.delays_s.size),
        "n_missing": timing.n_missing,
        "n_extra": timing.n_extra,
        "contrast": flashes.contrast,
    }
    if not flashes.times.size:
        text = (
            f"no clear flashes in {values.size} samples (contrast {flashes.contrast:.1f}, at least 6 needed)"
        )
        advice = "check that the photodiode sits on the flashing patch, its gain, and the channel's name"
        return Finding("photodiode", State.PROBLEM, text, advice, data)
    if not inside.any():
        text = f"{flashes.times.size} flashes but no marker"
        return Finding("photodiode", State.PROBLEM, text, "check that the markers are sent", data)
    if 2 * timing.delays_s.size < inside.sum():
        text = (
            f"only {timing.delays_s.size} of {inside.sum()} markers have a flash with a common delay between "
            "-0.1 and 0.5 s"
        )
        advice = "check that the patch flashes with every marker, and that both streams have right stamps"
        return Finding("photodiode", State.PROBLEM, text, advice, data)
    return _steadiness(timing, data)


def _steadiness(timing: DisplayTiming, data: dict[str, object]) -> Finding:
    p5, p95 = timing.percentile_s(5), timing.percentile_s(95)
    data |= {"delay_s": timing.median_s, "sd_s": timing.sd_s, "p5_s": p5, "p95_s": p95}
    text = (
        f"delay median {1e3 * timing.median_s:.1f} ms, SD {1e3 * timing.sd_s:.1f}, p5 {1e3 * p5:.1f}, "
        f"p95 {1e3 * p95:.1f} ms over {timing.delays_s.size} flashes; {timing.n_missing} missing, "
        f"{timing.n_extra} extra"
    )
    advice = (
        f"write delay_s = {timing.median_s:.4f} and today's date as delay_measured into [markers], with "
        "delay_s = 0 for this stream"
    )
    worries = []
    if timing.delays_s.size < _ENOUGH:
        worries.append(f"measure longer, for at least {_ENOUGH} flashes")
    if timing.sd_s > _UNSTEADY_S:
        worries.append(
            "find out why the delay varies (vertical synchronisation, dropped frames) before using it"
        )
    if timing.n_missing or timing.n_extra:
        worries.append("find out why markers and flashes do not pair")
    state = State.WARNING if worries else State.OK
    return Finding("photodiode", state, text, "; ".join([*worries, advice]), data)


def _record(
    inlet: SignalInlet, channels: list[int], duration_s: float, progress: Callable[[float], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (n, len(channels)) and stamps (n,) of what comes in ``duration_s`` seconds."""
    start = time.monotonic()
    values, stamps = [np.empty((0, len(channels)))], [np.empty(0)]
    while (elapsed := time.monotonic() - start) < duration_s:
        progress(elapsed)
        chunk = inlet.pull(_PULL_S)
        if chunk is not None:
            values.append(chunk.samples[:, channels])
            stamps.append(chunk.stamps)
    progress(duration_s)
    return np.concatenate(values), np.concatenate(stamps)


class _Collector:
    """Pulls markers on a thread of its own while the signal is recorded."""

    def __init__(self, inlet: MarkerInlet) -> None:
        self.markers: list[RawMarker] = []
        self._inlet = inlet
        self._stop = threading.Event()
        self._lost: StreamLostError | None = None
        self._thread = threading.Thread(target=self._run, name="marker collector")

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self.markers += self._inlet.pull(_PULL_S)
        except StreamLostError as lost:
            self._lost = lost

    def __enter__(self) -> _Collector:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._lost is not None:
            raise self._lost
