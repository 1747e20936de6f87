from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from index_decoder import index_manifest, placed_channels, write_index_decoder
from lab import RATE_HZ, Lab, listen, wait_for_state

from rtdecode.bus.control import ControlClient, NoAnswerError
from rtdecode.contracts import EmbeddingMessage, Fate, Verdict, VerdictMessage
from rtdecode.decoder import Decoder
from rtdecode.errors import UserError
from rtdecode.keys import make_keys
from rtdecode.service import Service

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np


def await_requests(service: Service, n: int) -> None:
    """Wait until ``n`` requests are open: that a marker came is told before, and nothing is told then."""
    pause = threading.Event()
    while service.status().accounts.n_open < n:
        pause.wait(0.01)


def test_a_stop_accounts_for_what_is_in_flight(lab: Lab, decoder: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder)))
        heard = listen(stack, service, "marker", "embedding", "verdict")
        service.connect()
        lab.send(200)
        for index in range(3):
            lab.mark(210 + index, str(index))
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


def test_with_keys_it_speaks_only_with_clients_on_its_list(lab: Lab, decoder: Path, tmp_path: Path) -> None:
    make_keys(tmp_path / "keys", ("watch",))
    key = tmp_path / "keys" / "clients" / "watch.key_secret"
    config = lab.config(decoder)
    config = config.model_copy(
        update={"bus": config.bus.model_copy(update={"host": "0.0.0.0", "keys": tmp_path / "keys"})}  # noqa: S104
    )
    with Service(config) as service:
        assert service.clients == ["watch"]
        where = service.endpoints
        control = f"tcp://127.0.0.1:{where.control.rpartition(':')[2]}"
        with ControlClient(control, keys=key) as client:
            status = client.status()
        with ControlClient(control, timeout_s=0.3) as stranger, pytest.raises(NoAnswerError):
            stranger.status()
    assert status.state == "connecting"
    assert status.dropped["stranger"] == 0
    assert set(status.sequences) <= {"status/"}


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

    monkeypatch.setattr(Decoder, "warm_up", lambda _: None)  # so that windows are decoded one by one
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, queue=2)))
        heard = listen(stack, service, "verdict")
        service.connect()
        monkeypatch.setattr(Decoder, "run", slow_run)
        for label in ("running", "waiting"):  # complete at one sample, so that none is decoded at once
            lab.mark(0, label)
        await_requests(service, 2)
        lab.send(150)
        assert running.wait(30)
        for index in range(4):
            lab.mark(60, str(index))
        await_requests(service, 6)
        lab.send(50)
        ends: Counter[Verdict] = Counter()
        for received in heard:
            if isinstance(received.message, VerdictMessage):
                ends[received.message.verdict] += 1
            if ends[Verdict.OVERFLOW] == 3:
                go_on.set()
            if ends.total() == 6:
                break
    assert ends == {Verdict.EMITTED: 3, Verdict.OVERFLOW: 3}


def test_a_window_alone_is_decoded_by_the_thread_that_completed_it(
    lab: Lab, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    run = Decoder.run

    def watched_run(self: Decoder, *arguments: object) -> dict[str, np.ndarray]:
        threads.append(threading.current_thread().name)
        return run(self, *arguments)

    monkeypatch.setattr(Decoder, "warm_up", lambda _: None)  # so that windows are decoded one by one
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder)))
        heard = listen(stack, service, "verdict")
        service.connect()
        monkeypatch.setattr(Decoder, "run", watched_run)
        for sample, labels in ((0, ["alone"]), (200, ["one", "other"])):
            for label in labels:
                lab.mark(sample, label)
            await_requests(service, len(labels))
            lab.send(200)
            for _ in labels:
                next(r for r in heard if isinstance(r.message, VerdictMessage))
    assert threads == ["eeg", "inference", "inference"]


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


