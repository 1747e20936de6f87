"""Simulated subjects: people who look at pictures while EEG is recorded, and whose truth is known.

Simulators check the tools. They never confirm a study: the numbers they give follow from the dials.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import Field

from replay.datasets.artefacts import (
    Background,
    Event,
    blinks,
    electrode_pops,
    heartbeats,
    muscle_bursts,
)
from replay.datasets.head import EegHead, eeg_head
from replay.datasets.noise import BLOCK, BlockNoise, Component, frequencies, unit_variance
from replay.datasets.responses import IMAGE_WAVES, RESPONSE_S, ImageMap, Wave, wave_bank
from replay.recordings.recording import Markers, Recording
from rtdecode.contracts import Contract

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_STREAM = 0xEE6
_ANATOMY, _WIRING, _SUBJECT, _TRIALS, _NOISE, _DISTURBANCES = range(6)
"""What random numbers are for; comes first in each seed, so that no two uses share theirs."""

# Where the visual response arises: electrode above, depth below the brain's surface, latency of its centre.
_REGIONS: tuple[tuple[str, float, float], ...] = (
    ("Oz", 0.25, 0.095),
    ("O1", 0.20, 0.105),
    ("O2", 0.20, 0.105),
    ("PO7", 0.20, 0.140),
    ("PO8", 0.20, 0.140),
    ("P7", 0.25, 0.180),
    ("P8", 0.25, 0.180),
    ("TP9", 0.30, 0.220),
    ("TP10", 0.30, 0.220),
    ("P1", 0.20, 0.260),
    ("P2", 0.20, 0.260),
    ("FCz", 0.35, 0.330),
)
_SPREAD_S = 0.07
"""How far from its centre in time a region still responds."""

# The part that every image evokes: wave, relative strength along the outward direction, regions.
_EVOKED: tuple[tuple[Wave, float, tuple[str, ...]], ...] = (
    (Wave(0.104, 0.015), 0.55, ("PO7", "PO8", "O1", "O2")),
    (Wave(0.168, 0.021), -0.95, ("PO7", "PO8", "P7", "P8")),
    (Wave(0.225, 0.030), 0.50, ("PO7", "PO8", "O1", "O2")),
    (Wave(0.330, 0.060), 0.35, ("P1", "P2")),
)


class EegSettings(Contract):
    """Dials of a simulated EEG subject; the defaults make plausible scalp EEG.

    Parameters
    ----------
    seed
        Decides the people; with subject and session number, every sample.
    subject
        Number of the subject.
    rate_hz
        Sampling rate.
    snr
        Single-trial signal-to-noise: standard deviation over images of the response (root mean square over
        channels and 60-500 ms), divided by the standard deviation of brain noise and alpha together (root
        mean square over channels).
    noise
        Multiplies brain noise, alpha and sensor noise; 0 leaves the response alone.
    nonlinearity
        0: latent features are linear in the embedding; 1: all pass through a saturating function.
    latency_jitter_s
        Standard deviation over trials of the response's latency.
    gain_sd
        Standard deviation over trials of the logarithm of the response's strength.
    artefacts
        Multiplies all that is neither response nor Gaussian noise (offsets, drift, hum, blinks, heart,
        muscles, electrode pops); 0 removes it.
    rotation_rad
        How far this subject's features are turned away from those that people share.
    evoked_v
        Largest deflection of the average evoked response, whatever the image.
    brain_v, alpha_v, sensor_v
        Standard deviation of 1/f brain noise and of alpha (root mean square over channels), and of sensor
        noise.
    brain_slope
        The spectrum of brain noise falls with frequency to the power of minus this (in power).
    alpha_hz
        Frequency of the alpha rhythm.
    offset_v, drift_v
        Standard deviation over channels of the electrode offset, and of its drift over minutes.
    line_hz, line_v
        Mains frequency, and effective value of the hum.
    blink_v, blinks_per_min
        Peak at the forehead, and rate.
    heartbeat_v
        Peak of the heart's field.
    muscle_v, muscle_per_min, pop_v, pops_per_min
        Strength and rate of muscle bursts and electrode pops.
    """

    seed: int = Field(default=0, ge=0)
    subject: int = Field(default=1, ge=0)
    rate_hz: float = Field(default=1000.0, ge=200)
    snr: float = Field(default=0.16, ge=0)
    noise: float = Field(default=1.0, ge=0)
    nonlinearity: float = Field(default=0.3, ge=0, le=1)
    latency_jitter_s: float = Field(default=0.006, ge=0, le=0.03)
    gain_sd: float = Field(default=0.2, ge=0, le=1)
    artefacts: float = Field(default=1.0, ge=0)
    rotation_rad: float = Field(default=0.6, ge=0)
    evoked_v: float = Field(default=7e-6, ge=0)
    brain_v: float = Field(default=9e-6, gt=0)
    brain_slope: float = Field(default=1.3, ge=0, le=3)
    alpha_v: float = Field(default=6e-6, ge=0)
    alpha_hz: float = Field(default=10.2, ge=6, le=14)
    sensor_v: float = Field(default=1.5e-6, ge=0)
    offset_v: float = Field(default=3e-3, ge=0)
    drift_v: float = Field(default=40e-6, ge=0)
    line_hz: float = Field(default=50.0, gt=0)
    line_v: float = Field(default=1.5e-6, ge=0)
    blink_v: float = Field(default=130e-6, ge=0)
    blinks_per_min: float = Field(default=10.0, ge=0)
    heartbeat_v: float = Field(default=2.5e-6, ge=0)
    muscle_v: float = Field(default=20e-6, ge=0)
    muscle_per_min: float = Field(default=1.0, ge=0)
    pop_v: float = Field(default=120e-6, ge=0)
    pops_per_min: float = Field(default=0.5, ge=0)

    def linear_gaussian(self) -> Self:
        """Give the same subject with every dial but ``snr`` and ``noise`` at zero."""
        return self.model_copy(
            update={"nonlinearity": 0.0, "latency_jitter_s": 0.0, "gain_sd": 0.0, "artefacts": 0.0}
        )


class SimulatedSubject:
    """One person with an EEG cap.

    Parameters
    ----------
    settings
        The dials.
    population : array of shape (n, dim)
        Embeddings of many images of the kind that will be shown; they define what a typical image is, and
        thereby the scale of responses.

    Attributes
    ----------
    channels : tuple of Channel
        The 63 electrodes.
    """

    def __init__(self, settings: EegSettings, population: NDArray[np.floating]) -> None:
        typical: Array = np.asarray(population, dtype=np.float64)
        self.settings = settings
        head = eeg_head()
        self.channels = head.channels
        self._head = head
        self._map = ImageMap(
            typical,
            settings.nonlinearity,
            settings.rotation_rad,
            np.random.default_rng((_STREAM, _SUBJECT, settings.seed, settings.subject)),
        )
        self._noise_parts = _noise_components(head, settings)
        self._time_s = np.arange(round(RESPONSE_S * settings.rate_hz)) / settings.rate_hz
        self._evoked_waves, self._evoked_maps = _evoked(head, settings)
        self._patterns = _image_patterns(head, self._map.rotation.shape[0])
        self._patterns *= settings.snr * np.hypot(settings.brain_v, settings.alpha_v) / self._spread(typical)

    @property
    def evoked(self) -> Array:
        """Response to the average image where the map is linear: (n_times, n_channels) volts from onset."""
        evoked: Array = wave_bank(self._evoked_waves, self._time_s) @ self._evoked_maps
        return evoked

    def response(self, embedding: NDArray[np.floating], latency_s: float = 0.0, gain: float = 1.0) -> Array:
        """Give the response to one image, without noise.

        Parameters
        ----------
        embedding : array of shape (dim,)
        latency_s, gain
            This trial's deviation: later by so much, stronger by this factor.

        Returns
        -------
        array of shape (n_times, n_channels)
            Volts, sample by sample from the onset.
        """
        maps = self._patterns_for(self._map(np.asarray(embedding, dtype=np.float64)[None]))[0]
        return self._course(maps, latency_s, gain)

    def session(
        self,
        stimulus_ids: Sequence[str],
        embeddings: NDArray[np.floating],
        soa_s: float = 0.35,
        session: int = 1,
        lead_in_s: float = 10.0,
        lead_out_s: float = 2.0,
    ) -> Recording:
        """Record a session in which images follow each other at a fixed pace.

        Samples are made when they are read, in blocks of about half a minute, the same ones for any order of
        reading; they are exact in float32.

        Parameters
        ----------
        stimulus_ids
            What is shown, in order; these become the markers' labels.
        embeddings : array of shape (n_trials, dim)
            The embedding of each.
        soa_s
            Seconds from onset to onset.
        session
            Number of the session: its noise and artefacts.
        lead_in_s, lead_out_s
            Seconds before the first onset and after the last.

        Raises
        ------
        ValueError
            If identifiers and embeddings do not fit each other or this subject, or ``soa_s`` is not positive.
        """
        if soa_s <= 0:
            raise ValueError(f"soa_s is {soa_s}; onsets follow each other")
        if embeddings.shape != (len(stimulus_ids), len(self._map.mean)):
            raise ValueError(
                f"{len(stimulus_ids)} stimuli need embeddings of shape "
                f"({len(stimulus_ids)}, {len(self._map.mean)}), not {embeddings.shape}"
            )
        rate_hz = self.settings.rate_hz
        onsets = np.rint((lead_in_s + soa_s * np.arange(len(stimulus_ids))) * rate_hz).astype(np.int64)
        last_s = lead_in_s + soa_s * max(len(stimulus_ids) - 1, 0)
        n_samples = round((last_s + max(lead_out_s, RESPONSE_S)) * rate_hz)
        blocks = _SessionBlocks(
            self,
            self._patterns_for(self._map(np.asarray(embeddings, dtype=np.float64))),
            onsets,
            n_samples,
            session,
        )
        return Recording(
            name=f"simulated-eeg-sub-{self.settings.subject:02d}-ses-{session:02d}",
            rate_hz=rate_hz,
            channels=self.channels,
            n_samples=n_samples,
            markers=Markers(onsets, list(stimulus_ids)),
            reader=blocks.read,
            simulated=True,
            subject=f"{self.settings.subject:02d}",
            session=f"{session:02d}",
        )

    def _patterns_for(self, features: Array) -> Array:
        """Latent features (n, n_latent) to maps (n, n_waves, n_channels), volts."""
        maps: Array = np.tensordot(features, self._patterns, axes=1)
        return maps

    def _spread(self, population: Array) -> float:
        """Give the SD over images of the response, root mean square over channels and 60-500 ms."""
        maps = self._patterns_for(self._map(population[:1000]))
        maps -= maps.mean(axis=0)
        bank = wave_bank(IMAGE_WAVES, self._time_s[(self._time_s >= 0.06) & (self._time_s < 0.5)])
        power = np.einsum("nwc,wv,nvc->c", maps, bank.T @ bank / len(bank), maps, optimize=True) / len(maps)
        return float(np.sqrt(power.mean()))

    def _course(self, maps: Array, latency_s: float, gain: float) -> Array:
        time_s = self._time_s - latency_s
        course: Array = wave_bank(self._evoked_waves, time_s) @ self._evoked_maps
        course += wave_bank(IMAGE_WAVES, time_s) @ maps
        course *= gain
        return course


class _SessionBlocks:
    """Makes the blocks of one session."""

    def __init__(
        self, subject: SimulatedSubject, maps: Array, onsets: NDArray[np.int64], n_samples: int, session: int
    ) -> None:
        settings, head = subject.settings, subject._head
        seed = (settings.seed, settings.subject, session)
        self._subject, self._maps, self._onsets = subject, maps, onsets
        trials = np.random.default_rng((_STREAM, _TRIALS, *seed)).normal(size=(2, len(onsets)))
        # Limited to 2.5 SD, so that no response starts before its image.
        self._latency_s = settings.latency_jitter_s * np.clip(trials[0], -2.5, 2.5)
        self._gain = np.exp(settings.gain_sd * trials[1] - 0.5 * settings.gain_sd**2)
        self._noise = BlockNoise(subject._noise_parts, len(head.channels), (_STREAM, _NOISE, *seed))
        self._background: Background | None = None
        self._events: list[Event] = []
        if settings.artefacts:
            scale, duration_s = settings.artefacts, n_samples / settings.rate_hz
            rng = np.random.default_rng((_STREAM, _DISTURBANCES, *seed))
            self._background = Background(
                len(head.channels),
                rng,
                scale * settings.offset_v,
                scale * settings.drift_v,
                scale * settings.line_v,
                settings.line_hz,
            )
            place = (head, rng, settings.rate_hz, duration_s)
            self._events = [
                *blinks(*place, scale * settings.blink_v, settings.blinks_per_min),
                *heartbeats(*place, scale * settings.heartbeat_v),
                *muscle_bursts(*place, scale * settings.muscle_v, settings.muscle_per_min),
                *electrode_pops(*place, scale * settings.pop_v, settings.pops_per_min),
            ]
        self._block = lru_cache(maxsize=3)(self._make)

    def read(self, start: int, stop: int) -> Array:
        """Make samples ``start`` to ``stop``, (n, n_channels) float64 that float32 holds exactly."""
        parts = []
        for index in range(start // BLOCK, (stop - 1) // BLOCK + 1):
            first = index * BLOCK
            parts.append(self._block(index)[max(start - first, 0) : stop - first])
        return np.concatenate(parts, dtype=np.float64)

    def _make(self, index: int) -> NDArray[np.float32]:
        settings = self._subject.settings
        first, stop = index * BLOCK, (index + 1) * BLOCK
        samples = (
            self._noise.block(index)
            if settings.noise
            else np.zeros((BLOCK, len(self._subject.channels)), np.float32)
        )
        if self._background is not None:
            samples += self._background.samples(np.arange(first, stop) / settings.rate_hz)
        for event in self._events:
            _add(samples, event.start - first, event.samples)
        length = len(self._subject._time_s)
        near = np.flatnonzero((self._onsets > first - length) & (self._onsets < stop))
        for trial in near:
            course = self._subject._course(self._maps[trial], self._latency_s[trial], self._gain[trial])
            _add(samples, int(self._onsets[trial]) - first, course)
        samples.flags.writeable = False
        return samples


def _add(samples: NDArray[np.float32], at: int, piece: NDArray[np.floating]) -> None:
    """Add a piece that starts at row ``at``, where the two overlap."""
    start, stop = max(at, 0), min(at + len(piece), len(samples))
    if start < stop:
        samples[start:stop] += piece[start - at : stop - at]


def _noise_components(head: EegHead, settings: EegSettings) -> list[Component]:
    """Brain noise from all over the cortex, alpha from its back, and sensor noise."""
    rng = np.random.default_rng((_STREAM, _ANATOMY))

    def scaled(mixing: Array, rms_v: float) -> Array:
        variance = np.mean(np.sum(mixing**2, axis=0))
        scaled_mixing: Array = mixing * (settings.noise * rms_v / np.sqrt(variance))
        return scaled_mixing

    outward = rng.normal(size=(240, 3))
    outward[:, 2] = np.abs(outward[:, 2] + 0.4) - 0.4  # cortex: few sources in the lowest part
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    places = head.centre_m + outward * (rng.uniform(0.6, 0.92, size=240) * head.brain_m)[:, None]
    moments = rng.normal(size=(240, 3))
    field = np.einsum("nd,ndc->nc", moments, head.lead_field(places))
    field = scaled(field, settings.brain_v)
    # In the basis that diagonalises the covariance of all 240, sensor noise needs no sources of its own.
    values, vectors = np.linalg.eigh(field.T @ field)

    back = ("O1", "O2", "Oz", "PO3", "PO4", "POz", "P1", "P2", "P3", "P4")
    alpha_places = np.array([head.under(name, 0.3) for name in back])
    alpha_field = head.lead_field(alpha_places)
    axes = np.array([head.axes(place) for place in alpha_places])
    strength = np.array([1.0, 0.5, 0.5]) * np.abs(rng.normal(1.0, 0.3, size=(len(back), 1)))
    alpha = np.einsum("na,nad,ndc->nc", strength, axes, alpha_field)

    frequency = frequencies(settings.rate_hz)
    slope = settings.brain_slope
    falling = unit_variance((0.3**slope + frequency**slope) ** -0.5)[:, None]
    white = unit_variance(np.ones_like(frequency))[:, None]
    peaked = unit_variance(np.exp(-0.25 * ((frequency - settings.alpha_hz) / 0.7) ** 2))[:, None]
    spread = np.sqrt(np.maximum(values, 0.0) * falling**2 + (settings.noise * settings.sensor_v * white) ** 2)
    return [Component(spread, vectors.T), Component(peaked, scaled(alpha, settings.alpha_v))]


def _evoked(head: EegHead, settings: EegSettings) -> tuple[tuple[Wave, ...], Array]:
    """Waves of the average response and their maps (n_waves, n_channels), volts."""
    places = np.array([head.under(name, depth) for name, depth, _ in _REGIONS])
    outward = np.array([head.axes(place)[0] for place in places])
    field = np.einsum("nd,ndc->nc", outward, head.lead_field(places))
    strength = np.array(
        [[height * (name in names) for name, _, _ in _REGIONS] for _, height, names in _EVOKED]
    )
    waves = tuple(wave for wave, _, _ in _EVOKED)
    maps = strength @ field
    largest = np.abs(wave_bank(waves, np.linspace(0, RESPONSE_S, 600)) @ maps).max()
    return waves, maps * (settings.evoked_v / largest)


def _image_patterns(head: EegHead, n_latent: int) -> Array:
    """How each latent feature shows: maps (n_latent, n_waves, n_channels), in arbitrary units.

    Each region holds three orthogonal dipoles; how strongly a feature drives a dipole during a wave is drawn
    once for all people, and fades with the distance in time between wave and region.
    """
    places = np.array([head.under(name, depth) for name, depth, _ in _REGIONS])
    centre_s = np.array([latency_s for _, _, latency_s in _REGIONS])
    peak_s = np.array([wave.peak_s for wave in IMAGE_WAVES])
    active = np.exp(-0.5 * ((peak_s - centre_s[:, None]) / _SPREAD_S) ** 2)
    rng = np.random.default_rng((_STREAM, _WIRING, n_latent))
    drive = rng.normal(size=(n_latent, len(IMAGE_WAVES), len(places), 3)) * active.T[:, :, None]
    patterns: Array = np.einsum("lwrd,rdc->lwc", drive, head.lead_field(places))
    return patterns
