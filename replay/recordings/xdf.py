"""XDF files, as LabRecorder writes them: one signal stream, and the marker streams beside it.

Stamps of all streams are brought to one clock by pyxdf; each marker then belongs to the sample that a live
stream would have put it on: the same line is drawn through the stamps, as far as they had come by then. One
through all of them would be better, and elsewhere.
"""

from __future__ import annotations

import contextlib
import io
import logging
import logging.handlers
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from replay.recordings.channels import cannot_open, stated_unit, unique_names, unknown_unit
from replay.recordings.recording import GAP_S, Markers, Recording, bids_entities
from replay.recordings.triggers import trigger_markers
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError
from rtdecode.journal.xdf import MAGIC, OWN_TYPE, SAMPLES, chunks, read_length
from rtdecode.signal.stretches import stretches
from rtdecode.sources.marker_text import ONE_HOT_TYPE, marker_text, one_hot_texts
from rtdecode.sources.metadata import parse_unit, sensor_position, type_from_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from rtdecode.signal.markers import TriggerSettings
    from rtdecode.signal.stretches import Stretch

_log = logging.getLogger(__name__)


def read_xdf(
    path: Path,
    *,
    units: str | None,
    marker_channel: str | None,
    signal_stream: str | None,
    marker_streams: Sequence[str] | None,
    triggers: TriggerSettings,
) -> Recording:
    """Read an XDF file into memory.

    The signal is the one stream of numbers at a regular rate that holds samples. Markers are those of the
    streams named or typed as markers, or of all irregular streams if none is; a marker before the
    start, after the end or in a break, by more than half a sample, is left out, and logged. A file that
    ends in the middle of a chunk, as a crashed recorder leaves it, is read up to there, and that is logged.

    Parameters
    ----------
    path
        The file.
    units
        Unit of the channels that do not say theirs.
    marker_channel
        Channel of the signal stream that carries trigger codes; markers are then read from it alone.
    signal_stream
        Name of the signal stream, if there are several.
    marker_streams
        Names of the marker streams to take.
    triggers
        How ``marker_channel`` is read.

    Raises
    ------
    UserError
        If the file is damaged, or the signal stream, a named stream or a unit is not known.
    """
    content, counts = _complete_part(path)
    listed = _list_streams(path, content, counts)
    chosen = _choose_signal(path, listed, signal_stream)
    beside = [] if marker_channel is not None else _choose_markers(path, listed, chosen, marker_streams)
    signal, *marking = _load(path, content, [chosen, *beside])

    channels, factors = _channels(path, signal, stated_unit(units))
    names = [channel.name for channel in channels]
    laid_out = stretches(signal.stamps, chosen.rate_hz, GAP_S)
    if marker_channel is None:
        markers = _aligned_markers(path, laid_out, marking)
    elif marker_channel in names:
        markers = trigger_markers(
            path, marker_channel, [signal.values[:, names.index(marker_channel)]], triggers
        )
    else:
        raise UserError(f"{path}: has no channel {marker_channel!r}; it has {', '.join(names)}")

    def read(start: int, stop: int) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = signal.values[start:stop].astype(np.float64) * factors
        return scaled

    subject, session, run = bids_entities(path)
    return Recording(
        name=path.stem,
        rate_hz=chosen.rate_hz,
        channels=channels,
        n_samples=len(signal.values),
        markers=markers,
        reader=read,
        simulated=_text(_child(signal.description, "rtdecode"), "simulated") == "true",
        stamps=signal.raw_stamps,
        segment_starts=tuple(stretch.start for stretch in laid_out),
        subject=subject,
        session=session,
        run=run,
    )


# --- chunks ----------------------------------------------------------------------------------------------


