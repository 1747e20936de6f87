from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfilt, welch
from scipy.stats import kurtosis

from replay.datasets.simulated import EegSettings, SimulatedSubject
from replay.datasets.simulated.eeg import EEG_NAMES, eeg_cap
from rtdecode.contracts import ChannelType, Unit

if TYPE_CHECKING:
    from replay.recordings.recording import Recording

BLOCK = 28672
DIM = 24
POPULATION = np.random.default_rng(5).normal(1.0, 2.0, size=(400, DIM))
"""Any embeddings do: the simulator knows nothing of the encoder."""

LINEAR = EegSettings().linear_gaussian()
SILENT = LINEAR.model_copy(update={"noise": 0.0})


@pytest.fixture(scope="module")
def subject() -> SimulatedSubject:
    return SimulatedSubject(EegSettings(), POPULATION)


@pytest.fixture(scope="module")
def recording(subject: SimulatedSubject) -> Recording:
    """About two minutes with every dial as it comes: several blocks."""
    shown = np.random.default_rng(0).integers(len(POPULATION), size=300)
    return subject.session([f"image-{k}" for k in shown], POPULATION[shown], soa_s=0.35, session=1)


@pytest.fixture(scope="module")
def samples(recording: Recording) -> np.ndarray:
    return recording.read(0, recording.n_samples)


def channel(name: str) -> int:
    return EEG_NAMES.index(name)


def test_recording_is_simulated_eeg_of_63_channels_in_volts(recording: Recording) -> None:
    assert recording.simulated
    assert recording.rate_hz == 1000.0
    assert len(recording.channels) == 63
    assert "Cz" not in recording.channel_names  # the reference
    for each in recording.channels:
        assert each.type is ChannelType.EEG
        assert each.unit is Unit.VOLT
        assert each.position_m is not None
        assert 0.05 < np.linalg.norm(each.position_m) < 0.15
    assert (recording.subject, recording.session) == ("01", "01")


def test_markers_lie_at_the_onsets_and_name_the_stimuli(subject: SimulatedSubject) -> None:
    session = subject.session(["a", "b", "c"], POPULATION[:3], soa_s=0.4, lead_in_s=2.0, lead_out_s=1.5)
    np.testing.assert_array_equal(session.markers.sample, [2000, 2400, 2800])
    assert list(session.markers.label) == ["a", "b", "c"]
    assert session.n_samples == 2800 + 1500


def test_one_seed_gives_the_same_bytes_and_other_seeds_do_not(
    recording: Recording, samples: np.ndarray
) -> None:
    shown = [int(label.split("-")[1]) for label in recording.markers.label]

    def again(dials: EegSettings, session: int) -> np.ndarray:
        person = SimulatedSubject(dials, POPULATION)
        return person.session(recording.markers.label, POPULATION[shown], 0.35, session).read(0, 3000)

    assert again(EegSettings(), 1).tobytes() == samples[:3000].tobytes()
    for dials, session in ((EegSettings(), 2), (EegSettings(subject=2), 1), (EegSettings(seed=1), 1)):
        assert not np.allclose(again(dials, session), samples[:3000], atol=1e-7)


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_any_order_and_size_of_reading_gives_the_same_bytes(
    data: st.DataObject, recording: Recording, samples: np.ndarray
) -> None:
    near_border = st.integers(BLOCK - 50, BLOCK + 50)
    anywhere = st.integers(0, recording.n_samples)
    start, stop = sorted(
        data.draw(st.tuples(st.one_of(near_border, anywhere), st.one_of(near_border, anywhere)))
    )
    np.testing.assert_array_equal(recording.read(start, stop), samples[start:stop])


def test_samples_are_exact_in_float32(samples: np.ndarray) -> None:
    assert samples.dtype == np.float64
    np.testing.assert_array_equal(samples, samples.astype(np.float32))


def test_amplitudes_are_those_of_scalp_eeg(samples: np.ndarray) -> None:
    band = sosfilt(butter(2, (1.0, 40.0), "bandpass", fs=1000, output="sos"), samples - samples[0], axis=0)[
        5000:
    ]
    typical_v = np.median(np.abs(band), axis=0) / 0.6745
    assert np.all((typical_v > 2e-6) & (typical_v < 30e-6))
    offset_v = np.abs(samples.mean(axis=0))
    assert 1e-4 < np.median(offset_v) < 1e-2


