"""Both ledgers reconcile, always, and a request cannot end twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.contracts import Fate, Request, Verdict
from rtdecode.signal.ledger import Ledger, LedgerError


def request(index: int, decoder: str = "linear") -> Request:
    return Request(stream="eeg", segment=0, origin="marker", index=index, decoder=decoder)


@settings(max_examples=100, deadline=None)
@given(
    markers=st.lists(st.sampled_from(list(Fate)), max_size=30),
    verdicts=st.lists(st.none() | st.sampled_from(list(Verdict)), max_size=30),
    n_decoders=st.integers(1, 3),
)
def test_what_was_opened_is_what_was_answered_and_what_is_open(
    markers: list[Fate], verdicts: list[Verdict | None], n_decoders: int
) -> None:
    ledger = Ledger()
    for fate in markers:
        ledger.admit(fate)
    n_opened = 0
    for index, verdict in enumerate(verdicts):
        for decoder in range(n_decoders):
            ledger.open(request(index, str(decoder)))
            n_opened += 1
            if verdict is not None:
                ledger.close(request(index, str(decoder)), verdict)
    accounts = ledger.accounts()
    assert accounts.markers == {fate: markers.count(fate) for fate in Fate}
    assert accounts.requests == {verdict: n_decoders * verdicts.count(verdict) for verdict in Verdict}
    assert accounts.n_open == n_decoders * verdicts.count(None) == len(ledger.open_requests)
    assert n_opened == sum(accounts.requests.values()) + accounts.n_open


def test_a_second_verdict_is_refused_and_changes_nothing() -> None:
    ledger = Ledger()
    ledger.open(request(0))
    ledger.close(request(0), Verdict.EMITTED)
    with pytest.raises(LedgerError, match="answered before"):
        ledger.close(request(0), Verdict.LATE)
    assert ledger.accounts().requests[Verdict.EMITTED] == 1
    assert ledger.accounts().requests[Verdict.LATE] == 0


def test_a_request_that_was_never_opened_cannot_end() -> None:
    with pytest.raises(LedgerError, match="never opened"):
        Ledger().close(request(0), Verdict.EMITTED)


def test_a_request_cannot_be_opened_twice() -> None:
    ledger = Ledger()
    ledger.open(request(0))
    with pytest.raises(LedgerError, match="opened twice"):
        ledger.open(request(0))


def test_requests_of_two_decoders_for_one_marker_are_two() -> None:
    ledger = Ledger()
    ledger.open(request(0, "early"))
    ledger.open(request(0, "late"))
    assert ledger.open_requests == {request(0, "early"), request(0, "late")}
