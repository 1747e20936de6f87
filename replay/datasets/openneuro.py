"""Datasets on OpenNeuro: which one a folder holds, and which version of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replay.datasets.report import Kind
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from replay.datasets.dataset import About
    from replay.datasets.survey import Survey


def openneuro_version(survey: Survey, accession: str, about: About, sign: str) -> str:
    """Version of a copy (`` v1.0.5``); empty where it does not say.

    Parameters
    ----------
    survey
        Reads the copy.
    accession
        Such as ``ds004192``.
    about
        What was published.
    sign
        Pattern of files that show the dataset in a copy that does not name it.

    Raises
    ------
    UserError
        If the folder holds something else.
    """
    root = survey.root
    if (root / accession).is_dir():
        raise UserError(f"{root} is the folder above the dataset: name {root / accession}")
    doi = str((survey.json(root / "dataset_description.json") or {}).get("DatasetDOI", ""))
    if doi and accession not in doi:
        raise UserError(f"{root} is another dataset ({doi[:80]!r}); name the folder that holds {accession}")
    if not doi and not any(root.glob(sign)):
        raise UserError(
            f"{root} holds no {about.title}: neither does dataset_description.json name {accession}, nor is "
            f"there a {sign}; get it from {about.source}"
        )
    version = re.search(r"\.(v\d[\d.]*)$", doi)
    return f" {version[1]}" if version else ""


def tell_strange_subjects(survey: Survey, about: About, names: frozenset[str]) -> None:
    """Tell which folders of subjects are none of this dataset's."""
    known = {f"sub-{label}" for label in about.subjects}
    for name in sorted(names - known):
        if name.startswith("sub-"):
            survey.tell(survey.root / name, Kind.ODD, "is no subject of this dataset", "it is not read")