def test_spectrum_falls_and_has_alpha_and_line_peaks(samples: np.ndarray) -> None:
    frequency, power = welch(samples[:, channel("Oz")], 1000, nperseg=4096)

    def at(hz: float, width_hz: float = 1.0) -> float:
        return float(power[np.abs(frequency - hz) <= width_hz].mean())

    assert at(10.2) > 4 * np.sqrt(at(6.0) * at(16.0))
    assert at(50.0, 0.4) > 10 * np.sqrt(at(45.0) * at(55.0))
    assert at(2.0) > 3 * at(6.0) > 9 * at(30.0)
    front = welch(samples[:, channel("C5")], 1000, nperseg=4096)[1]
    assert at(10.2) > 2 * front[np.abs(frequency - 10.2) <= 1].mean()  # alpha is posterior


def test_blinks_are_frontal(samples: np.ndarray) -> None:
    band = sosfilt(butter(2, (1.0, 15.0), "bandpass", fs=1000, output="sos"), samples - samples[0], axis=0)[
        5000:
    ]
    peak_v = np.abs(band).max(axis=0)
    assert peak_v[channel("Fp1")] > 60e-6
    assert peak_v[channel("Fp1")] > 2 * peak_v[channel("Pz")]


def test_evoked_response_has_p1_and_n1_over_the_back_of_the_head(subject: SimulatedSubject) -> None:
    evoked = subject.evoked
    for name in ("PO7", "PO8"):
        p1, n1 = evoked[80:130, channel(name)], evoked[130:210, channel(name)]
        assert p1.max() > 2e-6
        assert 95 <= 80 + p1.argmax() <= 115
        assert n1.min() < -3e-6
        assert 155 <= 130 + n1.argmin() <= 180
    strongest = np.abs(evoked).max(axis=0).argsort()[-6:]
    assert {EEG_NAMES[k] for k in strongest} <= {
        "PO7",
        "PO8",
        "P7",
        "P8",
        "O1",
        "O2",
        "TP9",
        "TP10",
        "Oz",
        "P5",
        "P6",
    }
    assert np.abs(evoked[:50]).max() < 0.05 * np.abs(evoked).max()


def test_signal_to_noise_dial_is_what_it_says() -> None:
    dials = SILENT.model_copy(update={"snr": 0.5})
    person = SimulatedSubject(dials, POPULATION)
    responses = np.array([person.response(row) for row in POPULATION])[:, 60:500]
    spread_v = np.sqrt(responses.var(axis=0).mean())
    assert spread_v == pytest.approx(0.5 * np.hypot(dials.brain_v, dials.alpha_v), rel=0.01)


def test_with_all_dials_at_zero_responses_superpose() -> None:
    person = SimulatedSubject(SILENT, POPULATION)
    mean = POPULATION.mean(axis=0)
    one, other = POPULATION[0], POPULATION[1]
    np.testing.assert_allclose(
        person.response(one) + person.response(other) - person.response(mean),
        person.response(one + other - mean),
        atol=1e-15,
    )
    np.testing.assert_allclose(person.response(mean), person.evoked, atol=1e-15)


def test_nonlinearity_breaks_superposition_mildly() -> None:
    person = SimulatedSubject(SILENT.model_copy(update={"nonlinearity": 0.3}), POPULATION)
    mean = POPULATION.mean(axis=0)
    one, other = POPULATION[0], POPULATION[1]
    together = person.response(one + other - mean) - person.evoked
    apart = person.response(one) + person.response(other) - person.response(mean) - person.evoked
    assert 0.02 < np.linalg.norm(together - apart) / np.linalg.norm(together) < 0.5


def test_without_noise_a_session_is_the_sum_of_its_responses() -> None:
    person = SimulatedSubject(SILENT, POPULATION)
    session = person.session(list("abcd"), POPULATION[:4], soa_s=0.1, lead_in_s=1.0)  # overlapping
    expected = np.zeros((session.n_samples, 63))
    for onset, embedding in zip(session.markers.sample, POPULATION, strict=False):
        expected[onset : onset + 600] += person.response(embedding)
    np.testing.assert_allclose(session.read(0, session.n_samples), expected, atol=1e-11)


def test_responses_continue_over_the_border_of_blocks() -> None:
    person = SimulatedSubject(SILENT, POPULATION)
    session = person.session(["a"], POPULATION[:1], lead_in_s=(BLOCK - 150) / 1000)
    onset = BLOCK - 150
    np.testing.assert_allclose(session.read(onset, onset + 600), person.response(POPULATION[0]), atol=1e-11)


