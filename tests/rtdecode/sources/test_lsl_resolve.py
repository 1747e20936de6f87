from __future__ import annotations

import math
import threading
import uuid

import pydantic
import pylsl
import pytest

from rtdecode.errors import UserError
from rtdecode.sources.lsl import StreamQuery, resolve


def test_the_one_stream_that_fits_is_found(make_info, source_id: str) -> None:
    outlet = pylsl.StreamOutlet(make_info(name="""it's "here\""""))
    found = resolve(StreamQuery(name="""it's "here\"""", type="EEG", source_id=source_id), 5.0)
    assert found is not None
    assert (found.name(), found.source_id()) == ("""it's "here\"""", source_id)
    del outlet


def test_a_stream_that_comes_later_is_waited_for(make_info, source_id: str) -> None:
    found: list[pylsl.StreamInfo | None] = []
    looking = threading.Thread(target=lambda: found.append(resolve(StreamQuery(source_id=source_id), 30.0)))
    looking.start()
    outlet = pylsl.StreamOutlet(make_info())
    looking.join()
    assert found[0] is not None
    del outlet


def test_when_nothing_fits_the_error_lists_what_was_seen(make_info, source_id: str) -> None:
    outlet = pylsl.StreamOutlet(make_info(name="Other amplifier", stream_type="ExG"))
    with pytest.raises(UserError) as caught:
        resolve(StreamQuery(name="nobody", source_id=source_id), 0.5)
    text = str(caught.value)
    assert text.startswith(f"no LSL stream fits name 'nobody', source_id '{source_id}' within 0.5 s; seen: ")
    assert f"'Other amplifier' (type 'ExG', 2 channels, 250 Hz, source_id '{source_id}', host " in text
    assert "\n" not in text
    del outlet


def test_when_several_fit_the_error_lists_them(make_info, source_id: str) -> None:
    outlets = [pylsl.StreamOutlet(make_info(name=name)) for name in ("left", "right")]
    with pytest.raises(
        UserError, match=r"^2 LSL streams fit source_id .*: 'left' \(.*; 'right' \(.*; say more"
    ):
        resolve(StreamQuery(source_id=source_id), 5.0)
    found = resolve(StreamQuery(source_id=source_id, name="right"), 5.0)
    assert found is not None
    assert found.name() == "right"
    del outlets


def test_forty_streams_at_once_are_all_found(make_info, source_id: str) -> None:
    """liblsl's own port range ends at 32 streams a machine, whatever their sessions."""
    outlets = [pylsl.StreamOutlet(make_info(name=f"stream {n}")) for n in range(40)]
    for n in (0, 20, 39):
        assert resolve(StreamQuery(source_id=source_id, name=f"stream {n}"), 30.0) is not None
    del outlets


def test_a_search_without_end_ends_when_asked_to_stop() -> None:
    stop = threading.Event()
    found: list[pylsl.StreamInfo | None] = []
    query = StreamQuery(source_id=uuid.uuid4().hex)
    looking = threading.Thread(target=lambda: found.append(resolve(query, math.inf, stop)))
    looking.start()
    stop.set()
    looking.join()
    assert found == [None]


def test_a_query_says_something_that_can_be_asked() -> None:
    with pytest.raises(pydantic.ValidationError, match="at least one of name, type and source_id"):
        StreamQuery()
    with pytest.raises(pydantic.ValidationError):
        StreamQuery.model_validate({"name": "a", "host": "b"})


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("Amp", StreamQuery(name="Amp")),
        ("Amp, the second", StreamQuery(name="Amp, the second")),
        ("name=Amp,type=EEG", StreamQuery(name="Amp", type="EEG")),
        ("source_id=a,b=c", None),
        ("type=", None),
        ("name=a,name=b", None),
    ],
)
def test_queries_are_read_from_a_command_line(text: str, query: StreamQuery | None) -> None:
    if query is None:
        with pytest.raises(UserError, match="names no stream"):
            StreamQuery.parse(text)
    else:
        assert StreamQuery.parse(text) == query
