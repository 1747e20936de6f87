"""Results in LSL: an inlet gets what the bus said, stamped with the onset, and restarts do not end it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pylsl
import pytest
from index_decoder import SPACE, index_manifest, write_index_decoder
from lab import RATE_HZ, Lab
from messages import REQUEST, STRIDE_STAMPS, embedding_message

from rtdecode.bus import Subscriber
from rtdecode.contracts import (
    EmbeddingMessage,
    HeadOutput,
    VerdictMessage,
)
from rtdecode.errors import UserError
from rtdecode.gallery import GalleryDescription, write_gallery
from rtdecode.service import Service
from rtdecode.workers.outlet import OutletWorker, ResultStreams
from rtdecode.workers.retrieve import RetrievalWorker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtdecode.bus import Endpoints
    from rtdecode.config import ServeConfig

TIMEOUT_S = 20.0


@pytest.fixture
def source_id() -> str:
    return f"test-{uuid.uuid4().hex}"


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(0, 20)))
    return tmp_path / "d.onnx"


@contextmanager
def in_a_thread(worker: OutletWorker | RetrievalWorker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()


def inlet(source_id: str) -> pylsl.StreamInlet:
    """Open a stream; it raises where the stream was lost, for it does not look for it again."""
    (info,) = pylsl.resolve_byprop("source_id", source_id, 1, TIMEOUT_S)
    opened = pylsl.StreamInlet(info, recover=False)
    opened.open_stream(TIMEOUT_S)
    return opened


def answer(answers: pylsl.StreamInlet) -> tuple[dict[str, object], float]:
    (text,), stamp = answers.pull_sample(TIMEOUT_S)
    return json.loads(text), stamp


def live(stack: ExitStack, config: ServeConfig) -> Service:
    """A service that is live, with heartbeats."""
    service = stack.enter_context(Service(config))
    service.connect()
    beats = threading.Thread(target=service.wait)
    beats.start()
    stack.callback(beats.join)
    stack.callback(service.request_stop)
    return service


def test_inlets_get_embeddings_and_answers_with_the_onset_as_stamp(
    decoder: Path, source_id: str, tmp_path: Path
) -> None:
    lab = Lab()
    description = GalleryDescription(name="places", space=SPACE, simulated=False)
    embeddings = np.array([[50.0, 70.0], [-50.0, 70.0], [0.0, -70.0]], np.float32)
    gallery = write_gallery(tmp_path / "gallery", description, embeddings, ["here", "there", "elsewhere"])
    with ExitStack() as stack:
        service = live(stack, lab.config(decoder, timeout_s=2))
        bus = stack.enter_context(Subscriber(service.endpoints.publish, ("embedding",)))
        assert bus.wait_joined(TIMEOUT_S)
        retrieval = RetrievalWorker(gallery, service.endpoints, top=2)
        stack.enter_context(in_a_thread(retrieval))
        stack.enter_context(in_a_thread(OutletWorker(service.endpoints, source_id=source_id)))
        results = inlet(f"{source_id}-eeg-index-embedding")
        answers = inlet(f"{source_id}-answers")
        assert retrieval.ready.wait(TIMEOUT_S)
        lab.send(300)
        lab.mark(50, "here")
        values, stamp = results.pull_sample(TIMEOUT_S)
        verdict, verdict_stamp = answer(answers)
        ranking, ranking_stamp = answer(answers)
        lab.mark(290, "cut off")
        ended, _ = answer(answers)
        message = bus.receive(TIMEOUT_S).message
        info = results.info(TIMEOUT_S)

    assert values == [50, 70]
    onset = message.stamps.marker_corrected
    assert stamp == verdict_stamp == ranking_stamp == onset
    assert stamp == pytest.approx(lab.start + 50 / RATE_HZ, abs=1e-3)
    common = {"stream": "eeg", "decoder": "index", "index": 0, "label": "here", "stimulus_id": "here"}
    common |= {"onset_stamp": onset, "simulated": True, "verdict": "emitted"}
    for said in (verdict, ranking):
        assert said.pop("latency_ms") > 0
    assert verdict == {**common, "kind": "verdict", "reason": ""}
    hits = ranking.pop("hits")
    assert ranking == {
        **common,
        "kind": "retrieval",
        "head": "embedding",
        "gallery": "places",
        "truth_rank": 1,
    }
    assert [hit["stimulus_id"] for hit in hits] == ["here", "there"]
    assert hits[0]["score"] > hits[1]["score"]
    assert (ended["kind"], ended["verdict"], ended["label"]) == ("verdict", "timeout", "cut off")
    assert ended["onset_stamp"] is ended["latency_ms"] is None

    assert (info.name(), info.type(), info.nominal_srate()) == ("eeg-index-embedding", "Embedding", 0)
    assert info.get_channel_labels() == ["dim-0", "dim-1"]
    ours = info.desc().child("rtdecode")
    assert ours.child_value("decoder") == "index"
    assert ours.child_value("decoder_sha256") == message.decoder_sha256
    assert ours.child_value("simulated") == "true"
    assert ours.child("space").child_value("encoder") == SPACE.encoder


def test_a_restart_of_the_service_does_not_interrupt_its_listeners(decoder: Path, source_id: str) -> None:
    lab = Lab()
    config = lab.config(decoder)
    with ExitStack() as outer:
        for restart in range(2):
            with ExitStack() as stack:
                service = live(stack, config)
                if not restart:
                    outer.enter_context(in_a_thread(OutletWorker(service.endpoints, source_id=source_id)))
                    results = inlet(f"{source_id}-eeg-index-embedding")
                    ports = [int(at.rpartition(":")[2]) for at in addresses(service.endpoints)]
                    names = ("publish_port", "subscribe_port", "control_port")
                    config = config.model_copy(
                        update={"bus": config.bus.model_copy(update=dict(zip(names, ports, strict=True)))}
                    )
                values = None
                while values is None:  # the worker has yet to find its way to the service that follows
                    first = lab.n_samples
                    lab.mark(first + 10, "again")
                    lab.send(50)
                    values, _ = results.pull_sample(0.5)
                assert values[1] - values[0] == 20


def addresses(endpoints: Endpoints) -> tuple[str, str, str]:
    return endpoints.publish, endpoints.subscribe, endpoints.control


def stride_embedding(**fields: object) -> EmbeddingMessage:
    unchanged = {
        "simulated": False,
        "request": REQUEST.model_copy(update={"origin": "stride", "decoder": "index"}),
        "label": "",
        "stimulus_id": None,
        "decoder_sha256": "1" * 64,
        "stamps": STRIDE_STAMPS,
        "heads": (HeadOutput(name="embedding", role="retrieval", dim=2),),
    }
    return embedding_message(**{**unchanged, **fields})


def test_a_stride_is_stamped_with_its_windows_end_and_compressed_time_has_no_latency(source_id: str) -> None:
    streams = ResultStreams(source_id)
    streams.offer({"1" * 64: index_manifest()}, {"eeg": ["index"]}, simulated=False)
    results, answers = inlet(f"{source_id}-eeg-index-embedding"), inlet(f"{source_id}-answers")
    message = stride_embedding(latency_comparable=False)
    streams.push_embedding(message, (np.array([1.5, -2], "<f4").tobytes(),))
    streams.push_verdict(
        VerdictMessage(
            simulated=False, request=message.request, label="", stimulus_id=None, verdict="emitted"
        )
    )
    assert results.pull_sample(TIMEOUT_S) == ([1.5, -2], STRIDE_STAMPS.data_corrected)
    said, stamp = answer(answers)
    assert stamp == said["onset_stamp"] == STRIDE_STAMPS.data_corrected
    assert (said["latency_ms"], said["index"]) == (None, REQUEST.index)


def test_streams_stay_for_decoders_that_stay_and_go_with_those_that_go(source_id: str) -> None:
    streams = ResultStreams(source_id)
    kept, gone = index_manifest(name="kept"), index_manifest(name="gone")
    streams.offer({"1" * 64: kept, "2" * 64: gone}, {"eeg": ["kept", "gone"]}, simulated=False)
    stays, goes = inlet(f"{source_id}-eeg-kept-embedding"), inlet(f"{source_id}-eeg-gone-embedding")
    new = index_manifest(name="new")
    streams.offer({"1" * 64: kept, "3" * 64: new}, {"eeg": ["kept", "new"]}, simulated=False)
    message = stride_embedding()
    streams.push_embedding(message, (np.array([1, 2], "<f4").tobytes(),))
    assert stays.pull_sample(TIMEOUT_S)[0] == [1, 2]
    with pytest.raises(pylsl.util.LostError):
        goes.pull_sample(TIMEOUT_S)
    assert streams.names == ["eeg-kept-embedding", "eeg-new-embedding", "rtdecode-answers"]


def test_signal_streams_that_share_a_decoder_have_results_of_their_own(source_id: str) -> None:
    streams = ResultStreams(source_id)
    streams.offer({"1" * 64: index_manifest()}, {"eeg": ["index"], "meg": ["index"]}, simulated=False)
    eeg, meg = inlet(f"{source_id}-eeg-index-embedding"), inlet(f"{source_id}-meg-index-embedding")
    for stream, value in (("eeg", 1), ("meg", 2)):
        message = stride_embedding(request=stride_embedding().request.model_copy(update={"stream": stream}))
        streams.push_embedding(message, (np.array([value, 0], "<f4").tobytes(),))
    assert (eeg.pull_sample(TIMEOUT_S)[0][0], meg.pull_sample(TIMEOUT_S)[0][0]) == (1, 2)


def test_a_message_of_a_decoder_or_a_shape_unknown_is_passed_over(source_id: str) -> None:
    streams = ResultStreams(source_id)
    streams.offer({"1" * 64: index_manifest()}, {"eeg": ["index"]}, simulated=False)
    results = inlet(f"{source_id}-eeg-index-embedding")
    frame = np.array([1, 2, 3], "<f4").tobytes()
    streams.push_embedding(stride_embedding(decoder_sha256="2" * 64), (frame[:8],))
    longer = (HeadOutput(name="embedding", role="retrieval", dim=3),)
    streams.push_embedding(stride_embedding(heads=longer), (frame,))
    streams.push_embedding(stride_embedding(), (frame[:8],))
    assert results.pull_sample(TIMEOUT_S)[0] == [1, 2]


def test_results_of_another_machine_are_refused_with_what_to_do(
    decoder: Path, source_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        lab = Lab()
        service = live(stack, lab.config(decoder))
        monkeypatch.setattr("socket.gethostname", lambda: "another-machine")
        with pytest.raises(UserError, match="run `rtdecode outlet` there"):
            OutletWorker(service.endpoints, source_id=source_id).run()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
def test_the_command_says_what_it_sends_and_ends_on_a_signal(decoder: Path, source_id: str) -> None:
    with ExitStack() as stack:
        lab = Lab()
        service = live(stack, lab.config(decoder))
        options = ["--source-id", source_id]
        for name, at in zip(("publish", "subscribe", "control"), addresses(service.endpoints), strict=True):
            options += [f"--{name}-port", at.rpartition(":")[2]]
        command = [sys.executable, "-m", "rtdecode", "outlet", *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("waiting for a live service")
            assert process.stdout.readline() == "ready: LSL streams eeg-index-embedding, rtdecode-answers\n"
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=TIMEOUT_S)
        assert rest == "stopped: 0 messages lost, 0 malformed\n"
        assert process.returncode == 0
