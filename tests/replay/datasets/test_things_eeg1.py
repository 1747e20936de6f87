"""A tiny THINGS-EEG1, whole and damaged, and the real tables."""

from __future__ import annotations

import os
import re
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import edit
from miniatures.things_eeg1 import N_CHANNELS, N_ROWS, N_STOPPED, NOTES

from replay.datasets.catalogue import find_dataset
from replay.datasets.dataset import Selection
from replay.datasets.report import Kind
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from miniatures.things_eeg1 import ThingsEeg1Copy


def test_a_whole_copy_is_as_published(tree: ThingsEeg1Copy) -> None:
    report = tree.validate("10")
    assert report.is_complete
    assert report.variant == "raw BIDS ds003825 v1.1.0 (event tables: 1, signals: 1)"
    (subject,) = report.subjects
    assert all(count.found == count.expected for count in subject.counts.values())
    assert (subject.counts["train trials"].found, subject.counts["test trials"].found) == (20, 6)
    assert (subject.onset_unit, subject.last_onset_s, subject.signal_s) == ("ms", 13.5, 14.5)
    assert not subject.excluded


def test_subjects_published_odd_are_handled_by_rule_and_told(tree: ThingsEeg1Copy) -> None:
    report = tree.validate("01", "06", "10", "49")
    assert report.is_complete
    assert all(count.fits for subject in report.subjects for count in subject.counts.values())
    of = {subject.subject: subject for subject in report.subjects}
    assert (of["01"].excluded, of["06"].excluded) == (NOTES["01"], NOTES["06"])
    assert of["49"].counts["channels"].found == 127
    assert of["06"].counts["train trials"].found == N_STOPPED
    told = [(item.path, item.text) for item in report.findings]
    for path, text in [
        ("sub-01/eeg", "no block of test images"),
        ("sub-01/eeg", NOTES["01"]),
        ("sub-06/eeg", "stopped after"),
        ("sub-49/eeg", "127 channels"),
        (".", "milliseconds"),
    ]:
        assert any(where == path and text in what for where, what in told)
    assert not any(where.startswith("sub-10") for where, _ in told)


@pytest.mark.parametrize(
    "ending", ["events.tsv", "eeg.vhdr", "eeg.eeg", "eeg.vmrk"], ids=lambda ending: ending.partition(".")[2]
)
@pytest.mark.parametrize(
    ("damage", "kind", "text"),
    [
        (lambda path: path.unlink(), Kind.MISSING, "is not there"),
        (lambda path: path.write_bytes(b""), Kind.TRUNCATED, "is empty"),
        (
            lambda path: path.write_bytes(b"/annex/objects/SHA256E-s8--00\n"),
            Kind.MISSING,
            "only git-annex's pointer is here",
        ),
        (lambda path: (path.unlink(), path.mkdir()), Kind.ODD, "is no file"),
    ],
    ids=["gone", "empty", "pointer", "folder"],
)
def test_each_file_that_is_not_there_is_named(
    tree: ThingsEeg1Copy, ending: str, damage: Callable[[Path], object], kind: Kind, text: str
) -> None:
    path = tree.file("10", ending)
    damage(path)
    assert (path.relative_to(tree.root).as_posix(), kind, text) in tree.problems()


def test_a_link_to_what_was_not_fetched_says_how_to_fetch_it(tree: ThingsEeg1Copy) -> None:
    path = tree.file("10", "eeg.eeg")
    path.unlink()
    try:
        path.symlink_to(tree.root / ".git" / "annex" / "content")
    except OSError:
        pytest.skip("no links on this system")
    (finding,) = (item for item in tree.validate().findings if item.kind is not Kind.KNOWN)
    assert finding.kind is Kind.MISSING
    assert f"datalad get {path.name}" in finding.advice


