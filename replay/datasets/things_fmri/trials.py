"""Trials of a subject, counted against what was published, and told where they are odd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replay.datasets.report import Count, Kind

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey
    from replay.datasets.things_fmri.about import Expected

IMAGE = r"[^/\\.][^/\\]*/[^/\\]+\.jpg"
"""Name of an image, as in the folder of images: concept and file."""


def trials_a_run(about: About, expected: Expected) -> tuple[int, int]:
    """Training and test trials of a run."""
    n_runs = about.n_sessions[0] * expected.n_runs
    return about.n_train // n_runs, about.n_test // n_runs


def count_trials(
    about: About, expected: Expected, images: pd.Series[str], is_test: pd.Series[bool], n_missing: int
) -> dict[str, Count]:
    """Count trials, images, concepts and repetitions.

    Parameters
    ----------
    about, expected
        What was published.
    images
        Image of each trial, ``concept/name.jpg``.
    is_test
        Which of them are test trials.
    n_missing
        Runs that were published missing.
    """
    n_train, n_test = trials_a_run(about, expected)
    train, test = images[~is_test], images[is_test]
    repetitions = test.value_counts()
    pairs = {
        "train trials": (len(train), about.n_train - n_missing * n_train),
        "train images": (train.nunique(), about.n_train - n_missing * n_train),
        "train concepts": (train.map(lambda image: image.partition("/")[0]).nunique(), about.n_concepts),
        "test trials": (len(test), about.n_test - n_missing * n_test),
        "test images": (len(repetitions), about.n_test_images),
        "test repetitions": (
            int(repetitions.min()) if len(repetitions) else 0,
            about.n_repetitions - bool(n_missing),  # an image is shown once a session
        ),
    }
    return {name: Count(found=found, expected=due) for name, (found, due) in pairs.items()}


def tell_odd_images(survey: Survey, path: Path, images: pd.Series[str]) -> pd.Series[bool]:
    """Which of a table's images are named as they must be; the others are told."""
    is_image = images.str.fullmatch(IMAGE)
    survey.tell_cells(path, images, ~is_image, "no CONCEPT/IMAGE.jpg")
    return is_image


def tell_both(survey: Survey, path: Path, images: pd.Series[str], is_test: pd.Series[bool]) -> None:
    """Tell images that are both trained on and tested."""
    if both := set(images[~is_test]) & set(images[is_test]):
        survey.tell(path, Kind.ODD, f"images both trained on and tested: {len(both):,}")
