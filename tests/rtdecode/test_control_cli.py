from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from rtdecode.bus import Broker, NoAnswerError
from rtdecode.contracts import (
    Accounts,
    BadChannels,
    ControlReply,
    ControlRequest,
    Fate,
    StatusMessage,
    StreamStatus,
    Verdict,
)
from rtdecode.control_cli import control
from rtdecode.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATUS = StatusMessage(
    simulated=True,
    state="live",
    accounts=Accounts(markers={Fate.ACCEPTED: 4}, requests={Verdict.EMITTED: 3, Verdict.LATE: 0}, n_open=1),
    streams={
        "eeg": StreamStatus(
            state="stale",
            reason="its newest sample is 3.0 s old",
            age_s=3.0,
            reconnects=2,
            flushed_samples=70,
            bridged_samples=80,
            clock_offset_s=0.0015,
            clock_uncertainty_s=0.0001,
        )
    },
    providers={"index": "CPUExecutionProvider"},
    delays={},
    alarms=("stream eeg: [stale]",),
    queues={"windows": 5},
)


class Service:
    """Answers as a service does, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[ControlRequest] = []

    def answer(self, request: ControlRequest) -> ControlReply:
        self.asked.append(request)
        if request.bad_channels is not None and "Xz" in request.bad_channels.channels:
            return ControlReply(ok=False, error="stream 'eeg' has no channel Xz")
        return ControlReply(ok=True, status=STATUS)

    def control(self, *arguments: object) -> Result:
        port = self.endpoint.rpartition(":")[2]
        words = [*map(str, arguments), "--control-port", port]
        return CliRunner().invoke(control, words, catch_exceptions=False)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with Broker("127.0.0.1", 0, 0, 0, service.answer, clock=lambda: 0.0) as broker:
        service.endpoint = broker.endpoints.control
        yield service


def test_the_status_is_a_table_for_people(service: Service) -> None:
    shown = service.control("status").output
    for words in (
        "live, SIMULATED",
        "4 accepted",
        "3 emitted; 1 open",
        "index on CPUExecutionProvider",
        "5 windows",
        "stream eeg: [stale]",
        "+1.500 ms ± 0.100",
        "eeg: its newest sample is 3.0 s old",
    ):
        assert words in shown
    (row,) = (line.split() for line in shown.splitlines() if line.startswith("eeg  "))
    assert row[:6] == ["eeg", "stale", "3.00", "s", "2×", "70"]


def test_the_status_as_json_is_the_message(service: Service, tmp_path: Path) -> None:
    assert StatusMessage.model_validate_json(service.control("status", "--json", "-").output) == STATUS
    service.control("status", "--json", tmp_path / "s.json")
    written = (tmp_path / "s.json").read_text(encoding="utf-8")
    assert StatusMessage.model_validate_json(written) == STATUS


def test_it_stops_the_service(service: Service) -> None:
    assert "stops" in service.control("stop").output
    assert [request.op for request in service.asked] == ["stop"]


def test_it_declares_channels_bad_and_takes_it_back(service: Service) -> None:
    assert "Cz, Pz" in service.control("bad-channels", "eeg", "Cz", "Pz").output
    assert "none" in service.control("bad-channels", "eeg").output
    assert [request.bad_channels for request in service.asked] == [
        BadChannels(stream="eeg", channels=("Cz", "Pz")),
        BadChannels(stream="eeg", channels=()),
    ]


def test_a_declaration_that_is_declined_is_one_line(service: Service) -> None:
    with pytest.raises(UserError, match="has no channel Xz"):
        service.control("bad-channels", "eeg", "Xz")


def test_the_variable_that_moved_the_service_moves_its_clients(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RTDECODE_BUS__CONTROL_PORT", service.endpoint.rpartition(":")[2])
    assert "stops" in CliRunner().invoke(control, ["stop"], catch_exceptions=False).output


def test_no_service_is_one_line() -> None:
    with pytest.raises(NoAnswerError, match=r"rtdecode serve.*--control-port"):
        CliRunner().invoke(control, ["stop", "--control-port", "9"], catch_exceptions=False)
