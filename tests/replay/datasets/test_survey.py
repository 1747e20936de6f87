"""Whatever is in a table, it is read or told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replay.datasets.report import Kind
from replay.datasets.survey import Survey

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1\r2,3\n", "is no table: new-line character seen in unquoted field"),
        (f"a,b\n{'x' * 200_000},1\n", "is no table: field larger than field limit"),
        ("a,c\n1,2\n", "has no column b"),
        ("a,b,b\n1,2,3\n", "names a column twice"),
        ("a,b", "ends within its first line"),
    ],
    ids=["line ends", "long cell", "column", "twice", "first line"],
)
def test_a_table_that_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    survey, path = Survey(tmp_path, "get it again"), tmp_path / "some.csv"
    path.write_bytes(text.encode())
    assert survey.table(path, ["a", "b"]) is None
    (found,) = survey.findings
    assert found.kind in (Kind.ODD, Kind.TRUNCATED)
    assert found.text.startswith(told)


def test_no_bytes_raise(tmp_path: Path) -> None:
    path = tmp_path / "some.csv"

    @given(st.binary(max_size=40), st.text(alphabet='ab1,\t"\r\n', max_size=40))
    def read(content: bytes, text: str) -> None:
        for written in (content, text.encode(), b"a,b\n" + text.encode()):
            path.write_bytes(written)
            survey = Survey(tmp_path, "get it again")
            assert survey.table(path, ["a"]) is not None or survey.findings

    read()
