"""Recordings to a TrialSet, through the very front end that runs live."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_serializer, model_validator

from replay.trials import TrialSet, TrialSetWriter, signal_hash
from rtdecode.contracts import (
    Channel,
    ChannelType,
    Fate,
    FrontEndStep,
    RunningDemean,
    RunningDetrend,
    RunningRobustScale,
    RunningZscore,
    SignalContract,
    Verdict,
    Window,
)
from rtdecode.errors import MismatchError, UserError
from rtdecode.gate import MarkerGate
from rtdecode.signal.alignment import nearest_whole
from rtdecode.signal.design import design_iir
from rtdecode.signal.front_end import FrontEnd
from rtdecode.signal.markers import Marker
from rtdecode.signal.resampling import Resampler, resampling_for
from rtdecode.signal.ring import Ring
from rtdecode.stimuli import StimulusMapper
from training.trial_table import run_name, trial_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from replay.recordings.recording import Recording
    from rtdecode.gate import Admission
    from rtdecode.stimuli import StimulusTable

BRAIN = (ChannelType.EEG, ChannelType.MAG, ChannelType.GRAD, ChannelType.VOXEL)
"""Channels that are decoded from unless some are named."""

RunningStep = Annotated[
    RunningDemean | RunningDetrend | RunningZscore | RunningRobustScale, Field(discriminator="kind")
]
"""A causal step that needs no design."""

_BLOCK_S = 4.0
_NATIVE = 16
_END = "end"


class SignalSettings(BaseModel):
    """``[signal]``: what is made of a recording's samples before anything is fitted.

    Parameters
    ----------
    channels
        Names, in the order that the decoder will have; None takes all EEG and MEG channels, and all voxels.
    highpass_hz, lowpass_hz, order, family, highpass_order
        The causal filter, see :func:`rtdecode.signal.design.design_iir`; without an edge there is none.
    running
        Causal steps that follow the filter, in order; for fMRI, whose volumes come too slowly for a filter,
        they stand in its place.
    tmin_s, tmax_s
        The window, seconds from onset, both ends included.
    resample_hz
        Rate after the resampling matrix; None keeps the native one.
    shift_residual
        Shift each window by what lies between the picture and the onset sample, see
        :class:`~rtdecode.contracts.Resampling`: for slow signals, where that is a good part of a response. It
        takes one sample more before the window, and one more after it, which an answer waits for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    channels: tuple[str, ...] | None = Field(default=None, min_length=1)
    highpass_hz: float | None = Field(default=None, gt=0)
    lowpass_hz: float | None = Field(default=None, gt=0)
    order: int = Field(default=2, ge=1)
    family: Literal["butter", "cheby2", "ellip"] = "butter"
    highpass_order: int | None = Field(default=None, ge=1)
    running: tuple[RunningStep, ...] = ()
    tmin_s: float
    tmax_s: float
    resample_hz: float | None = Field(default=None, gt=0)
    shift_residual: bool = False

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.tmax_s < self.tmin_s:
            raise ValueError(f"tmax_s {self.tmax_s:g} lies before tmin_s {self.tmin_s:g}")
        return self

    @field_serializer("running")
    def _with_kinds(self, steps: tuple[RunningStep, ...]) -> list[dict[str, Any]]:
        return [step.model_dump() for step in steps]  # whole: its kind is a default, and tells which it is

    def contract(self, channels: Sequence[Channel], rate_hz: float) -> SignalContract:
        """Signal contract for a recording or stream of these channels.

        Raises
        ------
        UserError
            If a channel is missing, or no such filter exists at this rate.
        """
        offered = {channel.name: channel for channel in channels}
        names = self.channels or tuple(name for name, channel in offered.items() if channel.type in BRAIN)
        if missing := [name for name in names if name not in offered]:
            raise UserError(f"no channel {', '.join(missing)}: the recording has {', '.join(offered)}")
        if not names:
            raise UserError(f"no EEG or MEG channel and no voxel: name the channels, of {', '.join(offered)}")
        front_end: tuple[FrontEndStep, ...] = self.running
        if self.highpass_hz is not None or self.lowpass_hz is not None:
            front_end = (
                design_iir(
                    rate_hz,
                    highpass_hz=self.highpass_hz,
                    lowpass_hz=self.lowpass_hz,
                    order=self.order,
                    family=self.family,
                    highpass_order=self.highpass_order,
                ),
                *self.running,
            )
        margin = 1 if self.shift_residual else 0
        window = Window(
            first_sample=round(self.tmin_s * rate_hz) - margin,
            last_sample=round(self.tmax_s * rate_hz) + margin,
        )
        return SignalContract(
            channels=tuple(offered[name] for name in names),
            rate_hz=rate_hz,
            front_end=front_end,
            window=window,
            resampling=resampling_for(
                window, rate_hz, self.resample_hz or rate_hz, shift_residual=self.shift_residual
            ),
        )


