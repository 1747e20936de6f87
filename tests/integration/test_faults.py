"""Whatever goes wrong: no crash, every request accounted for, no wrong window, and trials again afterwards.

Each case goes over real LSL into a service in this process; several at once, as most of the time is waiting.
"""

from __future__ import annotations

import logging
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from fault_cases import CASES
from fault_lab import RATE_HZ, WINDOW, Case, index_session, live_through

from replay.faults import KINDS, parse_fault
from rtdecode.contracts import AlarmCode, Fate, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fault_lab import Outcome

LOST = AlarmCode.LOST
AT_ONCE = 6
DELIVERY_S = 0.2
DOCUMENT = Path(__file__).parents[2] / "docs" / "faults.md"


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Outcome]:
    """What came of each case that is to be looked at."""
    wanted = {
        item.callspec.params["case"]
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.module is request.module and hasattr(item, "callspec")
    }
    folder = tmp_path_factory.mktemp("faults")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {case.name: pool.submit(live_through, case, folder) for case in CASES if case in wanted}
        return {name: future.result() for name, future in running.items()}


@pytest.mark.timeout(300)  # the first one waits for all
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_request_is_lost_no_window_wrong_and_trials_come_again(
    case: Case, outcomes: Mapping[str, Outcome]
) -> None:
    outcome = outcomes[case.name]
    accounts = outcome.accounts
    assert accounts is not None
    assert accounts.n_open == 0
    accepted = accounts.markers[Fate.ACCEPTED]
    assert accepted == sum(accounts.requests.values()) == len(outcome.said)
    heard = [marker.label for marker in outcome.markers]
    if LOST not in case.alarms or "marker" not in case.name:
        assert heard == outcome.sent[: len(heard)]
    first, last = WINDOW
    for said in outcome.emitted:
        assert said.window is not None
        assert said.window[1] - said.window[0] == last - first, f"{said} is not of one piece"
        assert abs(said.window[0] - first - said.onset) <= case.within, said
    over = case.over
    if case.gone_at is not None:
        over = min(said.at for said in outcome.emitted if said.at > case.gone_at)
    ended = {Verdict.EMITTED, Verdict.SHUTDOWN}
    between = [said for said in outcome.said if case.begins - last / RATE_HZ - DELIVERY_S <= said.at]
    if case.recovers:
        between = [said for said in between if said.at < over - first / RATE_HZ]
    others = [said for said in outcome.said if said not in between]
    assert not [said for said in others if said.verdict not in ended]
    assert {said.verdict for said in between} - ended == case.verdicts
    assert {alarm.code for alarm in outcome.alarms if alarm.active} == case.alarms
    for name, value in case.quality.items():
        said_of = [getattr(said.message.quality, name) for said in between if said.message is not None]
        assert value in said_of
    for said in others if case.quality else ():
        assert said.message is None or not any(getattr(said.message.quality, name) for name in case.quality)
    if case.recovers:
        assert any(said.at >= over for said in outcome.emitted)


def test_the_bursts_of_a_real_headset_move_no_window(data_dir: Path, tmp_path: Path) -> None:
    path = sorted((data_dir / "eeg_muse" / "N170").glob("*.csv"))[0]
    stamps = np.loadtxt(path, delimiter=",", skiprows=1, usecols=0, max_rows=5000)
    case = Case("headset", ("gap:at=3,for=0.5",), 3, 6, enough=20)
    outcome = live_through(case, tmp_path, index_session(stamps))
    off = [said.window[0] - WINDOW[0] - said.onset for said in outcome.emitted if said.window is not None]
    assert max(np.abs(off)) <= 1
    later = [said for said in outcome.said if said.at > 6]
    assert {said.verdict for said in later} <= {Verdict.EMITTED, Verdict.SHUTDOWN}
    assert {said.verdict for said in outcome.said} >= {Verdict.EMITTED, Verdict.GAP}


def test_every_kind_of_fault_is_in_the_matrix() -> None:
    assert {parse_fault(text).kind for case in CASES for text in case.faults} == set(KINDS)
    assert len(CASES) > 25


def test_the_table_of_the_documentation_is_this_matrix() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|\n ").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    told = {row[0].strip("`"): row[1:] for row in rows}
    assert list(told) == [case.name for case in CASES]
    for case in CASES:
        faults, verdicts, alarms, *_ = told[case.name]
        assert re.findall(r"`([^`]+)`", faults) == list(case.faults)
        assert set(re.findall(r"\w+", verdicts)) == {verdict.value for verdict in case.verdicts}
        assert set(re.findall(r"\w+", alarms)) == {alarm.value for alarm in case.alarms}


def test_the_service_logs_that_a_stream_is_faulty_on_purpose(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        live_through(Case("logged", ("marker-missing",), over=1), tmp_path)
    assert "stream eeg is faulty on purpose: marker-missing; seed=7" in caplog.text