def test_signals_that_are_absent_are_told_once_a_subject(tree: ThingsEeg1Copy) -> None:
    for ending in ("eeg.vhdr", "eeg.eeg", "eeg.vmrk"):
        tree.file("10", ending).unlink()
    (problem,) = tree.problems()
    assert problem[:2] == ("sub-10/eeg/sub-10_task-rsvp_eeg.{vhdr,eeg,vmrk}", Kind.MISSING)
    report = tree.validate()
    assert report.variant.endswith("signals: none)")
    assert report.subjects[0].counts["channels"].found is None


def swap(old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda rows: [rows[0], *(row.replace(old, new) for row in rows[1:])]


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        (lambda rows: rows[:1], Kind.TRUNCATED, f"0 of {N_ROWS} rows"),
        (lambda rows: rows[:-1], Kind.TRUNCATED, f"{N_ROWS - 1} of {N_ROWS} rows"),
        (lambda rows: [*rows[:-1], rows[-1][:30]], Kind.TRUNCATED, "the last one in part"),
        (lambda rows: [*rows[:5], *rows[6:]], Kind.ODD, "eventnumber does not count on at row 5"),
        (lambda rows: [*rows[:8], *rows[7:]], Kind.ODD, "eventnumber does not count on at row 8"),
        (lambda rows: [*rows, rows[-1]], Kind.ODD, "7 test trials for 6"),
        (
            lambda rows: [rows[0], rows[1] + "\t", *rows[2:]],
            Kind.ODD,
            "not the 21 cells of the header in 1 of 26 rows",
        ),
        (lambda rows: [rows[0].replace("isteststim", "istest"), *rows[1:]], Kind.ODD, "no column isteststim"),
        (lambda rows: [rows[0].replace("rt", "onset"), *rows[1:]], Kind.ODD, "names a column twice"),
        (lambda rows: ["<!DOCTYPE html>", *rows], Kind.ODD, "has no column onset, stim, isteststim"),
        (swap("10100\t", "n/a\t"), Kind.ODD, "onset is no onset in 1 of 26 rows, the first 12 ('n/a')"),
        (swap("10100\t", "1e999\t"), Kind.ODD, "onset is no onset in 1 of 26 rows"),
        (swap("10100\t", "9900\t"), Kind.ODD, "onsets not later than the one before: 1"),
        (swap("stimuli\\concept1\\", "..\\..\\"), Kind.ODD, "stim is no stimuli"),
        (swap("concept0_02s", "concept0_01s"), Kind.ODD, "19 train images for 20"),
        (swap("concept0_13s", "concept0_01s"), Kind.ODD, "images both trained on and tested: 1"),
        (lambda rows: [row.replace("\t0\t1\t", "\t0\tx\t") for row in rows], Kind.ODD, "neither 0 nor 1"),
    ],
)
def test_a_table_that_is_not_as_published_is_told(
    tree: ThingsEeg1Copy, change: Callable[[list[str]], Sequence[str]], kind: Kind, text: str
) -> None:
    path = tree.file("10", "events.tsv")
    edit(path, change)
    told = [what for where, how, what in tree.problems() if where.endswith("events.tsv") and how is kind]
    assert any(text in what for what in told), told


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\xff\xfeo\0n\0", "is no UTF-8 text"), (b"onset\tstim\n\0", "zero bytes"), (b"onset", "first line")],
)
def test_a_table_that_is_no_text_is_told(tree: ThingsEeg1Copy, content: bytes, text: str) -> None:
    tree.file("10", "events.tsv").write_bytes(content)
    (problem,) = tree.problems()
    assert text in problem[2]


