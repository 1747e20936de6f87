from __future__ import annotations

import signal
import subprocess
import sys
import threading
import uuid
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pylsl
import pytest
from index_decoder import index_channels, index_manifest, write_index_decoder

from rtdecode.bus.control import ControlClient
from rtdecode.bus.subscriber import Subscriber
from rtdecode.config import ServeConfig
from rtdecode.contracts import EmbeddingMessage, Fate, Verdict, VerdictMessage
from rtdecode.decoder import Decoder
from rtdecode.service import Service

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtdecode.bus.wire import Received

RATE_HZ = 256.0


class Lab:
    """An amplifier and an experiment that send when told to."""

    def __init__(self) -> None:
        self.source_id = f"lab-{uuid.uuid4().hex}"
        self.plug_in()
        self.experiment = pylsl.StreamOutlet(
            pylsl.StreamInfo("experiment", "Markers", 1, 0, "string", f"{self.source_id}-markers")
        )

    def plug_in(self) -> None:
        info = pylsl.StreamInfo("amplifier", "EEG", 3, RATE_HZ, "float32", self.source_id)
        channels = info.desc().append_child("channels")
        for channel in index_channels():
            node = channels.append_child("channel")
            for key, value in (("label", channel.name), ("type", "EEG"), ("unit", "V")):
                node.append_child_value(key, value)
        self.amplifier: pylsl.StreamOutlet | None = pylsl.StreamOutlet(info)
        self.start = pylsl.local_clock()
        self.n_samples = 0

    def unplug(self) -> None:
        self.amplifier = None

    def send(self, n: int) -> None:
        samples = np.zeros((n, 3), np.float32)
        samples[:, 0] = np.arange(self.n_samples, self.n_samples + n)
        self.n_samples += n
        assert self.amplifier is not None
        self.amplifier.push_chunk(samples, self.start + (self.n_samples - 1) / RATE_HZ)

    def mark(self, sample: int, label: str) -> None:
        self.experiment.push_sample([label], self.start + sample / RATE_HZ)

    def config(self, decoder: Path, **service: object) -> ServeConfig:
        return ServeConfig(
            streams=[{"id": "eeg", "lsl": {"source_id": self.source_id}}],
            markers={"streams": [{"source_id": f"{self.source_id}-markers"}]},
            decoders=[{"path": decoder}],
            bus={"publish_port": 0, "subscribe_port": 0, "control_port": 0},
            service=service,
        )


@pytest.fixture
def lab() -> Lab:
    return Lab()


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    write_index_decoder(tmp_path / "d.onnx", index_manifest(window=(0, 100)))
    return tmp_path / "d.onnx"


def listen(stack: ExitStack, service: Service, *kinds: str) -> Iterator[Received]:
    """All messages until the service says that it has stopped."""
    subscriber = stack.enter_context(Subscriber(service.endpoints.publish, (*kinds, "status")))
    assert subscriber.wait_joined(10)
    return iter(lambda: subscriber.receive(30), None)


def test_a_stop_accounts_for_what_is_in_flight(lab: Lab, decoder: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder)))
        heard = listen(stack, service, "marker", "embedding", "verdict")
        service.connect()
        for index in range(3):
            lab.mark(10 + index, str(index))
        lab.send(112)  # ends the windows of the first two
        emitted, marked = 0, 0
        for received in heard:
            emitted += isinstance(received.message, EmbeddingMessage)
            marked += received.message.kind == "marker"
            if (emitted, marked) == (2, 3):
                break
        with ControlClient(service.endpoints.control) as control:
            assert control.status().state == "live"
            control.stop()
        service.wait()
    accounts = service.status().accounts
    assert {verdict: n for verdict, n in accounts.requests.items() if n} == {
        Verdict.EMITTED: 2,
        Verdict.SHUTDOWN: 1,
    }
    assert accounts.n_open == 0
    assert service.status().state == "stopped"


