"""What holds for every public dataset."""

from __future__ import annotations

import pytest

from replay.datasets.catalogue import DATASETS
from rtdecode.errors import UserError


@pytest.mark.parametrize("name", DATASETS)
def test_subjects_are_selected_however_they_are_written(name: str) -> None:
    dataset = DATASETS[name]
    labels = dataset.about.subjects
    assert dataset.select([]) == labels
    first = labels[0]
    for written in (first, f"sub-{first}", first.lstrip("0"), f"subj{first}"):
        assert dataset.select([written]) == (first,)
    assert dataset.select([labels[-1], first]) == (first, labels[-1])
    for written in ("99", "0", ""):
        with pytest.raises(UserError, match=f"has no subject {written}"):
            dataset.select([written])
