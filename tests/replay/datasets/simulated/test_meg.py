from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import butter, sosfilt, welch

from replay.datasets.simulated import MegSettings, SimulatedSubject
from replay.datasets.simulated.meg import meg_helmet
from rtdecode.contracts import ChannelType, Unit

POPULATION = np.random.default_rng(5).normal(1.0, 2.0, size=(400, 24))
NAMES = [channel.name for channel in meg_helmet().channels]


def sarvas(place_m: np.ndarray, moment: np.ndarray, at_m: np.ndarray) -> np.ndarray:
    """Field of a dipole in a conducting sphere around 0, tesla (Sarvas, 1987, Phys. Med. Biol. 32:11)."""
    a = at_m - place_m
    a_size, r = np.linalg.norm(a, axis=1), np.linalg.norm(at_m, axis=1)
    along = np.einsum("nd,nd->n", a, at_m)
    f = a_size * (r * a_size + r**2 - at_m @ place_m)
    slope = (a_size**2 / r + along / a_size + 2 * a_size + 2 * r)[:, None] * at_m - (
        a_size + 2 * r + along / a_size
    )[:, None] * place_m
    cross = np.cross(moment, place_m)
    field: np.ndarray = 1e-7 * (f[:, None] * cross - (at_m @ cross)[:, None] * slope) / f[:, None] ** 2
    return field


def test_channels_are_272_gradiometers_in_tesla_around_the_head() -> None:
    helmet = meg_helmet()
    assert len(helmet.channels) == len(set(NAMES)) == 272
    assert {(channel.type, channel.unit) for channel in helmet.channels} == {(ChannelType.MAG, Unit.TESLA)}
    from_centre = np.linalg.norm(helmet.positions_m - helmet.head.centre_m, axis=1)
    assert from_centre.min() > helmet.head.brain_m + 0.01
    assert from_centre.max() < 0.14
    _, y, z = helmet.positions_m.T
    by_name = dict(zip(NAMES, helmet.positions_m, strict=True))
    assert all((by_name[name][0] < 0) == (name[1] == "L") for name in NAMES if name[1] != "Z")
    assert NAMES[int(y.argmin())][2] == "O"
    assert NAMES[int(y.argmax())][2] == "F"
    assert NAMES[int(z.argmax())][2] == "C"
    spacing = np.linalg.norm(helmet.positions_m[:, None] - helmet.positions_m, axis=2)
    np.fill_diagonal(spacing, np.inf)
    assert spacing.min(axis=1).min() > 0.008
    assert spacing.min(axis=1).max() < 0.035


def test_lead_field_is_the_spheres_field_at_the_inner_coil_minus_that_5_cm_farther_out() -> None:
    helmet = meg_helmet()
    centre = helmet.head.centre_m
    place = helmet.head.under("O1", 0.25)
    field = helmet.lead_field(place[None])[0]
    inner = helmet.positions_m - centre
    half = np.array([0.099, 0.119, 0.128])
    outward = (inner - np.array([0.0, 0.007, -0.008])) / half**2
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    across = np.cross(outward, (0.3, -0.5, 0.8))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    other = np.cross(outward, across)
    # Four places whose mean is that over a disc of 18 mm for any field that bends no more than once.
    offsets = [0.0045 * (i * across + j * other) for i in (-1, 1) for j in (-1, 1)]
    for moment, found in zip(np.eye(3), field, strict=True):
        expected = sum(
            sign * np.einsum("nd,nd->n", sarvas(place - centre, moment, inner + out + offset), outward) / 4
            for sign, out in ((1, 0.0), (-1, 0.05 * outward))
            for offset in offsets
        )
        np.testing.assert_allclose(found, expected, atol=5e-3 * np.abs(expected).max())
    radial = helmet.head.axes(place)[0] @ field
    assert np.abs(radial).max() < 1e-6 * np.abs(field).max()


def test_evoked_response_is_that_of_visual_cortex() -> None:
    evoked = SimulatedSubject(MegSettings(), POPULATION).evoked
    assert np.abs(evoked).max() == pytest.approx(2.2e-13, rel=0.01)
    strength = evoked.std(axis=1)
    assert 110 <= strength[:160].argmax() <= 130  # M100 at 1200 Hz
    assert 185 <= strength.argmax() <= 210  # M170
    strongest = np.abs(evoked[120]).argsort()[-10:]
    assert {NAMES[k][2] for k in strongest} <= {"O", "T", "P"}
    left, right = (
        [k for k in np.abs(evoked[198]).argsort()[-40:] if NAMES[k][1] == side] for side in ("L", "R")
    )
    assert len(left) > 10 < len(right)
    assert np.abs(evoked[:60]).max() < 0.05 * np.abs(evoked).max()


def test_amplitudes_and_spectrum_are_those_of_meg() -> None:
    subject = SimulatedSubject(MegSettings(), POPULATION)
    recording = subject.session(["a"] * 12, POPULATION[:12])
    samples = recording.read(0, recording.n_samples)
    assert recording.rate_hz == 1200.0
    assert recording.simulated
    band = sosfilt(butter(2, (1.0, 40.0), "bandpass", fs=1200, output="sos"), samples - samples[0], axis=0)[
        6000:
    ]
    typical_t = np.median(np.abs(band), axis=0) / 0.6745
    assert np.all((typical_t > 2e-14) & (typical_t < 1e-12))
    frequency, power = welch(samples[:, NAMES.index("MZO02")], 1200, nperseg=4096)

    def at(hz: float, width_hz: float = 1.0) -> float:
        return float(power[np.abs(frequency - hz) <= width_hz].mean())

    floor = np.sqrt(np.median(power[(frequency > 200) & (frequency < 500)]))
    assert floor == pytest.approx(4e-15, rel=0.3)  # tesla in each square root of a hertz
    assert at(60.0, 0.5) > 10 * np.sqrt(at(55.0) * at(65.0))
    assert at(10.2) > 2 * np.sqrt(at(6.0) * at(16.0))