def prepare(
    recordings: Sequence[Recording],
    settings: SignalSettings,
    path: Path | str,
    *,
    stimuli: StimulusTable | None = None,
    ignore: Sequence[str] = (),
    json_key: str | None = None,
    marker_delay_s: float = 0.0,
    stream_delay_s: float = 0.0,
    progress: Callable[[int, int], None] | None = None,
    notes: Mapping[str, Any] | None = None,
) -> TrialSet:
    """Cut the windows of all accepted markers out of recordings.

    A recording is read in fixed blocks through :class:`rtdecode.signal.front_end.FrontEnd`, a fresh one after
    each break; windows are cut at the markers' samples and go through the
    :class:`~rtdecode.signal.resampling.Resampler` that export puts into the ONNX file. No more than a block
    and a window is held in memory.

    Parameters
    ----------
    recordings
        In the order in which they were recorded.
    settings
        What is made of the samples.
    path
        Folder of the TrialSet; one that lies there is replaced at the very end.
    stimuli
        Table that maps markers to stimuli. Without it a marker's label is its stimulus.
    ignore
        Patterns (``*`` and ``?``) of markers that are no stimuli.
    json_key
        Markers are JSON objects, and the value of this key is their label; None: their text is.
    marker_delay_s
        Seconds from a marker to the picture on the screen; added to the markers' times.
    stream_delay_s
        Seconds by which the stamps of the samples lag the true events; subtracted from the samples' times.
        Kept in ``extras``, as ``marker_delay_s`` is.
    progress
        Called with the samples done and the samples there are.
    notes
        Kept in the TrialSet's ``extras``.

    Returns
    -------
    TrialSet
        ``left_out`` counts the markers that got no window, by reason: the fates ``ignored`` and
        ``duplicate``; the verdicts that they would have live, ``warming_up`` (the window starts before the
        front end can be trusted) and ``gap`` (it reaches across a break); and ``end`` (it ends after the
        recording). Where the table is followed in order, ``extras["mismatches"]`` counts how often step was
        lost, and ``extras["last_mismatches"]`` tells the last of them, a line each.

    Raises
    ------
    MismatchError
        If the recordings differ in rate, or in the channels' types and units.
    UserError
        If a channel is missing, two recordings have the same subject, session and run, a window holds NaN, or
        no window is left.
    """
    if not recordings:
        raise UserError("no recordings to prepare: name at least one")
    _check_distinct(recordings)
    signal = settings.contract(recordings[0].channels, recordings[0].rate_hz)
    for recording in recordings[1:]:
        _check_same_signal(settings, recording, recordings[0], signal)
    mapper = None if stimuli is None else StimulusMapper(stimuli)
    gate = MarkerGate(ignore, mapper, json_key)
    n_kept = max(1, _NATIVE // len(recordings))
    total = sum(recording.n_samples for recording in recordings)
    done = 0
    with TrialSetWriter(path, signal) as writer:
        planned: list[list[PlannedTrial]] = []
        for index, recording in enumerate(recordings):
            planned.append([])
            source = f"{index}/{recording.name}"
            for trial in _trials(recording, gate, source, marker_delay_s + stream_delay_s):
                if reason := _fault(trial, recording, signal):
                    writer.leave_out(reason)
                else:
                    planned[-1].append(trial)
        rows = iter(trial_table(recordings, planned, stimuli, signal.window).to_dict("records"))
        for recording, trials in zip(recordings, planned, strict=True):
            kept = set(np.linspace(0, len(trials), n_kept, endpoint=False, dtype=int).tolist())
            for number, (end, native, window) in enumerate(_windows(recording, signal, trials)):
                writer.add(window, next(rows), native=native if number in kept else None)
                if progress is not None:
                    progress(done + end, total)
            done += recording.n_samples
            if progress is not None:
                progress(done, total)
        if not writer.n_trials:
            reasons = (
                ", ".join(f"{n} {reason}" for reason, n in writer.left_out.items()) or "no markers at all"
            )
            raise UserError(f"no trial in {len(recordings)} recordings ({reasons}): check the markers' table")
        writer.note(
            recordings=[recording.name for recording in recordings],
            marker_delay_s=marker_delay_s,
            stream_delay_s=stream_delay_s,
            **_mismatches(mapper),
            **(notes or {}),
        )
    return TrialSet.open(path)


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """An accepted or refused marker.

    ``marker`` is the sample that it stands at, ``onset`` the one nearest to the picture, and ``residual_us``
    the picture's time minus that of the onset sample.
    """

    marker: int
    onset: int
    residual_us: float
    admission: Admission


def _trials(recording: Recording, gate: MarkerGate, source: str, delay_s: float) -> Iterator[PlannedTrial]:
    markers, rate_hz = recording.markers, recording.rate_hz
    for sample, label, residual_s in zip(
        markers.sample.tolist(), markers.label, markers.residual_s.tolist(), strict=True
    ):
        stamp = sample / rate_hz + residual_s
        admission = gate.admit(Marker(source, label, stamp, stamp, stamp, sample))
        after_s = residual_s + delay_s  # from the marker's sample to the picture
        shift = nearest_whole(after_s * rate_hz)
        yield PlannedTrial(sample, sample + shift, 1e6 * (after_s - shift / rate_hz), admission)


def _fault(trial: PlannedTrial, recording: Recording, signal: SignalContract) -> str | None:
    """Why a trial gets no window, if it gets none; the rules of :class:`rtdecode.signal.track.Track`."""
    if trial.admission.fate is not Fate.ACCEPTED:
        return trial.admission.fate.value
    begin, end = _segment(recording, trial.marker)
    before = Verdict.GAP.value if begin else Verdict.WARMING_UP.value
    after = Verdict.GAP.value if end < recording.n_samples else _END
    if not begin <= trial.onset < end:
        return before if trial.onset < begin else after
    start, stop = trial.onset + signal.window.first_sample, trial.onset + signal.window.last_sample + 1
    if start < begin:
        return before
    if start < begin + signal.warmup_samples:
        return Verdict.WARMING_UP.value
    return after if stop > end else None


def _windows(
    recording: Recording, signal: SignalContract, trials: Sequence[PlannedTrial]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Cut the trials' windows, which are in order.

    Yields
    ------
    end
        Samples of the recording read so far.
    native : array of shape (n_samples, n_channels), float32
    window : array of shape (n_times, n_channels), float32
    """
    column = {name: index for index, name in enumerate(recording.channel_names)}
    pick = [column[channel.name] for channel in signal.channels]
    first, n_samples = signal.window.first_sample, signal.window.n_samples
    block = max(1, round(_BLOCK_S * recording.rate_hz))
    resampler = Resampler(signal)
    for (begin, end), of_segment in groupby(trials, key=lambda trial: _segment(recording, trial.marker)):
        front_end = FrontEnd(signal.front_end, len(pick), signal.rate_hz)
        ring = Ring(n_samples + block, len(pick))
        for trial in of_segment:
            start = trial.onset + first - begin
            while ring.end < start + n_samples:
                at = begin + ring.end
                samples = recording.read_channels(at, min(at + block, end), pick).T
                ring.append(np.ascontiguousarray(front_end.process(samples)))  # once: the ring writes twice
            native = ring.view(start, start + n_samples)
            yield begin + ring.end, native, resampler(native, 1e-6 * trial.residual_us)


def _mismatches(mapper: StimulusMapper | None) -> dict[str, Any]:
    """How often the markers fell out of step with the table, and a line on each of the last times."""
    if mapper is None:
        return {}
    report = mapper.report()
    lines = [
        f"trigger {one.trigger + 1} has code {one.code!r} but "
        + ("the table has ended" if one.row is None else f"row {one.row + 1} has code {one.due!r}")
        for one in report.last_mismatches
    ]
    return {"mismatches": report.mismatches, "last_mismatches": lines}


def _segment(recording: Recording, sample: int) -> tuple[int, int]:
    """First sample, and one past the last, of the unbroken stretch around a sample."""
    starts = recording.segment_starts  # as many as epochs, where these were released: not to be copied
    index = bisect_right(starts, sample)
    return starts[index - 1], starts[index] if index < len(starts) else recording.n_samples


def _check_distinct(recordings: Sequence[Recording]) -> None:
    seen = Counter((recording.subject, recording.session, run_name(recording)) for recording in recordings)
    for (subject, session, run), n in seen.items():
        if n > 1:
            raise UserError(
                f"{n} recordings are subject {subject!r}, session {session!r}, run {run!r}: "
                "give each its own run"
            )


def _check_same_signal(
    settings: SignalSettings, recording: Recording, reference: Recording, signal: SignalContract
) -> None:
    if signal_hash(settings.contract(recording.channels, recording.rate_hz)) == signal_hash(signal):
        return
    faults = []
    if recording.rate_hz != reference.rate_hz:
        faults.append(f"rate {recording.rate_hz:g} Hz against {reference.rate_hz:g} Hz")
    offered = {channel.name: channel for channel in recording.channels}
    for channel in signal.channels:
        other = offered.get(channel.name)
        if other is None:
            faults.append(f"channel {channel.name} missing")
        elif (other.type, other.unit) != (channel.type, channel.unit):
            faults.append(
                f"channel {channel.name} is {other.type.value} in {other.unit.value} against "
                f"{channel.type.value} in {channel.unit.value}"
            )
    if not faults:
        faults.append("other channels, or in another order; name them in the signal settings")
    raise MismatchError(f"{recording.name} does not fit {reference.name}: {'; '.join(faults)}")