def test_onsets_that_somebody_made_seconds_are_read_as_seconds(tree: ThingsEeg1Copy) -> None:
    def seconds(rows: list[str]) -> list[str]:
        cut = [row.partition("\t") for row in rows[1:]]
        return [rows[0], *(f"{int(onset) / 1000:g}\t{rest}" for onset, _, rest in cut)]

    edit(tree.file("10", "events.tsv"), seconds)
    (subject,) = tree.validate().subjects
    assert (subject.onset_unit, subject.last_onset_s) == ("s", 13.5)
    assert [text for *_, text in tree.problems()] == ["onsets are seconds: somebody converted them"]


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (4 * N_CHANNELS * 13_500 + 5, "ends within sample 13,500"),
        (4 * N_CHANNELS * 13_400, "ends at 13.400 s, before 2 of 26 events"),
    ],
)
def test_a_signal_that_ends_too_early_is_truncated(tree: ThingsEeg1Copy, n_bytes: int, text: str) -> None:
    os.truncate(tree.file("10", "eeg.eeg"), n_bytes)
    assert ("sub-10/eeg/sub-10_task-rsvp_eeg.eeg", Kind.TRUNCATED, text) in tree.problems()


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("NumberOfChannels=63", "NumberOfChannels=64", "64 channels where 63 were published"),
        ("SamplingInterval=1000", "SamplingInterval=2000", "500 Hz where 1000 Hz were published"),
        ("SamplingInterval=1000", "SamplingInterval=0", "a sample each 0.0 µs"),
        ("BinaryFormat=IEEE_FLOAT_32", "BinaryFormat=UINT_7", "cannot be read: 'UINT_7'"),
        ("Brain Vision", "<html>", "does not begin as a BrainVision header"),
        ("DataFile=", "DataFile=../../../", "names files that cannot be beside it"),
        ("[Common Infos]", "[Common", "cannot be read"),
        ("NumberOfChannels=63", "NumberOfChannels=63\r\nDataPoints=19000", "14,500 of the 19,000 samples"),
    ],
)
def test_a_header_that_is_not_as_published_is_told(
    tree: ThingsEeg1Copy, old: str, new: str, text: str
) -> None:
    path = tree.file("10", "eeg.vhdr")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    assert any(text in what for *_, what in tree.problems())


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is no JSON object"),
        ('{"SamplingFrequency": 250}', "SamplingFrequency is '250' where 1000.0 was published"),
        (" " * (2 << 20), "too many for such a file"),
    ],
)
def test_a_sidecar_that_is_not_as_published_is_told(tree: ThingsEeg1Copy, content: str, text: str) -> None:
    tree.file("10", "eeg.json").write_text(content)
    (problem,) = tree.problems()
    assert problem[0] == "sub-10/eeg/sub-10_task-rsvp_eeg.json"
    assert text in problem[2]


def test_one_sidecar_for_all_subjects_suffices(tree: ThingsEeg1Copy) -> None:
    tree.file("10", "eeg.json").unlink()
    assert tree.validate().is_complete
    (tree.root / "task-rsvp_eeg.json").unlink()
    assert [kind for _, kind, _ in tree.problems()] == [Kind.MISSING, Kind.MISSING]


def test_what_lies_beside_the_dataset_is_told_and_not_read(tree: ThingsEeg1Copy) -> None:
    (tree.root / "sub-99").mkdir()
    shadow = tree.file("10", "events.tsv").with_name("._sub-10_task-rsvp_events.tsv")
    shadow.write_bytes(b"\x00\x05\x16\x07\xb0")
    report = tree.validate("10", "11")
    assert report.absent_subjects == ("11",)
    assert [item.path for item in report.findings if item.kind is Kind.ODD] == ["sub-99"]
    assert any(item.path.endswith(shadow.name) and item.kind is Kind.KNOWN for item in report.findings)


def test_whom_the_authors_exclude_is_read_from_the_copy(tree: ThingsEeg1Copy) -> None:
    path = tree.root / "participants.tsv"
    path.write_bytes(path.read_bytes().replace(b"sub-10\t20\tF\t0\tn/a", b"sub-10\t20\tF\t1\tasleep"))
    report = tree.validate("10")
    assert report.subjects[0].excluded == "asleep"
    assert "marks 01, 06, 10, 18, 23 exclude where it was 01, 06, 18, 23" in [
        item.text for item in report.findings
    ]
    path.unlink()
    assert [bool(subject.excluded) for subject in tree.validate("01", "10").subjects] == [True, False]