def test_growing_windows_answer_one_marker_in_order_each_when_its_data_are_there(
    lab: Lab, tmp_path: Path
) -> None:
    """Decoders of 200, 400 and 800 ms; the data of the longest come in three parts."""
    paths = []
    for ms in (800, 200, 400):
        last = round(1e-3 * ms * RATE_HZ)
        paths.append(tmp_path / f"{ms}.onnx")
        write_index_decoder(paths[-1], index_manifest(name=f"ms{ms}", window=(0, last)))
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(*paths)))
        heard = (r.message for r in listen(stack, service, "embedding", "marker"))
        service.connect()
        lab.send(200)
        lab.mark(210, "picture")
        assert next(message for message in heard if message.kind == "marker").fate is Fate.ACCEPTED
        answered = []
        for n in (80, 40, 110):  # up to sample 279, 319, 429; the windows end with 261, 312, 415
            lab.send(n)
            message = next(message for message in heard if isinstance(message, EmbeddingMessage))
            answered.append((message.request.decoder, message.request.index, message.onset_sample))
    assert answered == [("ms200", 0, 210), ("ms400", 0, 210), ("ms800", 0, 210)]
    assert service.status().accounts.n_open == 0


def test_continuous_mode_answers_each_stride_and_no_marker(lab: Lab, decoder: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, stride_ms=250.0)))
        heard = (r.message for r in listen(stack, service, "embedding"))
        service.connect()
        lab.mark(10, "picture")
        lab.send(300)
        embeddings = [next(m for m in heard if isinstance(m, EmbeddingMessage)) for _ in range(4)]
    assert [(m.request.origin, m.request.index, m.onset_sample, m.label) for m in embeddings] == [
        ("stride", n, 64 * n, "") for n in range(4)
    ]
    accounts = service.status().accounts
    assert {verdict: n for verdict, n in accounts.requests.items() if n} == {
        Verdict.EMITTED: 4,
        Verdict.SHUTDOWN: 1,
    }
    assert accounts.n_open == 0


def test_lost_samples_that_were_bridged_are_told_in_status_and_quality(lab: Lab, decoder: Path) -> None:
    bridging = {"gap_policy": "interpolate", "gap_s": 0.02, "max_bridged_samples": 20}
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(decoder, **bridging)))
        heard = (r.message for r in listen(stack, service, "embedding"))
        service.connect()
        lab.mark(60, "picture")
        lab.send(100)
        lab.n_samples += 20
        lab.send(100)
        message = next(m for m in heard if isinstance(m, EmbeddingMessage))
        assert (message.segment, message.onset_sample) == (0, 60)
        assert message.quality.bridged_samples == 20
        assert service.status().streams["eeg"].bridged_samples == 20


def test_a_channel_is_declared_bad_while_the_service_runs(lab: Lab, tmp_path: Path) -> None:
    channels = placed_channels(5)
    lab.unplug()
    lab.plug_in([channel.name for channel in channels])
    manifest = index_manifest(channels=channels, on_missing="repair", max_missing=1)
    write_index_decoder(tmp_path / "d.onnx", manifest)
    with ExitStack() as stack:
        service = stack.enter_context(Service(lab.config(tmp_path / "d.onnx")))
        heard = (r.message for r in listen(stack, service, "embedding"))
        service.connect()
        with ControlClient(service.endpoints.control) as control:
            control.declare_bad("eeg", ["CH2"])
            with pytest.raises(UserError, match="rebuilds at most 1"):
                control.declare_bad("eeg", ["CH2", "CH3"])
            lab.mark(150, "picture")
            lab.send(200)
            message = next(m for m in heard if isinstance(m, EmbeddingMessage))
            assert message.quality.bad_channels == ("CH2",)
            control.declare_bad("eeg", [])
            lab.mark(350, "picture")
            lab.send(200)
            message = next(m for m in heard if isinstance(m, EmbeddingMessage))
            assert message.quality.bad_channels == ()


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


def test_a_service_that_cannot_start_leaves_nothing_running(
    lab: Lab, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Decoder) -> None:
        raise MemoryError("no room for the decoder")

    before = set(threading.enumerate())
    monkeypatch.setattr(Decoder, "warm_up", fail)
    with pytest.raises(MemoryError), Service(lab.config(decoder)):
        pass
    assert {thread.name for thread in set(threading.enumerate()) - before} == set()


def test_a_bus_that_died_does_not_keep_the_service_from_ending(lab: Lab, decoder: Path) -> None:
    service = Service(lab.config(decoder))
    service.__enter__()
    service.connect()
    service._broker.stop()
    with pytest.raises(RuntimeError, match="the broker is not running"):
        service.__exit__(None, None, None)
    assert service.status().accounts.n_open == 0
    assert not any(feed.is_alive for feed in service._feeds)
