from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from index_decoder import index_channels, index_manifest, write_index_decoder

from replay.faults import parse_fault
from replay.recordings.recording import Markers, Recording, array_reader
from replay.virtual import run_virtual
from rtdecode.config import ServiceSettings
from rtdecode.contracts import Fate, Verdict
from rtdecode.decoder import Decoder
from rtdecode.errors import UserError
from rtdecode.gate import MarkerGate
from rtdecode.signal.design import design_iir
from rtdecode.stimuli import StimulusMapper, StimulusTable

if TYPE_CHECKING:
    from pathlib import Path

N_SAMPLES = 4000


def recording(samples: list[int], segment_starts: tuple[int, ...] = (0,)) -> Recording:
    data = np.random.default_rng(0).normal(size=(N_SAMPLES, 3))
    data[:, 0] = np.arange(N_SAMPLES)
    return Recording(
        name="index",
        rate_hz=256.0,
        channels=index_channels(),
        n_samples=N_SAMPLES,
        markers=Markers.in_order(samples, [f"m{i}" for i in range(len(samples))]),
        reader=array_reader(data),
        simulated=True,
        segment_starts=segment_starts,
    )


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Decoder:
    path = tmp_path_factory.mktemp("decoder") / "index.onnx"
    write_index_decoder(path, index_manifest(window=(-10, 100)))
    return Decoder(path)


def test_each_window_holds_exactly_the_samples_around_its_marker(decoder: Decoder) -> None:
    onsets = [10, 11, 500, 500, 3899]
    run = run_virtual(recording(onsets), [decoder])
    np.testing.assert_array_equal(run.embeddings["index", "embedding"], [[s - 10, s + 100] for s in onsets])
    assert [message.onset_sample for message in run.decoded] == onsets
    assert all(message.residual_us == 0 for message in run.decoded)


@pytest.mark.parametrize("chunk", [1, 32])
def test_markers_between_samples_come_at_their_own_time(tmp_path: Path, chunk: int) -> None:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(shift_residual=True))
    residual_us = [300.0, -1000.0, 0.0, 1900.0]
    marked = replace(
        recording([]), markers=Markers(np.array([31, 400, 401, 700]), list("abcd"), np.array(residual_us))
    )
    run = run_virtual(marked, [Decoder(tmp_path / "d.onnx")], chunk=chunk)
    assert [message.onset_sample for message in run.decoded] == [31, 400, 401, 700]
    np.testing.assert_allclose([message.residual_us for message in run.decoded], residual_us, atol=0.01)
    firsts = np.array(run.embeddings["index", "embedding"])[:, 0]
    np.testing.assert_allclose(firsts - [31, 400, 401, 700], 1e-6 * np.array(residual_us), atol=1e-4)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    onsets=st.lists(st.integers(0, N_SAMPLES - 1), max_size=30),
    chunk=st.sampled_from([1, 7, 32, 1000, N_SAMPLES]),
    border=st.integers(1, N_SAMPLES - 1),
)
def test_every_marker_is_accounted_for_and_no_window_is_wrong(
    decoder: Decoder, onsets: list[int], chunk: int, border: int
) -> None:
    run = run_virtual(recording(onsets, (0, border)), [decoder], chunk=chunk)
    assert run.accounts is not None
    assert run.accounts.markers[Fate.ACCEPTED] == len(onsets) == sum(run.accounts.requests.values())
    assert run.accounts.n_open == 0
    by_index = {message.request.index: message.verdict for message in run.verdicts}
    for index, onset in enumerate(sorted(onsets)):
        first, last = onset - 10, onset + 100
        whole = last < N_SAMPLES and first >= 0 and (first >= border or last < border)
        assert (by_index[index] is Verdict.EMITTED) == whole
    embeddings = run.embeddings.get(("index", "embedding"), [])
    for message, (first, last) in zip(run.decoded, embeddings, strict=True):
        onset = sorted(onsets)[message.request.index]
        assert (first, last) == (onset - 10, onset + 100)


