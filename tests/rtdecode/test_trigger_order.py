from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtdecode.trigger_order import TriggerOrder


@dataclass(frozen=True)
class Trigger:
    code: str
    row: int | None  # what it really is; None: no row (an extra trigger)


def as_sent(codes: list[str], faults: dict[int, str], extra: list[str]) -> list[Trigger]:
    """Triggers of a table with ``faults`` by row: missed, extra (before the row) or misread."""
    triggers: list[Trigger] = []
    spare = iter(extra)
    for row, code in enumerate(codes):
        match faults.get(row):
            case "missed":
                continue
            case "extra":
                triggers += [Trigger(next(spare), None), Trigger(code, row)]
            case "misread":
                triggers.append(Trigger(next(spare), row))
            case _:
                triggers.append(Trigger(code, row))
    return triggers


def random_codes(seed: int, n: int, n_codes: int = 256) -> list[str]:
    return [str(code) for code in np.random.default_rng(seed).integers(0, n_codes, n)]


FAULTS = st.sampled_from(["missed", "extra", "misread"])
TABLES = st.builds(
    random_codes, st.integers(0, 2**32 - 1), st.integers(150, 400), st.sampled_from([2, 4, 16, 256])
)


@given(TABLES)
def test_without_faults_the_nth_trigger_is_the_nth_row(codes: list[str]) -> None:
    order = TriggerOrder(codes)
    assert [order.follow(code) for code in codes] == list(range(len(codes)))
    assert order.in_step
    assert order.next_row == len(order)


@given(TABLES, st.data())
def test_after_one_fault_no_row_is_wrong_once_in_step_again(codes: list[str], data: st.DataObject) -> None:
    order = TriggerOrder(codes)
    row = data.draw(st.integers(0, len(codes) - 1), label="row")
    kind = data.draw(FAULTS, label="fault")
    n_missed = data.draw(st.integers(1, order.reach), label="missed") if kind == "missed" else 0
    faults = {row + k: "missed" for k in range(n_missed)} if kind == "missed" else {row: kind}
    triggers = as_sent(codes, faults, [data.draw(st.sampled_from(codes), label="extra code")])

    lost_at: int | None = None
    unseen = 0
    for position, trigger in enumerate(triggers):
        found = order.follow(trigger.code)
        if found is None:
            lost_at = position if lost_at is None else lost_at
        elif lost_at is None:
            unseen += found != trigger.row
        else:
            assert found == trigger.row
    # Before the mismatch shows: at most L rows after a missed trigger, one more for an extra one.
    assert unseen <= order.longest_repeat + 1
    if lost_at is not None and len(triggers) - lost_at > order.agreement:
        assert order.in_step


@given(st.integers(0, 2**32 - 1), st.lists(st.tuples(st.integers(0, 20), FAULTS), max_size=25))
def test_after_many_faults_wrong_rows_are_only_those_that_no_rule_can_see(seed: int, faults) -> None:
    """Faults may follow each other closely; with all codes different within reach none goes unseen."""
    codes = [str(code) for code in np.arange(400) % 251]
    extra = [str(code) for code in np.random.default_rng(seed).integers(0, 251, len(faults))]
    order = TriggerOrder(codes)
    assert (order.longest_repeat, order.agreement, order.unnoticed) == (0, 3, 0.0)
    rows: dict[int, str] = {}
    row = 0
    for gap, kind in faults:
        row += gap + order.agreement + 1  # every window of the rule sees one fault at most
        rows[row] = kind
    wrong = [
        trigger
        for trigger in as_sent(codes, rows, extra)
        if (found := order.follow(trigger.code)) is not None and found != trigger.row
    ]
    assert all(trigger.row is None for trigger in wrong)  # an extra trigger that has just the expected code


def test_step_is_found_again_when_the_service_joins_late() -> None:
    codes = random_codes(1, 300)
    order = TriggerOrder(codes)
    found = [order.follow(code) for code in codes[60:]]
    assert found[: order.agreement - 1] == [None] * (order.agreement - 1)
    assert found[order.agreement - 1 :] == list(range(60 + order.agreement - 1, 300))


def test_beyond_its_reach_the_stimulus_stays_unknown() -> None:
    codes = random_codes(2, 1000)
    order = TriggerOrder(codes)
    found = [order.follow(code) for code in codes[:10] + codes[10 + order.reach + 1 :]]
    assert set(found[10:]) == {None}


def test_triggers_after_the_last_row_are_unknown() -> None:
    order = TriggerOrder(["1", "2", "3", "4"])
    assert [order.follow(code) for code in "1234111222"] == [0, 1, 2, 3] + [None] * 6


@pytest.mark.parametrize(
    ("codes", "reach", "longest_repeat"),
    [
        ([str(n % 256) for n in range(2000)], 127, 0),  # the id modulo 256: one period is out of reach
        ([str(n % 10) for n in range(2000)], 4, 0),
        (["1"] * 50, 1, 49),
        (["1"], 128, 0),
    ],
)
def test_reach_and_agreement_follow_from_the_table(codes: list[str], reach: int, longest_repeat: int) -> None:
    order = TriggerOrder(codes)
    assert (order.reach, order.longest_repeat) == (reach, longest_repeat)
    assert order.agreement == max(3, 2 * longest_repeat + 2)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=60))
def test_no_run_longer_than_the_longest_repeat_occurs_twice_within_reach(codes: list[str]) -> None:
    order = TriggerOrder(codes)
    n = order.longest_repeat + 1
    runs = [tuple(codes[k : k + n]) for k in range(len(codes) - n + 1)]
    for lag in range(1, 2 * order.reach + 1):
        assert all(a != b for a, b in zip(runs, runs[lag:], strict=False))


def test_the_residual_risk_with_8_bit_codes_is_what_chance_says() -> None:
    rng = np.random.default_rng(7)
    codes = random_codes(7, 22_248)
    order = TriggerOrder(codes)
    kinds = rng.choice(["missed", "extra", "misread", ""], len(codes), p=[0.01, 0.01, 0.01, 0.97])
    faults = {row: str(kind) for row, kind in enumerate(kinds) if kind}
    triggers = as_sent(codes, faults, random_codes(8, len(faults)))
    found = [order.follow(trigger.code) for trigger in triggers]
    wrong = sum(row is not None and row != trigger.row for row, trigger in zip(found, triggers, strict=True))
    unknown = sum(row is None for row in found)
    assert order.agreement in {6, 8}
    assert wrong <= 4 * len(faults) / 256
    assert unknown < (order.agreement + 1) * len(faults)
    assert order.in_step
