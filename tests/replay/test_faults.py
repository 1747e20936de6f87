"""Faults on demand: the same for one seed, whatever the chunks, and what is sent is known."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replay.faults import KINDS, Fault, burst_size, parse_fault
from replay.programme import Back, Chunk, Event, Gone, Mark, Programme
from replay.recordings import Markers, Recording, array_reader
from replay.schedule import Grid
from rtdecode.contracts import Channel, ChannelType, Unit
from rtdecode.errors import UserError

RATE_HZ = 100.0
N_SAMPLES = 600
ONSETS = np.arange(25, N_SAMPLES, 40)

TEXTS = [
    "drop:share=0.2",
    "gap:at=1,for=0.5",
    "stall:at=1,for=0.7",
    "jitter:sd_ms=3",
    "bursts:n=12,scatter_ms=4,at=1",
    "drift:ppm=-200",
    "clock-reset:at=2.5",
    "jump:at=2,for=1,by_s=-3",
    "equal-stamps",
    "rate:factor=1.1,at=1,for=2",
    "disconnect:at=1,for=0.5",
    "reorder:at=1,for=0.5",
    "missing:at=1,for=0.5,channel=B",
    "rename:at=1,channel=C,to=X",
    "unit:at=1,channel=B,unit=uV",
    "new-rate:at=1,hz=50",
    "nan:channel=B,at=1,for=0.1",
    "flat:value=1e-6",
    "railed:channel=C",
    "out-of-range:at=3",
    "marker-duplicate",
    "marker-missing:share=0.3",
    "marker-late:by_s=0.9",
    "marker-early:by_s=2.2",
    "marker-order",
    "marker-equal:share=0.4",
    "marker-disconnect:at=2,for=0.5",
]


def make_recording() -> Recording:
    samples = np.random.default_rng(0).normal(scale=1e-5, size=(N_SAMPLES, 3))
    samples[:, 0] = np.arange(N_SAMPLES)
    return Recording(
        name="r",
        rate_hz=RATE_HZ,
        channels=tuple(Channel(name=name, type=ChannelType.EEG, unit=Unit.VOLT) for name in "ABC"),
        n_samples=N_SAMPLES,
        markers=Markers(ONSETS, [f"m{i}" for i in range(len(ONSETS))]),
        reader=array_reader(samples),
    )


def make_programme(*texts: str, seed: int = 0, chunk_size: int = 10, loop: bool = False) -> Programme:
    recording = make_recording()
    faults = [parse_fault(text) for text in texts]
    grid = Grid.of(recording, burst_size(faults) or chunk_size, 1.0)
    return Programme(recording, grid, faults=faults, seed=seed, loop=loop)


def play(programme: Programme, until: float = math.inf) -> list[Event]:
    """All that is sent, in order."""
    loaded = (
        (batch, programme.loaded(batch, programme.recording.read(batch.start, batch.stop)))
        for batch in programme.batches()
    )
    events = []
    for event in programme.events(loaded):
        if event.due > until:
            break
        events.append(event)
    return events


def marks_of(events: list[Event]) -> list[Mark]:
    return [event for event in events if isinstance(event, Mark)]


def samples_of(events: list[Event]) -> np.ndarray:
    return np.concatenate([event.samples for event in events if isinstance(event, Chunk)])


def stamps_of(events: list[Event]) -> np.ndarray:
    return np.concatenate([event.stamps for event in events if isinstance(event, Chunk)])


def same(a: list[Event], b: list[Event]) -> bool:
    return len(a) == len(b) and all(
        type(x) is type(y)
        and x.due == y.due
        and (
            np.array_equal(x.samples, y.samples, equal_nan=True) and np.array_equal(x.stamps, y.stamps)
            if isinstance(x, Chunk) and isinstance(y, Chunk)
            else x == y
        )
        for x, y in zip(a, b, strict=True)
    )


def test_every_kind_is_tried_here() -> None:
    assert {parse_fault(text).kind for text in TEXTS} == set(KINDS)


@pytest.mark.parametrize("text", TEXTS)
def test_a_fault_is_its_text(text: str) -> None:
    fault = parse_fault(text)
    assert parse_fault(str(fault)) == fault


@settings(max_examples=25, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from([t for t in TEXTS if not isinstance(parse_fault(t), KINDS["disconnect"])]), max_size=4
    ),
    away=st.sampled_from([t for t in TEXTS if isinstance(parse_fault(t), KINDS["disconnect"])]),
    seed=st.integers(0, 2**40),
    chunk_size=st.integers(1, 50),
)
def test_one_seed_sends_the_same_and_in_order(
    texts: list[str], away: str, seed: int, chunk_size: int
) -> None:
    programme = make_programme(*texts, away, seed=seed, chunk_size=chunk_size)
    events = play(programme)
    assert same(events, play(programme))
    assert same(events, play(make_programme(*texts, away, seed=seed, chunk_size=chunk_size)))
    dues = [event.due for event in events]
    assert dues == sorted(dues)
    truth = programme.truth()
    np.testing.assert_array_equal(np.concatenate([[-1.0], stamps_of(events)])[1:], truth.stamp)
    assert [(mark.stamp, mark.label) for mark in marks_of(events)] == list(
        zip(truth.mark_stamp.tolist(), truth.mark_label, strict=True)
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), sizes=st.tuples(st.integers(1, 90), st.integers(1, 90)))
def test_which_samples_are_lost_and_how_stamps_jitter_does_not_depend_on_the_chunks(
    seed: int, sizes: tuple[int, int]
) -> None:
    first, second = (
        make_programme("drop:share=0.1", "jitter", seed=seed, chunk_size=size).truth() for size in sizes
    )
    np.testing.assert_array_equal(first.sample, second.sample)
    np.testing.assert_array_equal(first.stamp, second.stamp)


def test_seeds_and_two_faults_of_a_kind_differ() -> None:
    lost = [
        set(range(N_SAMPLES)) - set(make_programme(*texts, seed=seed).truth().sample.tolist())
        for texts, seed in ((["drop"], 0), (["drop"], 1), (["drop", "drop"], 0))
    ]
    assert lost[0] != lost[1]
    assert lost[0] < lost[2]


@settings(max_examples=20, deadline=None)
@given(texts=st.lists(st.sampled_from([t for t in TEXTS if "marker" not in t]), max_size=1))
def test_markers_lie_where_the_truth_says(texts: list[str]) -> None:
    truth = make_programme(*texts).truth()
    labels = [f"m{i}" for i in range(len(ONSETS))]
    assert [truth.mark_sample[truth.mark_label.index(label)] for label in labels] == ONSETS.tolist()


def test_nothing_wrong_is_the_recording_on_its_grid() -> None:
    events = play(make_programme())
    np.testing.assert_array_equal(samples_of(events)[:, 0], np.arange(N_SAMPLES))
    np.testing.assert_array_equal(stamps_of(events), np.arange(N_SAMPLES) / RATE_HZ)
    for mark, chunk in pairwise(events):
        if isinstance(mark, Mark) and isinstance(chunk, Chunk):
            assert chunk.due == mark.due
            assert mark.stamp in chunk.stamps


def test_a_gap_loses_its_samples_and_stamps_go_on() -> None:
    truth = make_programme("gap:at=1,for=0.5").truth()
    assert truth.sample.tolist() == [*range(100), *range(150, N_SAMPLES)]
    np.testing.assert_array_equal(truth.stamp, truth.sample / RATE_HZ)


def test_a_stall_loses_nothing_and_sends_all_at_once() -> None:
    events = play(make_programme("stall:at=1,for=0.7"))
    np.testing.assert_array_equal(samples_of(events)[:, 0], np.arange(N_SAMPLES))
    dues = np.array([event.due for event in events if isinstance(event, Chunk)])
    assert not ((dues > 1) & (dues < 1.7)).any()
    assert np.count_nonzero(dues == 1.7) == 7
    assert all(mark.due < 1.8 for mark in marks_of(events) if mark.stamp < 1.7)


def test_bursts_leave_together_and_scatter_together() -> None:
    events = play(make_programme("bursts:n=12,scatter_ms=5"))
    off = stamps_of(events) - np.arange(N_SAMPLES) / RATE_HZ
    bursts = off.reshape(-1, 12)
    np.testing.assert_allclose(bursts, bursts[:, :1].repeat(12, axis=1), atol=1e-12)
    assert 0.003 < bursts[:, 0].std() < 0.007
    assert all(len(event.samples) == 12 for event in events if isinstance(event, Chunk))


def test_a_drifting_or_restarted_clock_stamps_markers_too_and_a_jump_may_not() -> None:
    for text, follows in (("drift:ppm=1000", True), ("clock-reset:at=2", True), ("jump:at=2", False)):
        truth = make_programme(text).truth()
        stamps = dict(zip(truth.sample.tolist(), truth.stamp.tolist(), strict=True))
        off = [
            stamp - stamps[sample] for sample, stamp in zip(truth.mark_sample, truth.mark_stamp, strict=True)
        ]
        assert (np.abs(off).max() < 1e-9) == follows
    assert make_programme("drift:ppm=1000").truth().stamp[-1] == pytest.approx(5.99 * 1.001)


def test_another_rate_is_stamped_truly_and_sent_at_that_pace() -> None:
    events = play(make_programme("rate:factor=2"))
    np.testing.assert_allclose(stamps_of(events), np.arange(N_SAMPLES) / 200)
    assert [mark.stamp for mark in marks_of(events)] == pytest.approx(ONSETS / 200)
    assert events[-1].due == pytest.approx(599 / 200)


@pytest.mark.parametrize(
    ("text", "names", "units", "rate_hz"),
    [
        ("disconnect:at=1,for=0.5", "ABC", "VVV", 100),
        ("reorder:at=1,for=0.5", "CBA", "VVV", 100),
        ("missing:at=1,for=0.5,channel=B", "AC", "VV", 100),
        ("rename:at=1,for=0.5,channel=B,to=X", "AXC", "VVV", 100),
        ("unit:at=1,for=0.5,channel=B,unit=T", "ABC", "VTV", 100),
        ("new-rate:at=1,for=0.5,hz=50", "ABC", "VVV", 50),
    ],
)
def test_a_stream_goes_away_and_comes_back_changed(text: str, names: str, units: str, rate_hz: float) -> None:
    programme = make_programme(text, "disconnect:at=3,for=0.5")
    events = play(programme)
    changes = [event for event in events if isinstance(event, Gone | Back)]
    assert [(type(change), change.due) for change in changes] == [
        (Gone, 1),
        (Back, 1.5),
        (Gone, 3),
        (Back, 3.5),
    ]
    there = True
    recording = programme.recording.read(0, N_SAMPLES)
    for event in events:
        match event:
            case Gone() | Back():
                there = isinstance(event, Back)
            case Chunk():
                assert there
                changed = 1.5 <= event.due < 3
                assert "".join(c.name for c in event.layout.channels) == (names if changed else "ABC")
                assert "".join(c.unit.value for c in event.layout.channels) == (units if changed else "VVV")
                assert event.layout.rate_hz == (rate_hz if changed else 100)
                rows = np.rint(event.stamps * RATE_HZ).astype(int)
                np.testing.assert_array_equal(event.samples, recording[rows][:, list(event.layout.columns)])
    lost = set(range(N_SAMPLES)) - set(programme.truth().sample.tolist())
    assert set(range(100, 150)) | set(range(300, 350)) <= lost
    assert len(lost) < 100 + 2 * 10  # and at most the chunks that it cut through


def test_what_is_sent_in_another_unit_is_the_same_voltage() -> None:
    events = play(make_programme("unit:at=1,channel=B,unit=uV"))
    chunk = [event for event in events if isinstance(event, Chunk)][-1]
    assert chunk.layout.units == ("V", "uV", "V")
    np.testing.assert_allclose(chunk.layout.numbers(chunk.samples)[:, 1], chunk.samples[:, 1] * 1e6)


def test_channels_are_spoiled_only_where_and_when_it_is_said() -> None:
    clean = make_recording().read(0, N_SAMPLES)
    for text, spoiled in (
        ("nan:channel=B,at=1,for=0.5", np.full(50, np.nan)),
        ("flat:channel=B,at=1,for=0.5,value=2", np.full(50, 2.0)),
        ("railed:channel=B,at=1,for=0.5,value=0.1,factor=1e9", np.sign(clean[100:150, 1]) * 0.1),
        ("out-of-range:channel=B,at=1,for=0.5,factor=10", clean[100:150, 1] * 10),
    ):
        expected = clean.copy()
        expected[100:150, 1] = spoiled
        np.testing.assert_array_equal(samples_of(play(make_programme(text))), expected)


def test_markers_come_twice_late_early_out_of_order_or_not_at_all() -> None:
    clean = {mark.label: mark for mark in marks_of(play(make_programme()))}
    for text, n in (("marker-duplicate:share=1", 2 * len(ONSETS)), ("marker-missing:share=1", 0)):
        marks = marks_of(play(make_programme(text)))
        assert len(marks) == n
        assert all(mark == clean[mark.label] for mark in marks)
    for text, by in (("marker-late:share=1,by_s=0.9", 0.9), ("marker-early:share=1,by_s=0.5", -0.5)):
        marks = marks_of(play(make_programme(text)))
        assert [mark.due for mark in marks] == [
            pytest.approx(max(clean[mark.label].due + by, 0)) for mark in marks
        ]
        assert all(mark.stamp == clean[mark.label].stamp for mark in marks)
    labels = [mark.label for mark in marks_of(play(make_programme("marker-order:at=1,for=0.3")))]
    assert labels != list(clean)
    assert sorted(labels) == sorted(clean)
    truth = make_programme("marker-equal:share=1").truth()
    assert truth.mark_sample[0] == truth.mark_sample[1] == ONSETS[0]
    assert truth.mark_stamp[0] == truth.mark_stamp[1]


def test_markers_are_lost_while_their_stream_is_away_and_the_signal_goes_on() -> None:
    programme = make_programme("marker-disconnect:at=2,for=0.5")
    assert len(programme.truth().sample) == N_SAMPLES
    marks = marks_of(play(programme))
    assert 0 < len(marks) < len(ONSETS)
    assert not any(2 <= mark.due < 2.5 for mark in marks)


def test_time_of_a_fault_counts_on_over_the_rounds_of_a_loop() -> None:
    programme = make_programme("gap:at=8,for=1", "marker-late:share=1,by_s=2", loop=True)
    events = play(programme, until=20)
    dues = np.array([event.due for event in events if isinstance(event, Chunk)])
    assert not ((dues > 8.1) & (dues < 8.9)).any()
    dues = [event.due for event in events]
    assert dues == sorted(dues)
    first_round = [mark.label for mark in marks_of(events)][: len(ONSETS)]
    assert first_round == [f"m{i}" for i in range(len(ONSETS))]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gone", "no kind 'gone'; there are drop, gap, stall"),
        ("gap:at=x", "at: input should be a valid number.*gap takes at, for"),
        ("gap:at=-1", "at: input should be greater than or equal to 0"),
        ("gap:lasts=1", "lasts: unknown key; gap takes at, for"),
        ("gap:at", "write each of its keys once, as key=value: at, for"),
        ("gap:at=1,at=2", "write each of its keys once"),
        ("missing:at=1", "channel: field required; missing takes at, for, channel"),
        ("drop:share=2", "share: input should be less than or equal to 1"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_lists_what_there_is(text: str, line: str) -> None:
    with pytest.raises(UserError, match=line) as caught:
        parse_fault(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("texts", "line"),
    [
        (["nan:channel=Z"], "no channel 'Z'; it has A, B, C"),
        (["missing:channel=Z"], "no channel 'Z'; it has A, B, C"),
        (["rename:channel=A,to=B"], "has a channel 'B' already"),
        (["unit:channel=A,unit=parsec"], "unit 'parsec' is not understood"),
        (["disconnect:at=1,for=2", "reorder:at=2"], "two faults take the signal away at once"),
    ],
)
def test_a_fault_that_does_not_fit_the_recording_is_refused(texts: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        make_programme(*texts)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(UserError, match="seed -1"):
        make_programme(seed=-1)


def test_a_fault_may_be_built_in_code() -> None:
    gap = KINDS["gap"](at=1, lasts=0.5)
    assert isinstance(gap, Fault)
    assert gap == parse_fault("gap:at=1,for=0.5")