def test_two_runs_write_the_same_bytes_whatever_the_chunks(tmp_path: Path) -> None:
    steps = [design_iir(256.0, highpass_hz=0.5, lowpass_hz=30.0)]
    write_index_decoder(tmp_path / "d.onnx", index_manifest(front_end=steps))
    decoder = Decoder(tmp_path / "d.onnx")
    onsets = list(range(50, 3900, 77))
    for name, chunk in (("a", 32), ("b", 32), ("c", 13)):
        run_virtual(recording(onsets), [decoder], chunk=chunk).save(tmp_path / name)
    embeddings = [(tmp_path / name / "index.embedding.npy").read_bytes() for name in "abc"]
    messages = [(tmp_path / name / "messages.jsonl").read_bytes() for name in "ab"]
    assert embeddings[0] == embeddings[1] == embeddings[2]
    assert messages[0] == messages[1]


@pytest.mark.parametrize(
    "faults",
    [
        ["gap:at=4,for=1", "jitter:sd_ms=0.5"],
        ["stall:at=4,for=2", "nan:channel=CH1,at=2,for=0.5"],
        ["clock-reset:at=7"],
        ["jump:at=4,for=2,by_s=3"],
        ["jump:at=4,for=2,by_s=-3"],
        ["jump:at=5,by_s=0.5", "marker-late:share=0.2,by_s=0.1"],
        ["jump:at=5,by_s=-0.2", "marker-early:share=0.2,by_s=0.4"],
        ["jump:at=5,by_s=0.5,markers=follow"],
        ["gap:at=2,for=0.5", "jump:at=7,by_s=-7,for=3"],
        # markers of another clock that come as late, or as early, as the stream's was set
        ["jump:at=3.63,by_s=-0.15,for=5"],
        ["jump:at=3.63,by_s=-0.15,for=5", "marker-late:share=0.3,by_s=0.15"],
        ["jump:at=6.5,by_s=0.5,for=3", "marker-early:share=0.3,by_s=0.5"],
        # markers of the time when it was off that come when it is right again
        ["jump:at=6.55,by_s=0.5,for=1", "marker-late:by_s=1,share=0.5"],
        ["jump:at=6.55,by_s=-0.5,for=1", "marker-late:by_s=1,share=0.5"],
        # a clock that is set while the stream is away, and one that is off from the beginning
        ["disconnect:at=5.9,for=1", "jump:at=6.3,by_s=0.5"],
        ["disconnect:at=5.9,for=1", "jump:at=6.3,by_s=-0.5"],
        ["disconnect:at=5.9,for=1", "jump:at=6.3,by_s=-0.5,for=4", "gap:at=8,for=0.3"],
        ["jump:at=0,by_s=0.5,for=6"],
        ["gap:at=6.5,for=0.5", "jump:at=6.95,by_s=-0.2,for=4"],
        ["bursts:n=12,scatter_ms=0.5"],
        ["disconnect:at=4,for=1"],
        ["reorder:at=4,for=1"],
        ["missing:at=4,for=1,channel=CH2", "disconnect:at=8,for=1"],
        ["marker-late:by_s=3", "marker-order", "marker-duplicate"],
    ],
)
def test_a_faulty_recording_is_accounted_for_without_a_wrong_window(
    decoder: Decoder, faults: list[str]
) -> None:
    onsets = list(range(150, 3800, 91))
    faulty = [parse_fault(text) for text in faults]
    run = run_virtual(recording(onsets), [decoder], faults=faulty, seed=1)
    assert run.accounts is not None
    assert run.accounts.n_open == 0
    assert run.accounts.markers[Fate.ACCEPTED] == sum(run.accounts.requests.values())
    assert run.accounts.requests[Verdict.EMITTED] > len(onsets) // 4
    label_of = {f"m{i}": onset for i, onset in enumerate(onsets)}
    for message, (first, last) in zip(run.decoded, run.embeddings["index", "embedding"], strict=True):
        assert (first, last) == (label_of[message.label] - 10, label_of[message.label] + 100)
    again = run_virtual(recording(onsets), [decoder], faults=faulty, seed=1)
    assert again.messages == run.messages


