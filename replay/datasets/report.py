"""What a look at one copy of a dataset found: counts against what was published, and a line a file."""

from __future__ import annotations

from enum import StrEnum

from rtdecode.contracts import Contract


class Kind(StrEnum):
    """What is the matter with a file; all but ``known`` are problems of this copy."""

    MISSING = "missing"
    TRUNCATED = "truncated"
    ODD = "odd"
    KNOWN = "known"
    """So published, and handled by rule."""


class Finding(Contract):
    """One line of a report.

    Parameters
    ----------
    path
        File or folder, relative to the dataset's root, with forward slashes.
    kind
        What is the matter with it.
    text
        What was found.
    advice
        What to do about it; of a known fault, what the reader does.
    """

    path: str
    kind: Kind
    text: str
    advice: str


class Count(Contract):
    """How many of something a copy holds; ``found`` is None where nothing tells."""

    found: int | None
    expected: int

    @property
    def fits(self) -> bool:
        """Whether nothing was counted that speaks against what is expected."""
        return self.found in (None, self.expected)


class SubjectReport(Contract):
    """What a copy holds of one subject.

    Parameters
    ----------
    subject
        Label, without ``sub-``.
    counts
        By what was counted.
    onset_unit
        Unit that the onsets of the event table are understood in; empty where that cannot be told.
    last_onset_s
        Onset of the last event, seconds of the recording; None where that cannot be told.
    signal_s
        Seconds of signal; None where it is absent or its header cannot be read, and of epochs and betas.
    responses
        Epochs or betas; None of continuous signals.
    excluded
        Why the dataset's authors advise against this subject; empty if they do not.
    """

    subject: str
    counts: dict[str, Count]
    onset_unit: str
    last_onset_s: float | None
    signal_s: float | None
    responses: Count | None = None
    excluded: str


class Report(Contract):
    """What a copy holds.

    Parameters
    ----------
    dataset
        Name of the dataset.
    root
        Where the copy is.
    variant
        Which of the forms in which the dataset exists this is.
    source
        Where the dataset comes from.
    subjects
        Those that were asked for and are there.
    absent_subjects
        Those that were asked for and are not.
    findings
        File by file.
    """

    dataset: str
    root: str
    variant: str
    source: str
    subjects: tuple[SubjectReport, ...]
    absent_subjects: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def is_complete(self) -> bool:
        """Whether all that was asked for is there and is as published."""
        return not self.absent_subjects and all(finding.kind is Kind.KNOWN for finding in self.findings)
