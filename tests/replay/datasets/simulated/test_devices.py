"""What holds for a simulated subject in any device."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from replay.datasets.simulated import (
    EegSettings,
    Fmri3tSettings,
    Fmri7tSettings,
    MegSettings,
    SimulatedSubject,
)

if TYPE_CHECKING:
    from replay.datasets.simulated import SubjectSettings
    from replay.recordings.recording import Recording

DIM = 16
POPULATION = np.random.default_rng(8).normal(1.0, 2.0, size=(300, DIM))
DEVICES: tuple[type[SubjectSettings], ...] = (EegSettings, MegSettings, Fmri3tSettings, Fmri7tSettings)

each_device = pytest.mark.parametrize("device", DEVICES)


def record(dials: SubjectSettings, n_trials: int, soa_s: float) -> Recording:
    shown = np.arange(n_trials) % len(POPULATION)
    subject = SimulatedSubject(dials, POPULATION)
    return subject.session([f"i{k}" for k in shown], POPULATION[shown], soa_s=soa_s)


@pytest.fixture(scope="module", params=DEVICES, ids=lambda device: device.__name__)
def recorded(request: pytest.FixtureRequest) -> tuple[Recording, Recording, np.ndarray]:
    """A session of several blocks, a second copy of it, and the first one's samples."""
    dials = request.param()
    soa_s = len(SimulatedSubject(dials, POPULATION).device.blocks) / 30 / dials.rate_hz
    one, other = (record(dials, 70, soa_s) for _ in range(2))
    return one, other, one.read(0, one.n_samples)


@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_any_order_and_size_of_reading_gives_the_same_bytes(
    data: st.DataObject, recorded: tuple[Recording, Recording, np.ndarray]
) -> None:
    _, recording, samples = recorded
    place = st.integers(0, recording.n_samples)
    for _ in range(2):
        start, stop = sorted(data.draw(st.tuples(place, place)))
        np.testing.assert_array_equal(recording.read(start, stop), samples[start:stop])


@each_device
def test_threads_of_linear_algebra_leave_no_trace(device: type[SubjectSettings]) -> None:
    def some_bytes(n_threads: int) -> bytes:
        with threadpool_limits(n_threads, "blas"):
            recording = record(device(), 4, 10 / device().rate_hz)
            return recording.read(0, 50).tobytes()

    assert some_bytes(1) == some_bytes(2)


@each_device
def test_embeddings_may_be_given_by_a_function_that_is_asked_for_few_at_a_time(
    device: type[SubjectSettings],
) -> None:
    asked = []

    def embeddings(trials: np.ndarray) -> np.ndarray:
        asked.append(len(trials))
        return POPULATION[trials % len(POPULATION)]

    subject = SimulatedSubject(device(), POPULATION)
    names, shown = [f"i{k}" for k in range(2000)], np.arange(2000) % len(POPULATION)
    every = len(subject.device.blocks) // 40
    soa_s = every / subject.device.rate_hz
    lazy = subject.session(names, embeddings, soa_s=soa_s)
    eager = subject.session(names, POPULATION[shown], soa_s=soa_s)
    assert not asked
    start = every * 1000
    np.testing.assert_array_equal(lazy.read(start, start + 10), eager.read(start, start + 10))
    assert 0 < max(asked) < 100


@each_device
def test_a_function_that_gives_too_few_embeddings_is_refused(device: type[SubjectSettings]) -> None:
    session = SimulatedSubject(device(), POPULATION).session(["a", "b"], lambda _: POPULATION[:1])
    with pytest.raises(ValueError, match="embeddings of 2 trials"):
        session.read(0, session.n_samples)


def test_hours_of_meg_take_no_more_memory_than_a_minute() -> None:
    subject = SimulatedSubject(MegSettings(), POPULATION)
    subject.session(["a"], POPULATION[:1]).read(0, 1)

    def peak_bytes(n_trials: int) -> tuple[int, int]:
        tracemalloc.start()
        session = subject.session(["a"] * n_trials, lambda trials: POPULATION[trials % 300])
        middle = session.n_samples // 2
        session.read(middle, middle + 1200)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak, session.n_samples

    (short, _), (hours, n_samples) = peak_bytes(40), peak_bytes(9600)
    assert n_samples > 4 * 3600 * 1200 - 1200
    assert hours - short < 15e6  # the markers, two numbers a trial, and when artefacts come


@each_device
def test_sessions_drift_from_the_first_one_on(device: type[SubjectSettings]) -> None:
    subject = SimulatedSubject(device().model_copy(update={"session_rotation_rad": 0.2}), POPULATION)

    def image_part(session: int) -> np.ndarray:
        responses = subject.responses(session)
        (maps,) = responses.maps(POPULATION[:1])
        return maps.ravel() * responses.gain

    first, second, fifth = image_part(1), image_part(2), image_part(5)
    alike = [np.corrcoef(first, other)[0, 1] for other in (second, fifth)]
    assert 0.9 < alike[0] < 0.999
    assert 0.5 < alike[1] < alike[0]
    np.testing.assert_array_equal(second, image_part(2))
    assert subject.responses(2).gain != 1.0
    still = SimulatedSubject(device().linear_gaussian(), POPULATION).responses(5)
    np.testing.assert_array_equal(still.maps(POPULATION[:3]), subject_maps(device().linear_gaussian()))


def subject_maps(dials: SubjectSettings) -> np.ndarray:
    return SimulatedSubject(dials, POPULATION).responses().maps(POPULATION[:3])


@each_device
def test_subjects_differ_in_coupling_noise_and_map(device: type[SubjectSettings]) -> None:
    people = [device(subject=number) for number in range(1, 6)]
    assert people[0].coupling == people[0].noise_level == 1.0
    assert len({person.coupling for person in people}) == 5
    assert len({person.noise_level for person in people}) == 5
    assert all(0.4 < person.coupling < 2.5 for person in people)
    plain = {"subject_coupling_sd": 0.0, "rotation_rad": 0.0}
    one, other = (subject_maps(person.model_copy(update=plain)) for person in people[:2])
    np.testing.assert_allclose(one, other)
    one, other = (subject_maps(person) for person in people[:2])
    assert 0.1 < np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.95


@each_device
def test_a_response_begins_at_the_onset_and_its_marker_stands_at_the_nearest_sample(
    device: type[SubjectSettings],
) -> None:
    silent = device(noise=0.0).linear_gaussian()
    subject = SimulatedSubject(silent, POPULATION)
    rate_hz, length = subject.device.rate_hz, subject.device.n_response
    session = subject.session(["a"], POPULATION[:1], lead_in_s=(100 + 0.4) / rate_hz)
    assert session.markers.sample.tolist() == [100]
    np.testing.assert_allclose(session.markers.residual_s, 0.4 / rate_hz)
    found = session.read(100, 100 + length) - subject.device.resting
    expected = subject.response(POPULATION[0], latency_s=0.4 / rate_hz)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max() + 1e-7 * abs(found).max())
    assert subject.session(["a"], POPULATION[:1], lead_in_s=100.5 / rate_hz).markers.sample.tolist() == [100]