@pytest.mark.parametrize(
    ("faults", "least"),
    [
        (["drop:share=.01", "jitter:sd_ms=.2"], 0.1),
        (["drop:share=.002", "jitter:sd_ms=.2"], 0.5),
        (["drop:share=.002", "jitter:sd_ms=.5"], 0.5),
        (["drop:share=.002", "jitter:sd_ms=2"], 0.5),
        (["drop:share=.01", "jitter:sd_ms=2"], 0.1),
        (["jitter:sd_ms=2"], 0.98),
    ],
    ids=str,
)
def test_samples_lost_among_stamps_that_jitter_make_gaps_and_no_wrong_window(
    tmp_path: Path, faults: list[str], least: float
) -> None:
    write_index_decoder(tmp_path / "short.onnx", index_manifest(window=(-5, 40)))
    onsets = list(range(100, 3900, 38))
    faulty = [parse_fault(text) for text in faults]
    n_emitted = 0
    for seed in range(3):
        run = run_virtual(recording(onsets), [Decoder(tmp_path / "short.onnx")], faults=faulty, seed=seed)
        assert {one.verdict for one in run.verdicts} <= {Verdict.EMITTED, Verdict.GAP, Verdict.SHUTDOWN}
        n_emitted += len(run.decoded)
        for message, window in zip(run.decoded, run.embeddings["index", "embedding"], strict=True):
            onset = onsets[int(message.label[1:])]
            assert window.tolist() == [onset - 5, onset + 40]
    assert n_emitted >= least * 3 * len(onsets)


@pytest.mark.parametrize("by_s", [0.5, -0.5, 3, -100])
def test_markers_whose_sender_follows_a_clock_are_decoded_again_after_a_few(
    decoder: Decoder, by_s: float
) -> None:
    onsets = list(range(150, 3800, 91))
    fault = parse_fault(f"jump:at=5,by_s={by_s},markers=follow")
    run = run_virtual(recording(onsets), [decoder], faults=[fault])
    emitted = {message.label for message in run.decoded}
    assert all(f"m{i}" in emitted for i, onset in enumerate(onsets) if onset > 8 * 256 + abs(by_s) % 50)
    for message, (first, _) in zip(run.decoded, run.embeddings["index", "embedding"], strict=True):
        assert first == onsets[int(message.label[1:])] - 10


def test_a_late_marker_of_before_the_clock_was_set_is_decoded(decoder: Decoder) -> None:
    onsets = list(range(150, 3800, 91))
    faults = [parse_fault(text) for text in ("jump:at=6,by_s=0.5", "marker-late:by_s=2,share=1")]
    run = run_virtual(recording(onsets), [decoder], faults=faults)
    emitted = {message.label for message in run.decoded}
    assert {f"m{i}" for i, onset in enumerate(onsets) if onset + 100 < 6 * 256} <= emitted
    assert not any(onsets[int(label[1:])] > 6 * 256 for label in emitted)


def test_a_clock_that_was_set_is_no_gap_to_be_bridged(decoder: Decoder) -> None:
    onsets = list(range(150, 3800, 91))
    settings = ServiceSettings(gap_policy="mark", max_bridged_samples=300)
    for fault in ("jump:at=6,by_s=0.5,for=3", "jump:at=6,by_s=-0.5,for=3"):
        faults = [parse_fault(fault), parse_fault("marker-late:by_s=1,share=0.3")]
        run = run_virtual(recording(onsets), [decoder], settings=settings, faults=faults)
        for message, (first, _) in zip(run.decoded, run.embeddings["index", "embedding"], strict=True):
            assert message.quality.bridged_samples == 0
            assert first == onsets[int(message.label[1:])] - 10


def test_several_decoders_answer_each_marker(tmp_path: Path) -> None:
    decoders = []
    for name, last in (("early", 50), ("late", 200)):
        write_index_decoder(tmp_path / name, index_manifest(name=name, window=(0, last)))
        decoders.append(Decoder(tmp_path / name))
    run = run_virtual(recording([100, 150]), decoders)
    answered = [(message.request.decoder, message.request.index) for message in run.decoded]
    assert answered == [("early", 0), ("early", 1), ("late", 0), ("late", 1)]