def test_the_last_verdicts_reach_a_subscriber_before_the_service_ends(lab: Lab, decoder: Path) -> None:
    verdicts = []
    with ExitStack() as stack:
        service = Service(lab.config(decoder))
        service.__enter__()
        heard = listen(stack, service, "verdict", "marker")
        service.connect()
        for index in range(5):
            lab.mark(index, str(index))
        lab.send(20)
        marked = 0
        while marked < 5:
            marked += next(heard).message.kind == "marker"
        stopping = threading.Thread(target=service.__exit__, args=(None, None, None))
        stopping.start()
        for received in heard:
            if isinstance(received.message, VerdictMessage):
                verdicts.append(received.message.verdict)
            elif received.message.kind == "status" and received.message.state == "stopped":
                break
        stopping.join()
    assert verdicts == [Verdict.SHUTDOWN] * 5


def test_a_window_that_finds_the_queue_full_is_an_overflow(
    lab: Lab, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, go_on = threading.Event(), threading.Event()
    run = Decoder.run

    def slow_run(self: Decoder, *arguments: object) -> dict[str, np.ndarray]:
        running.set()
        assert go_on.wait(30)
        return run(self, *arguments)

    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, queue=1)))
        heard = listen(stack, service, "verdict", "marker")
        service.connect()
        monkeypatch.setattr(Decoder, "run", slow_run)
        lab.mark(0, "first")
        lab.send(150)
        assert running.wait(30)
        for index in range(4):
            lab.mark(1 + index, str(index))
        marked = 0
        while marked < 5:
            marked += next(heard).message.kind == "marker"
        lab.send(50)
        ends: Counter[Verdict] = Counter()
        for received in heard:
            if isinstance(received.message, VerdictMessage):
                ends[received.message.verdict] += 1
            if ends[Verdict.OVERFLOW] == 3:
                go_on.set()
            if ends.total() == 5:
                break
    assert ends == {Verdict.EMITTED: 2, Verdict.OVERFLOW: 3}


def wait_for_state(service: Service, state: str) -> None:
    """Liblsl tells nobody when it notices that a sender went or came, so there is nothing to wait on."""
    pause = threading.Event()
    while service.status().streams["eeg"].state != state:
        pause.wait(0.02)


def test_an_amplifier_that_is_unplugged_and_comes_back_goes_on_in_a_new_segment(
    lab: Lab, decoder: Path
) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder)))
        heard = (r.message for r in listen(stack, service, "verdict", "embedding"))
        service.connect()
        lab.mark(120, "in flight")
        lab.send(150)
        wait_for_state(service, "live")
        lab.unplug()
        verdict = next(message for message in heard if isinstance(message, VerdictMessage))
        assert (verdict.label, verdict.verdict) == ("in flight", Verdict.GAP)
        lab.mark(300, "while it was gone")
        verdict = next(message for message in heard if isinstance(message, VerdictMessage))
        assert (verdict.label, verdict.verdict) == ("while it was gone", Verdict.GAP)
        wait_for_state(service, "lost")
        lab.n_samples = 0
        lab.plug_in()
        wait_for_state(service, "live")
        lab.mark(30, "back")
        lab.send(200)
        embedding = next(message for message in heard if isinstance(message, EmbeddingMessage))
        assert (embedding.label, embedding.segment, embedding.onset_sample) == ("back", 1, 30)
    assert service.status().accounts.n_open == 0


def test_markers_that_come_while_it_stops_are_accounted_for(lab: Lab, decoder: Path) -> None:
    with Service(lab.config(decoder)) as service:
        service.connect()
        lab.send(1500)
        for index in range(600):
            lab.mark(index, str(index))
    accounts = service.status().accounts
    assert accounts.n_open == 0
    assert accounts.markers[Fate.ACCEPTED] == sum(accounts.requests.values())


def test_a_signal_ends_the_command_with_its_books_closed(lab: Lab, decoder: Path, tmp_path: Path) -> None:
    (tmp_path / "serve.toml").write_text(
        f"""
        streams = [{{ id = "eeg", lsl = {{ source_id = "{lab.source_id}" }} }}]
        decoders = [{{ path = "{decoder.name}" }}]
        markers.streams = [{{ source_id = "{lab.source_id}-markers" }}]
        bus = {{ publish_port = 0, subscribe_port = 0, control_port = 0 }}
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "rtdecode", "serve", str(tmp_path / "serve.toml")],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "live: publishing" in line:
            break
    lab.mark(0, "picture")
    lab.send(150)
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "requests: " in rest
