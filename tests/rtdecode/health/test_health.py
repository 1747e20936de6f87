"""Monitors are told over HTTP whether the service lives, whether it would answer, and how well it does."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from http_page import fetch
from index_decoder import index_manifest, write_index_decoder
from lab import RATE_HZ, Lab, listen, wait_for_state
from prometheus_client.parser import text_string_to_metric_families

from rtdecode.contracts import Accounts, AlarmMessage, StatusMessage, StreamStatus, VerdictMessage
from rtdecode.errors import UserError
from rtdecode.health.health import unready
from rtdecode.service import Service
from rtdecode.signal.design import design_iir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rtdecode.config import ServeConfig

STAGES = ("data", "queue", "decode", "publish", "compute")


def monitored(config: ServeConfig, port: int = 0) -> ServeConfig:
    return config.model_copy(update={"health": config.health.model_copy(update={"port": port})})


@contextmanager
def beating(service: Service) -> Iterator[None]:
    thread = threading.Thread(target=service.wait)
    thread.start()
    yield
    service.request_stop()
    thread.join()


class Samples(dict[frozenset[str], float]):
    """By the sample's name and the values of its labels, in any order."""

    def __getitem__(self, key: str | tuple[str, ...]) -> float:
        return super().__getitem__(frozenset([key] if isinstance(key, str) else key))


def metrics(service: Service) -> Samples:
    status, text = fetch(f"{service.health_url}/metrics")
    assert status == 200
    return Samples(
        (frozenset((sample.name, *sample.labels.values())), sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    )


def status(state: str = "live", **streams: str) -> StatusMessage:
    return StatusMessage(
        simulated=False,
        state=state,
        accounts=Accounts(markers={}, requests={}, n_open=0),
        streams={name: StreamStatus(state=state, reason="why") for name, state in streams.items()},
        providers={},
        delays={},
    )


@pytest.mark.parametrize("state", ["connecting", "stopping", "stopped"])
def test_a_service_that_is_not_live_is_not_ready(state: str) -> None:
    assert unready(status(state, eeg="live")) == f"the service is {state}"


def test_every_source_must_be_live_and_each_that_is_not_is_named() -> None:
    assert unready(status(eeg="live", meg="live")) == ""
    told = unready(status(eeg="stale", meg="live", markers="lost"))
    assert told == "eeg is stale: why; markers is lost: why"


def test_ready_means_warm_and_fresh(lab: Lab, tmp_path: Path) -> None:
    front_end = [design_iir(RATE_HZ, highpass_hz=5.0, order=1)]
    write_index_decoder(tmp_path / "d.onnx", index_manifest(front_end=front_end))
    with ExitStack() as stack:
        service = stack.enter_context(Service(monitored(lab.config(tmp_path / "d.onnx"))))
        heard = listen(stack, service, "alarm")
        url = service.health_url
        assert fetch(f"{url}/readyz") == (503, "not ready: the service is connecting\n")
        assert fetch(f"{url}/livez") == (200, "alive\n")
        service.connect()
        stack.enter_context(beating(service))
        lab.send(10)
        wait_for_state(service, "warm")
        code, why = fetch(f"{url}/readyz")
        assert (code, why) == (503, "not ready: eeg is warm\n")
        lab.send(100)
        wait_for_state(service, "live")
        assert fetch(f"{url}/readyz") == (200, "ready\n")
        assert fetch(f"{url}/livez") == (200, "alive\n")
        lab.start -= 600
        lab.send(10)
        next(received for received in heard if isinstance(received.message, AlarmMessage))
        code, why = fetch(f"{url}/readyz")
        assert code == 503
        assert why.startswith("not ready: eeg is stale: its newest sample is")
        assert metrics(service)["rtdecode_alarms_active", "stale"] == 1
        assert metrics(service)["rtdecode_stream_state", "eeg", "stale"] == 1
    with pytest.raises(OSError, match=r"refused|reset"):
        fetch(f"{url}/livez")


def test_metrics_tell_what_the_books_say(lab: Lab, decoder: Path) -> None:
    with ExitStack() as stack:
        service = stack.enter_context(Service(monitored(lab.config(decoder))))
        heard = listen(stack, service, "verdict")
        service.connect()
        stack.enter_context(beating(service))
        for sample in (590, 10, 10, 20):
            lab.mark(sample, "a")
        lab.send(300)
        verdicts = (received for received in heard if isinstance(received.message, VerdictMessage))
        assert {next(verdicts).message.label for _ in range(2)} == {"a"}
        said = metrics(service)
    assert said["rtdecode_markers_total", "accepted"] == 3
    assert said["rtdecode_markers_total", "duplicate"] == 1
    assert said["rtdecode_requests_total", "emitted"] == 2
    assert said["rtdecode_requests_total", "late"] == 0
    assert said["rtdecode_requests_open"] == 1
    for stage in STAGES:
        assert said["rtdecode_stage_seconds_count", stage, "index"] == 2
        assert said["rtdecode_stage_seconds_bucket", stage, "index", "+Inf"] == 2
    took = {stage: said["rtdecode_stage_seconds_sum", stage, "index"] for stage in STAGES}
    assert took["compute"] == pytest.approx(took["queue"] + took["decode"] + took["publish"])
    assert said["rtdecode_service_state", "live"] == 1
    assert said["rtdecode_queue_length", "inference"] == 0
    assert abs(said["rtdecode_stream_clock_offset_seconds", "eeg"]) < 1
    assert said["rtdecode_stream_clock_uncertainty_seconds", "eeg"] >= 0
    assert said["rtdecode_stream_age_seconds", "eeg"] < 60
    assert said["rtdecode_stream_reconnects_total", "eeg"] == 0
    (info,) = (sample for sample in said if "rtdecode_decoder_info" in sample)
    assert {"index", "CPUExecutionProvider", "true"} < info
    assert not any("python_info" in sample for sample in said)  # not the process's global registry


def test_a_page_may_be_asked_for_as_openmetrics(lab: Lab, decoder: Path) -> None:
    with Service(monitored(lab.config(decoder))) as service:
        _, text = fetch(f"{service.health_url}/metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert text.endswith("# EOF\n")


def test_a_thread_that_ended_and_a_heart_that_stopped_are_told(
    lab: Lab, decoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Service(monitored(lab.config(decoder))) as service:
        service.connect()
        assert fetch(f"{service.health_url}/livez") == (200, "alive\n")
        monkeypatch.setattr("rtdecode.service._LATE_HEARTBEAT_S", -1.0)
        code, why = fetch(f"{service.health_url}/livez")
        assert code == 503
        assert why.startswith("not alive: the last heartbeat was")
        service._inference.finish([])
        assert fetch(f"{service.health_url}/livez")[1].startswith(
            "not alive: the thread of inference has ended;"
        )


def test_without_a_port_nobody_listens_and_a_taken_one_is_refused_before_anything_starts(
    lab: Lab,
    decoder: Path,
) -> None:
    with Service(lab.config(decoder)) as service:
        assert service.health_url is None
    with Service(monitored(lab.config(decoder))) as service:
        port = int((service.health_url or "").rpartition(":")[2])
        with (
            pytest.raises(UserError, match=f"cannot listen on 127.0.0.1:{port}"),
            Service(monitored(lab.config(decoder), port)),
        ):
            pass
