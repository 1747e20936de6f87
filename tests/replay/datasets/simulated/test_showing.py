from __future__ import annotations

import numpy as np
import pytest

from replay.datasets.simulated import DEVICES
from replay.datasets.simulated.showing import simulated_content, simulated_session, world_pictures
from replay.datasets.world import World
from rtdecode.errors import UserError


def test_each_session_shows_other_training_images_and_then_all_test_images() -> None:
    splits = World().table.set_index("stimulus_id")["split"]
    first, second = (simulated_session("simulated-3t", session=number) for number in (1, 2))
    trained = []
    for recording in (first, second):
        assert recording.simulated
        said = splits.loc[list(recording.markers.label)]
        assert said.tolist() == ["train"] * 360 + ["test"] * 120
        trained.append(set(recording.markers.label[:360]))
        assert len(set(recording.markers.label)) == 480
    assert not trained[0] & trained[1]
    assert first.markers.label[360:] != second.markers.label[360:]
    assert (second.subject, second.session, second.name) == ("01", "02", "simulated-3t-sub-01-ses-02")


def test_the_same_names_give_the_same_bytes() -> None:
    one, again = (simulated_session("SIMULATED-7T", subject=2, session=3, seed=1) for _ in range(2))
    np.testing.assert_array_equal(one.read(500, 540), again.read(500, 540))
    other = simulated_session("simulated-7t", subject=3, session=3, seed=1)
    assert not np.allclose(one.read(500, 540), other.read(500, 540))


def test_a_study_tables_what_was_shown_and_draws_it() -> None:
    content = simulated_content("simulated-eeg", (1, 2), n_sessions=2)
    assert [(one.subject, one.session) for one in content.recordings] == [
        ("01", "01"),
        ("01", "02"),
        ("02", "01"),
        ("02", "02"),
    ]
    stimuli = content.stimuli
    assert stimuli["split"].value_counts().to_dict() == {"train": 720, "test": 120}
    assert set(stimuli["simulated"]) == {"true"}
    assert set(stimuli["label"]) == {label for one in content.recordings for label in one.markers.label}
    with world_pictures() as picture:
        assert picture(stimuli["stimulus_id"][0]).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [(("simulated-9t",), "known are " + ", ".join(DEVICES)), (("simulated-eeg", 0), "count from 1")],
)
def test_what_does_not_exist_is_refused(arguments: tuple[str], match: str) -> None:
    with pytest.raises(UserError, match=match):
        simulated_session(*arguments)
