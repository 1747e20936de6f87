from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.contracts import Fate
from rtdecode.errors import UserError
from rtdecode.stimuli import Mapping, StimulusMapper, StimulusTable

IDS = ["007", "3626115.019498", "NA", "1e5", "true", ""]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def table(rows: dict[str, list[str]], key) -> StimulusTable:
    return StimulusTable(pd.DataFrame(rows), key, Path("table.csv"))


def test_identifiers_stay_text_in_every_format(tmp_path: Path) -> None:
    rows = pd.DataFrame({"stimulus_id": IDS[:5], "label": list("abcde"), "concept_id": IDS[1:]})
    rows.to_csv(tmp_path / "t.csv", index=False)
    rows.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    rows.to_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.tsv", "t.parquet"):
        loaded = StimulusTable.load(tmp_path / name, "label")
        assert list(loaded.rows["stimulus_id"]) == IDS[:5]
        assert list(loaded.rows["concept_id"]) == IDS[1:]
        assert loaded.lookup("b") == "3626115.019498"
        assert loaded.lookup("zzz") is None


def test_numbers_of_a_parquet_file_become_plain_text(tmp_path: Path) -> None:
    rows = pd.DataFrame({"stimulus_id": ["a", "b"], "code": [1, 2], "repetition": [3.0, float("nan")]})
    rows.to_parquet(tmp_path / "t.parquet")
    loaded = StimulusTable.load(tmp_path / "t.parquet", "code")
    assert list(loaded.rows["code"]) == ["1", "2"]
    assert list(loaded.rows["repetition"]) == ["3", ""]


def test_a_byte_order_mark_and_white_space_do_no_harm(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "\ufeffstimulus_id, code\n a , 5\n")
    assert StimulusTable.load(path, "code").lookup("5") == "a"


def test_codes_are_compared_as_numbers_and_labels_as_text() -> None:
    by_code = table({"stimulus_id": ["a", "b"], "code": ["007", "S  1"]}, "code")
    assert [by_code.lookup(text) for text in ("7", "007", " 7 ", "S  1", "S 1")] == ["a", "a", "a", "b", None]
    by_label = table({"stimulus_id": ["a"], "label": ["007"]}, "label")
    assert [by_label.lookup(text) for text in ("007", " 007", "7")] == ["a", "a", None]