def test_with_all_dials_at_zero_what_remains_is_gaussian_noise() -> None:
    person = SimulatedSubject(LINEAR.model_copy(update={"snr": 0.0, "evoked_v": 0.0}), POPULATION)
    quiet = person.session([], np.empty((0, DIM)), lead_in_s=110.0)
    noise = quiet.read(0, quiet.n_samples)
    expected_v2 = 9e-6**2 + 6e-6**2 + 1.5e-6**2
    assert noise.var(axis=0).mean() == pytest.approx(expected_v2, rel=0.15)
    whitened = np.diff(noise[::10], axis=0)
    assert np.abs(kurtosis(whitened, axis=0)).max() < 0.35
    # Nothing sticks out of a Gaussian either: blinks and pops would.
    assert np.abs(noise / noise.std(axis=0)).max() < 6.5


def test_latency_jitter_and_gain_change_trials_each_on_its_own() -> None:
    def trials(**dials: float) -> np.ndarray:
        person = SimulatedSubject(SILENT.model_copy(update=dials), POPULATION)
        session = person.session(["same"] * 40, np.tile(POPULATION[0], (40, 1)), soa_s=0.7)
        return np.array(
            [session.read(onset, onset + 600)[:, channel("PO8")] for onset in session.markers.sample]
        )

    same, stronger, later = trials(), trials(gain_sd=0.3), trials(latency_jitter_s=0.008)
    assert np.ptp(same, axis=0).max() < 1e-11
    shape = same[0] / np.linalg.norm(same[0])
    gains = stronger @ shape / np.linalg.norm(same[0])
    np.testing.assert_allclose(stronger, gains[:, None] * same[0], atol=1e-10)
    assert 0.15 < np.log(gains).std() < 0.45
    n1 = 130 + later[:, 130:210].argmin(axis=1)
    assert 4 < n1.std() < 12


def test_subjects_share_an_evoked_response_but_not_their_features() -> None:
    first, second = (SimulatedSubject(SILENT.model_copy(update={"subject": k}), POPULATION) for k in (1, 2))
    np.testing.assert_allclose(first.evoked, second.evoked / second.settings.coupling, atol=1e-18)

    def image_part(person: SimulatedSubject) -> np.ndarray:
        return np.array([person.response(row) - person.evoked for row in POPULATION[:40]]).ravel()

    assert 0.1 < np.corrcoef(image_part(first), image_part(second))[0, 1] < 0.95


def test_a_linear_decoder_finds_the_embedding_of_clear_trials() -> None:
    person = SimulatedSubject(EegSettings(snr=1.5, artefacts=0.0), POPULATION)
    session = person.session([str(k) for k in range(300)], POPULATION[:300], soa_s=0.5)
    x = session.read(0, session.n_samples)
    windows = np.array([x[onset : onset + 500 : 10].ravel() for onset in session.markers.sample])
    windows = (windows - windows.mean(axis=0)) / windows.std(axis=0)
    gram = windows @ windows.T
    train, test = slice(0, 240), slice(240, 300)
    targets = (POPULATION[:300] - POPULATION.mean(axis=0)) / POPULATION.std(axis=0)
    dual = np.linalg.solve(gram[train, train] + 100 * np.eye(240), targets[train])
    predicted = gram[test, train] @ dual
    scores = [np.corrcoef(predicted[:, k], targets[test, k])[0, 1] for k in range(DIM)]
    assert np.mean(scores) > 0.4


def test_what_does_not_fit_is_refused(subject: SimulatedSubject) -> None:
    with pytest.raises(ValueError, match=r"\(2, 24\)"):
        subject.session(["a", "b"], POPULATION[:3])
    with pytest.raises(ValueError, match="soa_s"):
        subject.session(["a"], POPULATION[:1], soa_s=0.0)
    with pytest.raises(ValueError, match="differ in every dimension"):
        SimulatedSubject(EegSettings(), np.ones((10, 4)))
    with pytest.raises(ValueError, match="extra"):
        EegSettings(snrr=1.0)  # type: ignore[call-arg]


def test_lead_field_is_strongest_above_the_dipole_and_zero_at_the_reference() -> None:
    cap = eeg_cap()
    place = cap.head.under("O1", 0.2)
    field = cap.head.axes(place)[0] @ cap.lead_field(place[None])[0]  # radial dipole
    assert EEG_NAMES[int(field.argmax())] == "O1"
    near_reference = np.abs(field[[channel(name) for name in ("C1", "C2", "FCz", "CPz")]])
    assert near_reference.max() < 0.1 * field.max()
