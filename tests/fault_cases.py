"""The fault matrix: what goes wrong in each case, and what must come of it. docs/faults.md is its table."""

from __future__ import annotations

from fault_lab import RATE_HZ, Case

from rtdecode.contracts import AlarmCode, Verdict

GAP, TIMEOUT, LATE = frozenset({Verdict.GAP}), frozenset({Verdict.TIMEOUT}), frozenset({Verdict.LATE})
LOST, STALE, REFUSED, CLOCK = AlarmCode.LOST, AlarmCode.STALE, AlarmCode.REFUSED, AlarmCode.CLOCK


def _changed(name: str, fault: str) -> Case:
    """The stream comes back changed, so that it is refused, and then as it was."""
    faults = (fault, "disconnect:at=6,for=0.5")
    return Case(name, faults, 1, gone_at=1, verdicts=GAP, alarms=frozenset({LOST, REFUSED}))


CASES = (
    Case("nothing", ()),
    # samples
    Case("drop", ("drop:share=0.02,at=1,for=1",), 1, 2, verdicts=GAP),
    Case("drop-jitter", ("drop:share=0.02,at=1,for=1", "jitter:sd_ms=1"), 1, 3, verdicts=GAP),
    Case("gap", ("gap:at=1,for=0.5",), 1, 1.5, verdicts=GAP),
    Case("gap-short", ("gap:at=1,for=0.05",), 1, 1.4, verdicts=GAP),
    Case("gap-filter", ("gap:at=1.5,for=0.5",), 0, 2.5, warmup_s=0.5, verdicts=GAP | {Verdict.WARMING_UP}),
    Case(
        "gap-marked",
        ("gap:at=1,for=0.05",),
        1,
        1.05,
        service={"gap_policy": "mark", "gap_s": 0.01},
        quality={"bridged_samples": 13},
    ),
    Case(
        "gap-interpolated",
        ("gap:at=1,for=0.05",),
        1,
        1.05,
        service={"gap_policy": "interpolate", "gap_s": 0.01},
        quality={"bridged_samples": 13},
    ),
    Case("nan", ("nan:channel=CH1,at=1,for=0.5",), 1, 1.5, quality={"nan_channels": ("CH1",)}),
    Case(
        "nan-rejected",
        ("nan:channel=CH1,at=1,for=0.5",),
        1,
        1.5,
        section={"reject_bad_channels": 0},
        verdicts=frozenset({Verdict.ARTEFACT}),
    ),
    Case("flat", ("flat:channel=CH1,at=1,for=0.5",), 1, 1.5, quality={"flat_channels": ("CH1",)}),
    Case("railed", ("railed:channel=CH1,at=1,for=0.5",), 1, 1.5, quality={"railed_channels": ("CH1",)}),
    Case(
        "out-of-range",
        ("out-of-range:channel=CH1,at=1,for=0.5",),
        1,
        1.5,
        quality={"out_of_range_channels": ("CH1",)},
    ),
    # time
    Case("stall", ("stall:at=1,for=0.7",), over=2),
    Case(
        "stall-long",
        ("stall:at=1,for=3",),
        1,
        4,
        verdicts=TIMEOUT,
        alarms=frozenset({STALE}),
        service={"stale_s": 1.0},
    ),
    Case("jitter", ("jitter:sd_ms=2",), over=2, within=1, enough=20),
    Case("bursts", ("bursts:n=12,scatter_ms=5",), over=2, within=1, verdicts=GAP, enough=20),
    Case("drift", ("drift:ppm=100",), over=2),
    Case("clock-reset", ("clock-reset:at=1",), 1, 2, verdicts=GAP, alarms=frozenset({STALE})),
    Case(
        "clock-reset-alone",
        ("clock-reset:at=1,markers=stay",),
        1,
        verdicts=GAP,
        alarms=frozenset({STALE, CLOCK}),
        recovers=False,
    ),
    Case("jump-ahead", ("jump:at=1,by_s=3,for=1",), 1, 5, verdicts=GAP, alarms=frozenset({STALE, CLOCK})),
    Case("jump-back", ("jump:at=5,by_s=-3,for=1",), 5, 6, verdicts=GAP, alarms=frozenset({STALE, CLOCK})),
    Case("jump-small", ("jump:at=1,by_s=0.5,for=1",), 1, 2.5, verdicts=GAP, alarms=frozenset({CLOCK})),
    Case("jump-stays", ("jump:at=1,by_s=0.5",), 1, verdicts=GAP, alarms=frozenset({CLOCK}), recovers=False),
    Case(
        "jump-stays-back",
        ("jump:at=1,by_s=-0.5",),
        1,
        verdicts=GAP,
        alarms=frozenset({CLOCK}),
        recovers=False,
    ),
    Case(
        "equal-stamps", ("equal-stamps",), over=2, within=1, verdicts=GAP, stream={"delay_s": 4.5 / RATE_HZ}
    ),
    Case("rate", ("rate:factor=1.002",), over=4),
    Case(
        "rate-wrong",
        ("rate:factor=1.02",),
        over=10,
        within=1,
        verdicts=GAP,
        alarms=frozenset({AlarmCode.RATE}),
        recovers=False,
    ),
    # the connection
    Case("disconnect", ("disconnect:at=1,for=0.5",), 1, gone_at=1, verdicts=GAP, alarms=frozenset({LOST})),
    Case("reorder", ("reorder:at=1,for=0.5",), 1, gone_at=1, verdicts=GAP, alarms=frozenset({LOST})),
    _changed("missing", "missing:at=1,for=0.5,channel=CH2"),
    _changed("rename", "rename:at=1,for=0.5,channel=CH2,to=X"),
    Case(
        "unit",
        ("unit:at=1,for=0.5,channel=CH0,unit=uV",),
        1,
        gone_at=1,
        verdicts=GAP,
        alarms=frozenset({LOST}),
    ),
    _changed("unit-other", "unit:at=1,for=0.5,channel=CH2,unit=T"),
    _changed("new-rate", "new-rate:at=1,for=0.5,hz=512"),
    Case("marker-disconnect", ("marker-disconnect:at=1,for=0.5",), 1, gone_at=1, alarms=frozenset({LOST})),
    # markers
    Case("marker-duplicate", ("marker-duplicate",), over=1),
    Case("marker-missing", ("marker-missing",), over=1),
    Case("marker-late", ("marker-late:by_s=1",), over=1),
    Case("marker-too-late", ("marker-late:by_s=12,share=1,at=1,for=0.5",), 1, 13, verdicts=LATE),
    Case("marker-early", ("marker-early:by_s=0.5",), over=1),
    Case("marker-order", ("marker-order",), over=1),
    Case("marker-equal", ("marker-equal",), over=1),
    # several at once
    Case(
        "bad-day",
        (
            "jitter:sd_ms=1",
            "gap:at=2,for=0.3",
            "nan:channel=CH1,at=3,for=0.2",
            "marker-duplicate:share=0.2",
            "disconnect:at=4,for=0.5",
        ),
        2,
        gone_at=4,
        within=1,
        verdicts=GAP,
        alarms=frozenset({LOST}),
    ),
)