@pytest.mark.parametrize(
    ("name", "text", "key", "message"),
    [
        (
            "t.csv",
            "stimulus_id,label\na,x\n",
            "code",
            r"has no column 'code', which key = 'code' needs; it has",
        ),
        ("t.csv", "stimulus_id,label\na,x\n", "order", "has no column 'code'"),
        ("t.csv", "id,code\na,1\n", "code", r"has no column 'stimulus_id'.*it has 'id', 'code'"),
        ("t.csv", "stimulus_id,code\n", "code", "has no rows"),
        ("t.csv", "", "code", "cannot be read as a table: No columns"),
        ("t.csv", "stimulus_id,code\na,1\nb,\n", "code", "row 2 has no code; fill it in"),
        ("t.csv", "stimulus_id,code\n,1\n", "order", "row 1 has no stimulus_id"),
        (
            "t.csv",
            "stimulus_id,code\na,1\nb,01\n",
            "code",
            r"code '1' names more than one row.*key = \"order\"",
        ),
        ("t.csv", "stimulus_id,label\na,x\nb,x\n", "label", "label 'x' names more than one row"),
        (
            "t.csv",
            "stimulus_id,code\na,1,2,3\nb,1\nc,1,2,3,4,5\n",
            "code",
            r"cannot be read|names more than one",
        ),
        ("t.csv", "\x00\x01\x02", "code", r"cannot be read|has no rows|has no column"),
        ("t.parquet", "no parquet", "code", "cannot be read as a table"),
        ("t.xlsx", "x", "code", r"is no stimulus table; give a .csv, .tsv or .parquet"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path: Path, name, text, key, message) -> None:
    with pytest.raises(UserError, match=message) as caught:
        StimulusTable.load(write(tmp_path / name, text), key)
    assert "\n" not in str(caught.value)


def test_a_missing_table_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no stimulus table"):
        StimulusTable.load(tmp_path / "nowhere.csv", "code")


def test_a_table_that_is_not_utf8_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("stimulus_id,code\nStraße,1\n".encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read as a table"):
        StimulusTable.load(tmp_path / "t.csv", "code")


def test_images_are_found_relative_to_the_table(tmp_path: Path) -> None:
    for name in ("a[1].png", "b1.png", "b2.png"):
        (tmp_path / "images").mkdir(exist_ok=True)
        (tmp_path / "images" / name).touch()
    absolute = (tmp_path / "images" / "b*.png").as_posix()
    images = ["images/a[1].png", "images/b?.png", "none.png", "", absolute]
    text = "stimulus_id,label,image\n" + "".join(f"{n},{n},{image}\n" for n, image in enumerate(images))
    loaded = StimulusTable.load(write(tmp_path / "t.csv", text))
    names = [[path.name for path in loaded.images(row)] for row in range(5)]
    assert names == [["a[1].png"], ["b1.png", "b2.png"], [], [], ["b1.png", "b2.png"]]
    without = StimulusTable.load(write(tmp_path / "u.csv", "stimulus_id,label\na,a\n"))
    assert without.images(0) == ()


def test_by_code_a_marker_is_its_row_or_ignored() -> None:
    mapper = StimulusMapper(table({"stimulus_id": ["cat", "dog"], "code": ["1", "2"]}, "code"))
    assert mapper.map("2") == Mapping("dog", Fate.ACCEPTED)
    assert mapper.map("2") == Mapping("dog", Fate.ACCEPTED)
    assert mapper.map("99") == Mapping(None, Fate.IGNORED, "no row of table.csv has code '99'")
    report = mapper.report()
    assert (report.accepted, report.mapped, report.unknown, report.ignored) == (2, 2, 0, 1)
    assert (report.in_step, report.next_row) == (True, None)


CODES = [str((37 * n) % 256) for n in range(100)]


def ordered() -> StimulusMapper:
    return StimulusMapper(table({"stimulus_id": [f"id{n}" for n in range(100)], "code": CODES}, "order"))


def test_by_order_a_missed_trigger_is_noticed_reported_and_recovered_from() -> None:
    mapper = ordered()
    mapped = [mapper.map(code) for code in CODES[:10] + CODES[11:20]]
    assert [mapping.stimulus_id for mapping in mapped] == [
        *[f"id{n}" for n in range(10)],
        None,
        None,
        *[f"id{n}" for n in range(13, 20)],
    ]
    assert {mapping.fate for mapping in mapped} == {Fate.ACCEPTED}
    assert mapped[10].reason == "stimulus unknown: trigger 11 has code '151' but row 11 has code '114'"
    assert mapped[11].reason == "stimulus unknown: out of step with the table"
    assert mapped[12].reason == "in step again at row 14, +1 from counting on"
    report = mapper.report()
    assert (report.accepted, report.mapped, report.unknown) == (19, 17, 2)
    assert (report.mismatches, report.resynchronised, report.in_step, report.next_row) == (1, 1, True, 20)
    (mismatch,) = report.last_mismatches
    assert (mismatch.trigger, mismatch.code, mismatch.row, mismatch.due) == (10, "151", 10, "114")


def test_by_order_codes_that_no_row_has_do_not_count() -> None:
    mapper = ordered()
    mapped = [mapper.map(code) for code in (CODES[0], "response", "999", CODES[1])]
    assert [mapping.stimulus_id for mapping in mapped] == ["id0", None, None, "id1"]
    assert [mapping.fate for mapping in mapped] == [Fate.ACCEPTED, Fate.IGNORED, Fate.IGNORED, Fate.ACCEPTED]


def test_by_order_triggers_beyond_the_table_are_reported() -> None:
    mapper = ordered()
    for code in CODES:
        mapper.map(code)
    assert mapper.map("0").reason == "stimulus unknown: trigger 101 has code '0' but the table has ended"
    mismatch = mapper.report().last_mismatches[-1]
    assert (mismatch.row, mismatch.due) == (None, None)


@given(st.lists(st.sampled_from([*CODES, "no code", "999"]), max_size=300))
def test_whatever_comes_the_counts_reconcile_and_memory_is_bounded(labels: list[str]) -> None:
    mapper = ordered()
    fates = Counter(mapper.map(label).fate for label in labels)
    report = mapper.report()
    assert fates == {
        fate: n for fate, n in ((Fate.ACCEPTED, report.accepted), (Fate.IGNORED, report.ignored)) if n
    }
    assert report.accepted + report.ignored == len(labels)
    assert report.mapped + report.unknown == report.accepted
    assert report.mismatches - report.resynchronised == (0 if report.in_step else 1)
    assert len(report.last_mismatches) == min(report.mismatches, 256)


def test_codes_that_cannot_show_a_missed_trigger_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        StimulusMapper(table({"stimulus_id": list("abcd"), "code": ["1"] * 4}, "order"))
    assert "would go unnoticed at first in 100 % of cases" in caplog.text
    assert "step, once lost, is lost for good" in caplog.text