def _complete_part(path: Path) -> tuple[bytes, Counter[int]]:
    """Content of the file up to the end of its last complete chunk, and how many samples each stream has."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise cannot_open(path, error) from error
    if not content.startswith(MAGIC):
        raise UserError(f"{path}: is no XDF file; check its name and where it comes from")
    file = io.BytesIO(content)
    end = file.seek(len(MAGIC))
    counts: Counter[int] = Counter()
    try:
        for chunk in chunks(file):
            if chunk.tag == SAMPLES:
                n_samples, _ = read_length(chunk.content, 4)
                counts[int.from_bytes(chunk.content[:4], "little")] += n_samples
            end = chunk.end
    except ValueError as error:
        raise _damaged(path, f"{error} at byte {end}") from error
    if end < len(content):
        _log.warning("%s: ends in the middle of a chunk; it is read up to there", path)
    return content[:end], counts


# --- streams ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Listed:
    """A stream as the file's headers list it."""

    stream_id: int
    name: str
    type: str
    rate_hz: float
    is_text: bool
    n_samples: int

    @property
    def is_regular(self) -> bool:
        return self.rate_hz > 0 and not self.is_text

    @property
    def says_markers(self) -> bool:
        text = f"{self.name} {self.type}".casefold()
        return any(word in text for word in ("marker", "event", "stim", "trigger"))


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A stream with its samples.

    ``stamps`` are on the common clock, ``raw_stamps`` as the file has them. ``values`` has shape
    ``(n_samples, n_channels)``, or is a list of lists of text.
    """

    name: str
    type: str
    rate_hz: float
    description: dict[str, Any]
    values: Any
    stamps: NDArray[np.float64]
    raw_stamps: NDArray[np.float64]


def _list_streams(path: Path, content: bytes, counts: Counter[int]) -> list[_Listed]:
    import pyxdf

    try:
        headers = pyxdf.resolve_streams(io.BytesIO(content))
    except Exception as error:  # whatever damaged bytes lead to
        raise _damaged(path, str(error)) from error
    return [
        _Listed(
            stream_id=header["stream_id"],
            name=header["name"] or "",
            type=header["type"] or "",
            rate_hz=header["nominal_srate"],
            is_text=header["channel_format"] == "string",
            n_samples=counts[header["stream_id"]],
        )
        for header in headers
    ]


def _choose_signal(path: Path, listed: list[_Listed], name: str | None) -> _Listed:
    candidates = [stream for stream in listed if stream.is_regular and stream.n_samples]
    there = ", ".join(repr(stream.name) for stream in candidates)
    if name is not None:
        candidates = [stream for stream in candidates if stream.name == name]
        if not candidates:
            raise UserError(f"{path}: has no signal stream {name!r}; it has {there or 'none'}")
    if not candidates:
        raise UserError(f"{path}: has no regular stream that holds samples; nothing can be replayed from it")
    if len(candidates) > 1:
        raise UserError(
            f"{path}: has several signal streams ({there}); name one of them (signal_stream, --signal-stream)"
        )
    return candidates[0]


def _choose_markers(
    path: Path, listed: list[_Listed], signal: _Listed, names: Sequence[str] | None
) -> list[_Listed]:
    if names is not None:
        if missing := set(names) - {stream.name for stream in listed}:
            there = ", ".join(repr(stream.name) for stream in listed)
            raise UserError(f"{path}: has no stream {', '.join(sorted(missing))}; it has {there}")
        return [stream for stream in listed if stream.name in names and stream is not signal]
    irregular = [
        stream
        for stream in listed
        if not stream.is_regular and stream.n_samples and stream.type != OWN_TYPE  # the journal's own notes
    ]
    return [stream for stream in irregular if stream.says_markers] or irregular


def _load(path: Path, content: bytes, streams: Sequence[_Listed]) -> list[_Loaded]:
    """Load streams, in the order given."""
    import pyxdf

    raw_stamps: dict[int, list[NDArray[np.float64]]] = {stream.stream_id: [] for stream in streams}

    def keep_stamps(values: Any, stamps: Any, header: Any, stream_id: int) -> tuple[Any, Any, Any]:
        raw_stamps[stream_id].append(stamps.copy())
        return values, stamps, header

    try:
        with _pyxdf_says(path):
            loaded, _ = pyxdf.load_xdf(
                io.BytesIO(content),
                select_streams=[stream.stream_id for stream in streams],
                on_chunk=keep_stamps,
                dejitter_timestamps=False,
            )
    except UserError:
        raise
    except Exception as error:  # whatever damaged bytes lead to
        raise _damaged(path, str(error)) from error
    by_id = {stream["info"]["stream_id"]: stream for stream in loaded}
    return [
        _Loaded(
            name=stream.name,
            type=stream.type,
            rate_hz=stream.rate_hz,
            description=_child(by_id[stream.stream_id]["info"], "desc"),
            values=by_id[stream.stream_id]["time_series"],
            stamps=by_id[stream.stream_id]["time_stamps"],
            raw_stamps=np.concatenate([*raw_stamps[stream.stream_id], np.empty(0)]),
        )
        for stream in streams
    ]


@contextlib.contextmanager
def _pyxdf_says(path: Path) -> Iterator[None]:
    """Turn what pyxdf logs as errors into one, and the rest into our own log entries."""
    handler = logging.handlers.BufferingHandler(capacity=1 << 20)
    logger = logging.getLogger("pyxdf.pyxdf")
    propagated, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
    for record in handler.buffer:
        if record.levelno >= logging.ERROR:
            raise _damaged(path, record.getMessage())
        _log.info("%s: %s", path, record.getMessage())


def _damaged(path: Path, reason: str) -> UserError:
    first_line = (reason.splitlines() or [""])[0].rstrip(".")
    return UserError(f"{path}: is damaged ({first_line}); restore it from a complete copy")


# --- channels --------------------------------------------------------------------------------------------


def _channels(
    path: Path, signal: _Loaded, stated: tuple[Unit, float] | None
) -> tuple[tuple[Channel, ...], NDArray[np.float64]]:
    """Channels in SI units, and what to multiply the samples by to get there."""
    n_channels = signal.values.shape[1]
    entries = _child(signal.description, "channels").get("channel") or []
    if len(entries) != n_channels:
        entries = [{}] * n_channels
    entries = [entry if isinstance(entry, dict) else {} for entry in entries]
    labels = [_text(entry, "label") or f"ch{i + 1}" for i, entry in enumerate(entries)]
    channels, factors = [], []
    for i, name in enumerate(unique_names(labels)):
        kind = type_from_text(_text(entries[i], "type")) or type_from_text(signal.type) or ChannelType.MISC
        unit_text = _text(entries[i], "unit")
        understood = parse_unit(unit_text) or stated
        if kind is ChannelType.STIM:
            understood = Unit.NONE, 1.0
        if understood is None:
            raise unknown_unit(path, name, unit_text)
        unit, factor = understood
        if kind is ChannelType.MAG and unit is Unit.TESLA_PER_METRE:  # written as "MEG", for both kinds
            kind = ChannelType.GRAD
        channels.append(Channel(name=name, type=kind, unit=unit, position_m=_position_m(entries[i])))
        factors.append(factor)
    return tuple(channels), np.asarray(factors)


def _position_m(entry: dict[str, Any]) -> tuple[float, float, float] | None:
    """Sensor position in metres, read as from a live stream."""

    def said(*keys: str) -> str:
        *above, last = keys
        inner = entry
        for key in above:
            inner = _child(inner, key)
        return _text(inner, last)

    return sensor_position(said)


def _child(entry: dict[str, Any], key: str) -> dict[str, Any]:
    """First child element of that name; empty if there is none."""
    children = entry.get(key) or [{}]
    return children[0] if isinstance(children[0], dict) else {}


def _text(entry: dict[str, Any], key: str) -> str:
    """Text of the first child element of that name; empty if there is none."""
    children = entry.get(key) or [""]
    return children[0].strip() if isinstance(children[0], str) else ""


# --- markers ---------------------------------------------------------------------------------------------


def _aligned_markers(path: Path, laid_out: Sequence[Stretch], streams: Sequence[_Loaded]) -> Markers:
    """Markers of all streams at their nearest samples."""
    texts = [_texts(stream) for stream in streams]
    labels = [text for of_stream in texts for of_sample in of_stream for text in of_sample]
    counts = [[len(of_sample) for of_sample in of_stream] for of_stream in texts]
    stamps = np.concatenate(
        [np.empty(0), *(np.repeat(one.stamps, n) for one, n in zip(streams, counts, strict=True) if n)]
    )
    order = np.argsort(stamps, kind="stable")
    stamps, labels = stamps[order], [labels[i] for i in order]
    samples = _samples_at(laid_out, stamps)
    if outside := samples.count(None):
        _log.warning("%s: %d markers lie where there are no samples, and are left out", path, outside)
    kept = [(at, label) for at, label in zip(samples, labels, strict=True) if at is not None]
    return Markers.in_order([at for at, _ in kept], [label for _, label in kept])


def _samples_at(laid_out: Sequence[Stretch], times: NDArray[np.float64]) -> list[int | None]:
    """Sample at each time; None where there is none, or where a clock that was set back tells of two."""
    found = []
    for time in times.tolist():
        samples = [sample for stretch in laid_out if (sample := stretch.sample(time)) is not None]
        found.append(samples[0] if len(samples) == 1 else None)
    return found


def _texts(stream: _Loaded) -> list[list[str]]:
    """Markers in each sample of a stream: one, or none where nothing is said, or several where one-hot."""
    if stream.type.casefold() == ONE_HOT_TYPE and not isinstance(stream.values, list):
        n_channels = stream.values.shape[1]
        entries = _child(stream.description, "channels").get("channel") or []
        names = [_text(entry, "label") for entry in entries if isinstance(entry, dict)]
        if n_channels > 1 and len(names) == n_channels and all(names):
            return [one_hot_texts(values, names) for values in stream.values]
    return [[text] if (text := marker_text(values)) else [] for values in stream.values]
