"""The retrieval worker answers every embedding it can, whatever comes and goes around it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pytest
from messages import REQUEST, embedding_message

from rtdecode.bus import Broker, Endpoints, Subscriber
from rtdecode.bus.curve import ServiceKeys
from rtdecode.contracts import (
    Accounts,
    Channel,
    ChannelType,
    ControlReply,
    ControlRequest,
    DecoderManifest,
    EmbeddingSpace,
    Head,
    HeadOutput,
    HeadRole,
    Provenance,
    Request,
    Resampling,
    RetrievalMessage,
    Scaling,
    SignalContract,
    StatusMessage,
    Unit,
    Window,
)
from rtdecode.errors import MismatchError
from rtdecode.gallery import Gallery, GalleryDescription, Retriever, write_gallery
from rtdecode.keys import make_keys
from rtdecode.workers.retrieve import RetrievalWorker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT_S = 20.0
DIM = 8
N = 20
STIMULI = [f"object {index}" for index in range(N)]


def space(layer: str = "last") -> EmbeddingSpace:
    return EmbeddingSpace(
        encoder="tiny", weights_sha256="a" * 64, layer=layer, pooling="mean", preprocessing="none", dim=DIM
    )


def manifest(name: str = "ridge", **layers_of_roles: str) -> DecoderManifest:
    """A decoder with one head for each role given, in the space of that layer."""
    return DecoderManifest(
        name=name,
        signal=SignalContract(
            channels=(Channel(name="Cz", type=ChannelType.EEG, unit=Unit.VOLT),),
            rate_hz=100.0,
            front_end=(),
            window=Window(first_sample=0, last_sample=9),
            resampling=Resampling(rate_hz=100.0, n_times=10),
        ),
        scaling=Scaling(baseline_s=None, clamp=20.0),
        heads=tuple(
            Head(
                name=f"for_{role}",
                role=HeadRole(role),
                space=space(layer),
                target_mean=(0.25,) * DIM,
                target_sd=(2.0,) * DIM,
            )
            for role, layer in (layers_of_roles or {"retrieval": "last"}).items()
        ),
        provenance=Provenance(
            dataset="none",
            subjects=("01",),
            split_sha256="b" * 64,
            n_trials=1,
            hours=0.0,
            model="ridge",
            fold_rule="none",
            created="2025-01-01",
            versions={},
        ),
        simulated=False,
    )


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    folder = tmp_path_factory.mktemp("galleries") / "objects"
    embeddings = np.random.default_rng(0).standard_normal((N, DIM))
    description = GalleryDescription(name="objects", space=space(), simulated=False)
    return write_gallery(folder, description, embeddings, STIMULI)


class Service:
    """What a worker sees of ``rtdecode serve``."""

    def __init__(
        self,
        decoders: dict[str, DecoderManifest],
        endpoints: Endpoints | None = None,
        keys: Path | None = None,
    ) -> None:
        ports = [0, 0, 0]
        if endpoints is not None:
            addresses = (endpoints.publish, endpoints.subscribe, endpoints.control)
            ports = [int(address.rpartition(":")[2]) for address in addresses]
        self.decoders = decoders
        self.questions = 0
        self._index = 0
        secured = None if keys is None else ServiceKeys.load(keys)
        self._broker = Broker("127.0.0.1", *ports, self._answer, clock=lambda: 1.0, keys=secured)
        self._broker.start()
        self.endpoints = self._broker.endpoints
        self._answers = Subscriber(
            self.endpoints.publish,
            ("retrieval",),
            keys=None if keys is None else keys / "clients" / "watch.key_secret",
        )
        assert self._answers.wait_joined(TIMEOUT_S)

    def _answer(self, _: ControlRequest) -> ControlReply:
        self.questions += 1
        return ControlReply(ok=True, decoders=self.decoders)

    def publish(
        self, embedding: np.ndarray, stimulus_id: str | None = None, sha256: str = "1" * 64, **fields: object
    ) -> Request:
        """Publish one embedding for each head of the decoder, all the same."""
        heads = self.decoders.get(sha256, manifest()).heads
        request = REQUEST.model_copy(update={"index": self._index})
        self._index += 1
        message = embedding_message(
            simulated=False,
            request=request,
            label="label",
            stimulus_id=stimulus_id,
            decoder_sha256=sha256,
            heads=tuple(HeadOutput(name=head.name, role=head.role, dim=head.space.dim) for head in heads),
        ).model_copy(update=fields)
        self._broker.publish(message, [embedding] * len(message.heads))
        return request

    def say(self, state: str) -> None:
        accounts = Accounts(markers={}, requests={}, n_open=0)
        self._broker.publish(
            StatusMessage(
                simulated=False, state=state, accounts=accounts, streams={}, providers={}, delays={}
            )
        )

    def answer(self, timeout_s: float = TIMEOUT_S) -> RetrievalMessage | None:
        received = self._answers.receive(timeout_s)
        if received is None:
            return None
        assert isinstance(received.message, RetrievalMessage)
        return received.message

    def answers_to(self, embedding: np.ndarray, **fields: str) -> RetrievalMessage:
        """Publish until the worker has found its way to this service."""
        while True:
            self.publish(embedding, **fields)
            answer = self.answer(0.1)
            if answer is not None:
                return answer

    def stop(self) -> None:
        self._broker.stop()
        self._answers.close()

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


@contextmanager
def working(
    gallery: Gallery, endpoints: Endpoints, top: int = 3, keys: Path | None = None
) -> Iterator[tuple[RetrievalWorker, list[str]]]:
    """A worker in a thread, and what it said."""
    said: list[str] = []
    worker = RetrievalWorker(gallery, endpoints, top=top, keys=keys, clock=lambda: 42.0, say=said.append)
    failure: list[BaseException] = []

    def run() -> None:
        try:
            worker.run()
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield worker, said
    finally:
        worker.stop()
        thread.join(TIMEOUT_S)
        assert not thread.is_alive()
        assert not failure, failure


@pytest.fixture
def service() -> Iterator[Service]:
    with Service({"1" * 64: manifest()}) as running:
        yield running


def test_an_embedding_is_answered_with_its_ranking(service: Service, gallery: Gallery) -> None:
    embedding = gallery.embeddings[7] + np.float32(0.01)
    with working(gallery, service.endpoints) as (worker, said):
        assert worker.ready.wait(TIMEOUT_S)
        request = service.publish(embedding, "object 7")
        answer = service.answer()
    assert answer is not None
    assert answer.request == request
    assert (answer.label, answer.stimulus_id, answer.head) == ("label", "object 7", "for_retrieval")
    assert (answer.gallery, answer.n_gallery, answer.received_at) == ("objects", N, 42.0)
    assert (answer.publisher, answer.simulated) == ("retrieve", False)
    head = service.decoders["1" * 64].heads[0]
    assert answer.single == Retriever(gallery, head).rank(embedding, 3, "object 7")
    assert (answer.single.truth_rank, len(answer.single.hits)) == (1, 3)
    assert answer.running == answer.single
    assert said[0].startswith("ready: gallery 'objects' with 20 images")
    assert said[-1].startswith("stopped: 1 answers, 0 embeddings lost")
    assert worker.answered == 1


def test_repetitions_are_averaged_by_stream_decoder_and_stimulus(service: Service, gallery: Gallery) -> None:
    rng = np.random.default_rng(3)
    noisy = (gallery.embeddings[4] + rng.standard_normal((30, DIM))).astype(np.float32)
    answers = []
    with working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        for embedding in noisy:
            service.publish(embedding, "object 4")
            answers.append(service.answer())
        service.publish(noisy[0], "object 5")
        another = service.answer()
        elsewhere = Request(stream="meg", segment=0, origin="marker", index=0, decoder="ridge")
        service.publish(noisy[0], "object 4", request=elsewhere)
        other_stream = service.answer()
    running = [answer.running for answer in answers if answer is not None and answer.running is not None]
    assert [ranking.averaged for ranking in running] == list(range(1, 31))
    head = service.decoders["1" * 64].heads[0]
    assert running[-1] == Retriever(gallery, head).rank(noisy.astype(float).mean(axis=0), 3, "object 4", 30)
    assert running[-1].truth_rank == 1
    for answer in (another, other_stream):
        assert answer is not None
        assert answer.running is not None
        assert answer.running.averaged == 1


def test_an_unknown_stimulus_has_neither_rank_nor_mean(service: Service, gallery: Gallery) -> None:
    with working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        service.publish(gallery.embeddings[0])
        unknown = service.answer()
        service.publish(gallery.embeddings[0], "not in the gallery")
        absent = service.answer()
    assert unknown is not None
    assert unknown.running is None
    assert unknown.single.truth_rank is None
    assert absent is not None
    assert absent.running is not None
    assert absent.running.truth_rank is None


def test_every_fitting_head_is_answered_and_no_other(gallery: Gallery) -> None:
    decoders = {
        "1" * 64: manifest("both", reconstruction="last", retrieval="last"),
        "2" * 64: manifest("elsewhere", retrieval="first"),
    }
    with Service(decoders) as service, working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        service.publish(gallery.embeddings[0], sha256="2" * 64)
        request = service.publish(gallery.embeddings[0])
        answer = service.answer()
        last = service.publish(gallery.embeddings[0])
        second = service.answer()
    assert answer is not None
    assert second is not None
    assert (answer.head, answer.request, second.request) == ("for_retrieval", request, last)


def test_what_is_simulated_stays_marked(service: Service, gallery: Gallery) -> None:
    with working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        service.publish(gallery.embeddings[0], simulated=True)
        answer = service.answer()
    assert answer is not None
    assert answer.simulated


def test_an_unknown_decoder_makes_it_ask_again(service: Service, gallery: Gallery) -> None:
    with working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        service.publish(gallery.embeddings[0])
        assert service.answer() is not None
        assert service.questions == 1
        service.publish(gallery.embeddings[0], sha256="3" * 64)  # nobody knows it: passed over
        service.decoders["2" * 64] = manifest("new")
        request = service.publish(gallery.embeddings[0], sha256="2" * 64)
        answer = service.answer()
        assert answer is not None
        assert answer.request == request
        asked = service.questions
        service.publish(gallery.embeddings[0], sha256="2" * 64)
        assert service.answer() is not None
        assert service.questions == asked


def test_an_embedding_that_contradicts_its_manifest_is_passed_over(
    service: Service, gallery: Gallery
) -> None:
    short = HeadOutput(name="for_retrieval", role=HeadRole.RETRIEVAL, dim=2)
    with working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        service.publish(np.zeros(2, np.float32), heads=(short,))
        request = service.publish(gallery.embeddings[0])
        answer = service.answer()
    assert answer is not None
    assert answer.request == request


def test_it_waits_for_a_service_and_outlives_it(gallery: Gallery) -> None:
    with Service({}) as placeholder:
        endpoints = placeholder.endpoints
    with working(gallery, endpoints) as (worker, said):
        assert not worker.ready.wait(0.3)
        for sha256 in ("1" * 64, "1" * 64, "2" * 64):  # the same decoder again, then another
            with Service({sha256: manifest()}, endpoints) as service:
                assert worker.ready.wait(TIMEOUT_S)
                for n in (1, 2):
                    answer = service.answers_to(gallery.embeddings[3], stimulus_id="object 3", sha256=sha256)
                    assert answer.running is not None
                    assert answer.running.averaged >= n
                service.say("stopped")
    assert said[0].startswith("waiting for a service at tcp://127.0.0.1:")
    assert [line.split(":")[0] for line in said] == ["waiting for a service at tcp", "ready", "stopped"]


def test_a_restarted_service_starts_its_means_anew(gallery: Gallery) -> None:
    decoders = {"1" * 64: manifest()}
    with Service(decoders) as service, working(gallery, service.endpoints) as (worker, _):
        assert worker.ready.wait(TIMEOUT_S)
        for _ in range(3):
            service.publish(gallery.embeddings[0], "object 0")
            assert service.answer() is not None
        service.stop()
        with Service(decoders, service.endpoints) as restarted:
            answer = restarted.answers_to(gallery.embeddings[0], stimulus_id="object 0")
            assert answer.running is not None
            assert answer.running.averaged <= answer.request.index + 1


@pytest.mark.parametrize(
    ("decoders", "reason"),
    [
        ({"1" * 64: manifest(retrieval="first")}, 'layer is "last" in the gallery, "first" in the decoder'),
        ({"1" * 64: manifest(reconstruction="last")}, "no head for retrieval"),
        ({}, "no decoder"),
    ],
)
def test_a_service_that_it_can_never_answer_is_refused(
    gallery: Gallery, decoders: dict[str, DecoderManifest], reason: str
) -> None:
    with Service(decoders) as service, pytest.raises(MismatchError, match=reason) as caught:
        RetrievalWorker(gallery, service.endpoints, clock=lambda: 0.0).run()
    assert "\n" not in str(caught.value)


def test_with_its_key_it_answers_a_service_that_demands_keys(gallery: Gallery, tmp_path: Path) -> None:
    make_keys(tmp_path, ("retrieve", "watch"))
    key = tmp_path / "clients" / "retrieve.key_secret"
    with (
        Service({"1" * 64: manifest()}, keys=tmp_path) as service,
        working(gallery, service.endpoints, keys=key) as (worker, _),
    ):
        assert worker.ready.wait(TIMEOUT_S)
        assert service.answers_to(np.ones(DIM, np.float32)).gallery == "objects"


def test_it_can_be_stopped_while_it_waits(gallery: Gallery) -> None:
    with Service({}) as gone:
        endpoints = gone.endpoints
    with working(gallery, endpoints) as (worker, said):
        pass
    assert not worker.ready.is_set()
    assert not any(line.startswith("ready") for line in said)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals to send")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_when_it_is_ready_and_ends_on_a_signal(
    service: Service, gallery: Gallery, number: signal.Signals
) -> None:
    address = service.endpoints
    command = [sys.executable, "-c", "from rtdecode.workers.retrieve import retrieve; retrieve()"]
    options = ["--gallery", str(gallery.folder), "--top", "2"]
    for name in ("publish", "subscribe", "control"):
        options += [f"--{name}-port", getattr(address, name).rpartition(":")[2]]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True, env=os.environ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        while line.startswith("waiting"):
            line = process.stdout.readline()
        assert line.startswith("ready")
        service.publish(gallery.embeddings[9], "object 9")
        answer = service.answer()
        process.send_signal(number)
        rest, _ = process.communicate(timeout=TIMEOUT_S)
    assert answer is not None
    assert len(answer.single.hits) == 2
    assert answer.received_at > 0  # LSL's clock
    assert rest.startswith("stopped: 1 answers")
    assert process.returncode == 0