def test_embeddings_of_decoders_with_heads_of_one_name_are_saved_apart(tmp_path: Path) -> None:
    decoders = []
    for name, dim in (("short", 2), ("long.v2", 3)):
        write_index_decoder(tmp_path / name, index_manifest(name=name, window=(0, 20), dim=dim))
        decoders.append(Decoder(tmp_path / name))
    run_virtual(recording([100, 150]), decoders).save(tmp_path / "out")
    assert np.load(tmp_path / "out" / "short.embedding.npy").tolist() == [[100, 120], [150, 170]]
    assert np.load(tmp_path / "out" / "long.v2.embedding.npy").tolist() == [[100, 110, 120], [150, 160, 170]]


def test_what_is_simulated_says_so(decoder: Decoder) -> None:
    run = run_virtual(recording([100]), [decoder])
    assert all(message.simulated for message in run.messages)


def test_leftovers_of_a_crash_do_not_hinder_a_later_run(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "out.part").mkdir()
    run_virtual(recording([100]), [decoder]).save(tmp_path / "out")
    assert (tmp_path / "out" / "index.embedding.npy").is_file()


def test_a_folder_that_cannot_be_written_is_one_line(decoder: Decoder, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        run_virtual(recording([100]), [decoder]).save(tmp_path / "file" / "out")


def test_a_table_names_the_stimuli_of_a_run_through_a_decoder(tmp_path: Path, decoder: Decoder) -> None:
    (tmp_path / "stimuli.csv").write_text("label,stimulus_id\nm0,cat\nm1,dog\n")
    mapper = StimulusMapper(StimulusTable.load(tmp_path / "stimuli.csv", "label"))
    run = run_virtual(recording([100, 300, 500]), [decoder], gate=MarkerGate(mapper=mapper))
    assert [message.stimulus_id for message in run.decoded] == ["cat", "dog"]
    assert run.accounts is not None
    assert run.accounts.markers[Fate.IGNORED] == 1


def test_json_markers_of_a_recording_are_read_as_they_are_live(decoder: Decoder) -> None:
    texts = ['{"image": "cat"}', '{"other": 1}', "{", '{"image": "dog"}']
    json_recording = replace(recording([]), markers=Markers.in_order([100, 300, 500, 700], texts))
    run = run_virtual(json_recording, [decoder], gate=MarkerGate(json_key="image"))
    assert [(message.label, message.onset_sample) for message in run.decoded] == [("cat", 100), ("dog", 700)]
    assert run.accounts is not None
    assert (run.accounts.markers[Fate.ACCEPTED], run.accounts.markers[Fate.IGNORED]) == (2, 2)


def test_continuous_mode_gives_the_same_windows_whatever_the_chunks(tmp_path: Path, decoder: Decoder) -> None:
    for name, chunk in (("a", 1000), ("b", 7)):
        run = run_virtual(recording([100], (0, 1003)), [decoder], strides_ms={"index": 100.0}, chunk=chunk)
        run.save(tmp_path / name)
    first_bytes, second_bytes = ((tmp_path / name / "index.embedding.npy").read_bytes() for name in "ab")
    assert first_bytes == second_bytes
    starts = {0: 0, 1: 1003}
    for message, (first, last) in zip(run.decoded, run.embeddings["index", "embedding"], strict=True):
        onset = starts[message.segment] + 26 * message.request.index
        assert (first, last) == (onset - 10, onset + 100)
    assert run.accounts is not None
    assert sum(run.accounts.requests.values()) == len(range(0, 1003, 26)) + len(range(1003, N_SAMPLES, 26))
    assert run.accounts.n_open == 0


def test_a_short_break_of_a_recording_is_bridged_as_live(decoder: Decoder) -> None:
    settings = ServiceSettings(gap_s=0.001, gap_policy="interpolate", max_bridged_samples=300)
    dropped = run_virtual(recording([1000], (0, 1003)), [decoder])
    bridged = run_virtual(recording([1000], (0, 1003)), [decoder], settings=settings)
    assert [one.verdict for one in dropped.verdicts] == [Verdict.GAP]
    (message,) = bridged.decoded
    assert message.quality.bridged_samples > 0