def test_a_folder_of_something_else_is_refused_and_says_which(tree: ThingsEeg1Copy, tmp_path: Path) -> None:
    for folder, text in [
        (tmp_path / "nowhere", "no such folder"),
        (tree.root / "sub-10", "holds no THINGS-EEG1"),
    ]:
        with pytest.raises(UserError, match=text):
            tree.dataset.validate(folder, ("10",), lambda: None)
    (tree.root / "dataset_description.json").write_text('{"DatasetDOI": "10.18112/openneuro.ds004212.v2"}')
    with pytest.raises(UserError, match=r"another dataset .*ds004212"):
        tree.validate()
    shutil.move(tree.root, tmp_path / "ds003825")
    with pytest.raises(UserError, match=re.escape(f"name {tmp_path / 'ds003825'}")):
        tree.dataset.validate(tmp_path, ("10",), lambda: None)


def test_whatever_is_cut_from_or_changed_in_a_file_ends_in_a_report_and_one_line(
    tree: ThingsEeg1Copy,
) -> None:
    """Looking never raises, opening only what users can mend; a copy that lost cells is never complete."""

    @given(st.sampled_from(["events.tsv", "eeg.vhdr", "eeg.json"]), st.data())
    def damage(ending: str, data: st.DataObject) -> None:
        path = tree.file("10", ending)
        whole = path.read_bytes()
        n = data.draw(st.integers(0, len(whole) - 1), label="place")
        change = data.draw(st.none() | st.binary(min_size=1, max_size=1), label="new byte, or the end")
        damaged = whole[:n] if change is None else whole[:n] + change + whole[n + 1 :]
        path.write_bytes(damaged)
        try:
            report = tree.validate()
            with suppress(UserError):
                tree.dataset.open(tree.root, Selection(subjects=("10",)))
        finally:
            path.write_bytes(whole)
        if ending == "events.tsv" and damaged.count(b"\t") < whole.count(b"\t"):
            assert not report.is_complete

    damage()


@pytest.mark.parametrize("n_rows", [0, 1])
def test_a_table_of_too_few_rows_to_tell_the_unit_is_not_opened(tree: ThingsEeg1Copy, n_rows: int) -> None:
    edit(tree.file("10", "events.tsv"), lambda rows: rows[: 1 + n_rows])
    with pytest.raises(UserError, match=r"events\.tsv: has too few onsets to tell their unit; get it again"):
        tree.dataset.open(tree.root, Selection(subjects=("10",)))


def test_the_real_tables_hold_what_was_published(data_dir: Path) -> None:
    dataset = find_dataset("THINGS-EEG1")
    report = dataset.validate(data_dir / "bids" / "ds003825", ("01", "10"), lambda: None)
    first, tenth = report.subjects
    assert report.variant == "raw BIDS ds003825 v1.1.0 (event tables: 2, signals: none)"
    for subject, n_test in ((first, 0), (tenth, 2400)):
        counts = subject.counts
        assert (counts["train trials"].found, counts["test trials"].found) == (22_248, n_test)
        assert (counts["train images"].found, counts["train concepts"].found) == (22_248, 1854)
        assert all(count.fits for count in counts.values())
        assert subject.onset_unit == "ms"
        assert subject.signal_s is None
    assert (first.last_onset_s, tenth.last_onset_s) == (3023.127, 3166.237)
    assert (first.excluded, tenth.excluded) == ("No data for final test-images part", "")
    problems = [(item.path, item.kind) for item in report.findings if item.kind is not Kind.KNOWN]
    assert problems == [
        (f"{name}/eeg/{name}_task-rsvp_eeg.{{vhdr,eeg,vmrk}}", Kind.MISSING) for name in ("sub-01", "sub-10")
    ]
    told = [item.text for item in report.findings if item.kind is Kind.KNOWN]
    assert any("no block of test images" in text for text in told)
    assert any("milliseconds" in text for text in told)
