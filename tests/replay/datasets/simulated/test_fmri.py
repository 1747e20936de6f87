from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import welch

from replay.datasets.simulated import Fmri3tSettings, Fmri7tSettings, FmriSettings, SimulatedSubject
from replay.datasets.simulated.fmri import haemodynamic
from replay.datasets.simulated.volume import receptive_weights, tissues, visual_cortex
from rtdecode.contracts import ChannelType, Unit

POPULATION = np.random.default_rng(5).normal(1.0, 2.0, size=(400, 24))

each_scanner = pytest.mark.parametrize("scanner", [Fmri3tSettings, Fmri7tSettings])


@each_scanner
def test_channels_are_voxels_named_as_a_nifti_file_of_them_would_have_them(
    scanner: type[FmriSettings],
) -> None:
    subject = SimulatedSubject(scanner(), POPULATION)
    cortex = visual_cortex(subject.settings.voxel_mm)
    mask = np.zeros(cortex.grid, dtype=bool)
    mask[tuple(cortex.index.T)] = True
    assert [channel.name for channel in subject.channels] == [
        "-".join(map(str, index)) for index in np.argwhere(mask).tolist()
    ]
    assert {(one.type, one.unit, one.position_m) for one in subject.channels} == {
        (ChannelType.VOXEL, Unit.NONE, None)
    }
    assert 1000 < len(subject.channels) < 3000
    assert (cortex.places_mm[:, 1] < -40).all()  # the back of the brain, both hemispheres
    assert 0.3 < np.mean(cortex.places_mm[:, 0] > 0) < 0.7


def test_rates_are_one_volume_each_1_5_and_1_6_seconds() -> None:
    assert Fmri3tSettings().rate_hz == 1 / 1.5
    assert Fmri7tSettings().rate_hz == 1 / 1.6


def test_cortex_is_a_folded_ribbon_around_white_matter() -> None:
    middle = np.array([[30.0, 0.0, 10.0]])
    outside = np.array([[0.0, 0.0, 90.0]])
    grey, white, fluid = tissues(np.concatenate([middle, outside]))
    assert white[0] > 0.95
    assert max(grey[1], white[1], fluid[1]) < 0.01
    cortex = visual_cortex(2.0)
    assert (tissues(cortex.places_mm)[0] > 0.5).all()


def test_a_haemodynamic_response_peaks_after_5_s_and_undershoots() -> None:
    time_s = np.arange(0, 30, 0.1)
    for course, peak_s in zip(haemodynamic(time_s).T, (4.4, 5.4, 6.6), strict=True):
        assert time_s[course.argmax()] == pytest.approx(peak_s, abs=0.15)
        assert course.max() == pytest.approx(1.0, abs=0.02)
        assert course[time_s < 1].max() < 0.06
        assert -0.2 < course.min() < -0.05
        assert 10 < time_s[course.argmin()] < 22
        assert abs(course[-1]) < 0.06
    assert not haemodynamic(np.array([-3.0, -0.1])).any()


@each_scanner
def test_neighbouring_voxels_prefer_the_same_features_and_at_7_t_over_a_shorter_distance(
    scanner: type[FmriSettings],
) -> None:
    settings = scanner()
    places = visual_cortex(settings.voxel_mm).places_mm[::3]
    weights = receptive_weights(places, 48, settings.blur_mm)
    alike = np.corrcoef(weights.T)
    distance = np.linalg.norm(places[:, None] - places, axis=2)
    near, far = (alike[(distance > low) & (distance < high)].mean() for low, high in ((1.5, 2.5), (20, 40)))
    assert near > 0.7
    assert abs(far) < 0.1
    middle = alike[(distance > 4) & (distance < 6)].mean()
    assert (middle < 0.55) == (scanner is Fmri7tSettings)


@each_scanner
def test_a_run_looks_like_bold(scanner: type[FmriSettings]) -> None:
    subject = SimulatedSubject(scanner(), POPULATION)
    quiet = subject.session([], np.empty((0, 24)), lead_in_s=900.0)
    samples = quiet.read(0, quiet.n_samples)
    assert 700 < samples.mean() < 1300
    assert samples.min() > 200
    temporal_snr = np.median(samples.mean(axis=0) / samples.std(axis=0))
    assert 30 < temporal_snr < 100
    frequency, power = welch(samples - samples.mean(axis=0), quiet.rate_hz, nperseg=128, axis=0)
    power = power.mean(axis=1)
    assert power[frequency < 0.02].mean() > 3 * power[(frequency > 0.05) & (frequency < 0.2)].mean()
    assert 0.01 < np.abs(subject.evoked).max() / 1000 < 0.05  # one to five per cent


def test_motion_and_spikes_come_with_the_artefact_dial() -> None:
    def jumpiness(artefacts: float) -> float:
        settings = Fmri3tSettings(artefacts=artefacts, motions_per_min=2.0, motion=0.2)
        quiet = SimulatedSubject(settings, POPULATION).session([], np.empty((0, 24)), lead_in_s=600.0)
        samples = quiet.read(0, quiet.n_samples)
        return float(np.abs(np.diff(samples, axis=0)).mean(axis=1).max())

    assert jumpiness(1.0) > 1.5 * jumpiness(0.0)
