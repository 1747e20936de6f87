"""Simulated subjects: people who look at pictures in a device, and whose truth is known.

Simulators check the tools. They never confirm a study: the numbers they give follow from the dials.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from replay.datasets.simulated.device import PEOPLE, Use, one_thread
from replay.datasets.simulated.responses import ImageMap
from replay.datasets.simulated.session import Responses, SessionBlocks
from replay.recordings.recording import Markers, Recording
from rtdecode.signal.alignment import nearest_whole

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from replay.datasets.simulated.session import EmbeddingsOf
    from replay.datasets.simulated.settings import SubjectSettings

    Array = NDArray[np.float64]

_ON_GRID = 1e-6
"""An onset that misses its sample by less than this part of one stands on it."""


class SimulatedSubject:
    """One person in one device.

    Parameters
    ----------
    settings
        The dials; their type says which device.
    population : array of shape (n, dim)
        Embeddings of many images of the kind that will be shown; they define what a typical image is, and
        thereby the scale of responses.

    Attributes
    ----------
    device : Device
        What the device sees of the person.
    channels : tuple of Channel
        The device's.
    """

    def __init__(self, settings: SubjectSettings, population: NDArray[np.floating]) -> None:
        with one_thread():
            self._build(settings, np.asarray(population, dtype=np.float64))

    @property
    def evoked(self) -> Array:
        """Response to the average image where the map is linear, (n_times, n_channels) from onset.

        In the channels' unit; so are all responses.
        """
        evoked: Array = self.device.evoked_bank(self._time_s()) @ self._evoked_maps
        return evoked

    def responses(self, session: int = 1) -> Responses:
        """Give what this person's brain makes of images in a session.

        From one session to the next the strength of responses and the map from images to features change a
        little; session 1 is where they start.
        """
        settings, image_map, gain = self.settings, self._map, 1.0
        for number in range(2, session + 1):
            rng = np.random.default_rng((PEOPLE, Use.SESSION, settings.seed, settings.subject, number))
            gain *= float(np.exp(settings.session_gain_sd * rng.normal()))
            if settings.session_rotation_rad:
                with one_thread():
                    image_map = image_map.turned(settings.session_rotation_rad, rng)
        return Responses(self.device, image_map, self._evoked_maps, self._patterns, gain)

    def response(self, embedding: NDArray[np.floating], latency_s: float = 0.0, gain: float = 1.0) -> Array:
        """Give the response to one image in session 1, without noise.

        Parameters
        ----------
        embedding : array of shape (dim,)
        latency_s, gain
            This trial's deviation: later by so much, stronger by this factor.

        Returns
        -------
        array of shape (n_times, n_channels)
            Sample by sample from the onset.
        """
        responses = self.responses()
        (maps,) = responses.maps(np.asarray(embedding, dtype=np.float64)[None])
        return responses.course(maps, self._time_s() - latency_s, gain)

    def session(
        self,
        stimulus_ids: Sequence[str],
        embeddings: NDArray[np.floating] | EmbeddingsOf,
        soa_s: float | None = None,
        session: int = 1,
        lead_in_s: float | None = None,
        lead_out_s: float = 2.0,
    ) -> Recording:
        """Record a session in which images follow each other at a fixed pace.

        Samples are made when they are read, a block at a time, the same ones for any order of reading; they
        are exact in float32. What is held in memory does not grow with the session, but for the markers and
        two numbers a trial. A marker stands at the sample nearest to its onset, ties to the earlier, and
        keeps what lies between the two; the response begins at the onset itself.

        Parameters
        ----------
        stimulus_ids
            What is shown, in order; these become the markers' labels.
        embeddings : array of shape (n_trials, dim), or a function
            The embedding of each. A function is asked, again and again, for those of a few trials: from their
            numbers (n,) to (n, dim).
        soa_s
            Seconds from onset to onset; by default the settings'.
        session
            Number of the session: its noise and artefacts, and how far the person has drifted.
        lead_in_s, lead_out_s
            Seconds before the first onset and after the last.

        Raises
        ------
        ValueError
            If identifiers and embeddings do not fit each other or this subject, ``soa_s`` is not positive, or
            there is no such session.
        """
        device, n_trials, dim = self.device, len(stimulus_ids), len(self._map.mean)
        soa_s = self.settings.soa_s if soa_s is None else soa_s
        lead_in_s = device.lead_in_s if lead_in_s is None else lead_in_s
        if soa_s <= 0:
            raise ValueError(f"soa_s is {soa_s}; onsets follow each other")
        if session < 1:
            raise ValueError(f"session is {session}; sessions count from 1")
        if not callable(embeddings):
            if embeddings.shape != (n_trials, dim):
                raise ValueError(
                    f"{n_trials} stimuli need embeddings of shape ({n_trials}, {dim}), not {embeddings.shape}"
                )
            embeddings = embeddings.__getitem__
        onsets = (lead_in_s + soa_s * np.arange(n_trials)) * device.rate_hz
        markers = np.array([nearest_whole(onset) for onset in onsets.tolist()], dtype=np.int64)
        late: Array = np.asarray(onsets - markers, dtype=np.float64)
        late[np.abs(late) < _ON_GRID] = 0.0
        last_s = lead_in_s + soa_s * max(n_trials - 1, 0)
        n_samples = round((last_s + max(lead_out_s, device.response_s)) * device.rate_hz)
        blocks = SessionBlocks(
            self.settings, self.responses(session), embeddings, markers, late, n_samples, session
        )
        subject = f"{self.settings.subject:02d}"
        return Recording(
            name=f"{device.name}-sub-{subject}-ses-{session:02d}",
            rate_hz=device.rate_hz,
            channels=device.channels,
            n_samples=n_samples,
            markers=Markers(markers, stimulus_ids, 1e6 * late / device.rate_hz if late.any() else None),
            reader=blocks.read,
            simulated=True,
            subject=subject,
            session=f"{session:02d}",
        )

    def _build(self, settings: SubjectSettings, typical: Array) -> None:
        self.settings = settings
        self._map = ImageMap(
            typical,
            settings.nonlinearity,
            settings.rotation_rad,
            np.random.default_rng((PEOPLE, Use.SUBJECT, settings.seed, settings.subject)),
        )
        self.device = settings.device(self._map.rotation.shape[0])
        self.channels = self.device.channels
        patterns = self.device.image_patterns
        scale = settings.snr * self.device.reference_sd / self._spread(typical)
        self._patterns = patterns * (settings.coupling * scale)
        self._evoked_maps = self.device.evoked_maps * settings.coupling

    def _time_s(self) -> Array:
        return np.arange(self.device.n_response) / self.device.rate_hz

    def _spread(self, population: Array) -> float:
        """Give the SD over images of the response, root mean square over channels and the stated time.

        Of patterns in arbitrary units, as the device has them.
        """
        maps = np.tensordot(self._map(population[:1000]), self.device.image_patterns, axes=1)
        maps -= maps.mean(axis=0)
        time_s = self._time_s()
        first_s, last_s = self.device.span_s
        bank = self.device.image_bank(time_s[(time_s >= first_s) & (time_s < last_s)])
        power = np.einsum("nwc,wv,nvc->c", maps, bank.T @ bank / len(bank), maps, optimize=True) / len(maps)
        return float(np.sqrt(power.mean()))
