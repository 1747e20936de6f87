"""``rtdecode bench soak``: half an hour as in a lab, and whether what goes wrong there leaves a mark."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from replay.processes import folder_for_logs
from rtdecode.decoder import Decoder
from rtdecode.errors import UserError
from rtdecode.machine import versions
from rtdecode.output import check_writable, write_file
from training.bench.lab import run_lab
from training.bench.live import PACKAGES
from training.bench.models import write_ridge
from training.bench.sending import Sending
from training.bench.table import progress, soak_tables
from training.bench.usage import machine
from training.latency import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.bench.lab import Seen
    from training.bench.phases import Answer

_OUTAGES = (0.3, 0.7)
"""When the source goes away, as shares of the run."""

_SETTLE_S = 300.0
_SLICE_S = 300.0
_AVERAGED_S = 60.0
"""Memory is compared as the median over so long."""


@dataclass(frozen=True, slots=True)
class SoakSettings:
    """What is run, and what must hold; as the command's options."""

    minutes: float = 30.0
    markers_per_second: float = 2.0
    outage_s: float = 5.0
    decoder: Path | None = None
    journal: Path | None = None
    max_growth_percent: float = 2.0
    max_drift_percent: float = 25.0


def report(settings: SoakSettings, json_path: Path | None) -> bool:
    """Run, show what held and what did not, and write the numbers; returns whether all held.

    Raises
    ------
    UserError
        If the service or the sender fails.
    """
    if json_path is not None:
        check_writable(json_path)
    with folder_for_logs("rtdecode-soak-") as folder, progress() as bar:
        result = soak(settings, folder, bar)
    console = Console()
    for table in soak_tables(result):
        console.print(table)
    if json_path is not None:
        write_file(json_path, json.dumps(result, indent=2, allow_nan=False) + "\n")
    return all(bar["held"] for bar in result["bars"].values())


def soak(
    settings: SoakSettings, folder: Path, bar: Callable[[str, int], Callable[[int], None]]
) -> dict[str, Any]:
    """Run the service and its workers at real time, break what breaks in a lab, and look what is left of it.

    Parameters
    ----------
    settings
        What is run.
    folder
        For configuration, decoder and logs.
    bar
        Given a title and a total, starts a progress bar and returns what moves it.

    Returns
    -------
    dict
        ``bars``: what must hold, with what was found; and the numbers behind.
    """
    path = settings.decoder
    if path is None:
        path = folder / "decoder.onnx"
        write_ridge(path, 64, 1000.0)
    decoder = Decoder(path)
    sending = _plan(settings, decoder)
    n_seconds = round(sending.n_samples / sending.rate_hz)
    seen = run_lab(sending, decoder, folder, bar("seconds", n_seconds), journal=settings.journal)
    return _result(settings, sending, seen)


def _plan(settings: SoakSettings, decoder: Decoder) -> Sending:
    n_trials = max(1, round(60 * settings.minutes * settings.markers_per_second))
    sending = Sending.planned(decoder.manifest.signal, n_trials, settings.markers_per_second)
    lasts = round(settings.outage_s * sending.rate_hz)
    starts = [round(share * sending.n_samples) for share in _OUTAGES]
    return sending.model_copy(update={"outages": tuple((start, start + lasts) for start in starts)})


def _result(settings: SoakSettings, sending: Sending, seen: Seen) -> dict[str, Any]:
    answered = [
        (trial.pushed, trial.answer.received_at - trial.pushed, trial.answer)
        for trial in seen.trials
        if trial.answer is not None
    ]
    if not answered:
        raise UserError(f"no trial was answered; the service's verdicts: {dict(seen.heard.verdicts)}")
    first = answered[0][0]
    slices: dict[int, list[tuple[float, Answer]]] = {}
    for pushed, compute, answer in answered:
        slices.setdefault(int((pushed - first) / _slice_s(settings)), []).append((compute, answer))
    latencies: list[dict[str, Any]] = []
    for index, group in sorted(slices.items()):
        overhead = [
            compute - (answer.stamps.inference_end - answer.stamps.inference_start)
            for compute, answer in group
        ]
        latencies.append(
            {
                "from_s": index * _slice_s(settings),
                "n": len(group),
                "compute_ms": percentiles_ms([compute for compute, _ in group]),
                "overhead_ms": percentiles_ms(overhead),
            }
        )
    settled, last, growth = _growth(seen.memory)
    early, late = latencies[min(1, len(latencies) - 1)], latencies[-1]
    drift = 100 * (late["compute_ms"]["p50"] / early["compute_ms"]["p50"] - 1)
    faults = _ledger_faults(sending, seen)
    misplaced = sum(trial.misplaced for trial in seen.trials)
    returned = [
        any(trial.answer and trial.last_sample > stop for trial in seen.trials if trial.last_sample < until)
        for (_, stop), until in zip(
            sending.outages, [*(start for start, _ in sending.outages[1:]), sending.n_samples], strict=True
        )
    ]
    return {
        "simulated": True,
        "bars": {
            "both ledgers reconcile": _bar(not faults, "; ".join(faults) or "they do"),
            "no window is wrong": _bar(not misplaced, f"{misplaced} wrong"),
            "no message is lost": _bar(not seen.lost, f"{seen.lost} lost, {seen.repaired} repaired"),
            "the source comes back": _bar(all(returned), f"{sum(returned)} of {len(returned)} times"),
            "the workers come back": _bar(all(seen.workers.values()), _names(seen.workers)),
            f"memory grows by less than {settings.max_growth_percent:g} %": _bar(
                growth < settings.max_growth_percent,
                f"{growth:+.2f} % ({settled:.1f} to {last:.1f} MB)",
            ),
            f"latency drifts by less than {settings.max_drift_percent:g} %": _bar(
                drift < settings.max_drift_percent, f"{drift:+.1f} % (p50 of compute)"
            ),
        },
        "ledgers": seen.ledger,
        "heard": {"markers": dict(seen.heard.markers), "verdicts": dict(seen.heard.verdicts)},
        "rss_mb": {"settled": settled, "end": last, "max": max(rss for _, rss in seen.memory)},
        "rss_growth_percent": growth,
        "latency": latencies,
        "lost_messages": seen.lost,
        "repaired_messages": seen.repaired,
        "retrievals": len(seen.heard.retrievals),
        "sender_late_ms": percentiles_ms(seen.sender_late),
        "settings": {
            key: str(value) if isinstance(value, Path) else value for key, value in asdict(settings).items()
        },
        "machine": machine(),
        "versions": versions(*PACKAGES),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _ledger_faults(sending: Sending, seen: Seen) -> list[str]:
    """What does not add up between the sender, the service's books and what was heard."""
    markers, requests = seen.ledger["markers"], seen.ledger["requests"]
    heard = seen.heard
    sums = [
        ("markers sent", len(sending.onsets), "in the ledger", sum(markers.values())),
        ("markers accepted", markers["accepted"], "verdicts", sum(requests.values())),
        ("requests open", seen.ledger["n_open"], "to be open", 0),
        ("verdicts", sum(requests.values()), "heard", heard.verdicts.total()),
        ("markers in the ledger", sum(markers.values()), "heard", heard.markers.total()),
        ("emitted", requests.get("emitted", 0), "embeddings heard", len(heard.embeddings)),
    ]
    return [f"{one} {what}, {other} {against}" for what, one, against, other in sums if one != other]


def _growth(memory: list[tuple[float, float]]) -> tuple[float, float, float]:
    """Resident memory once settled and at the end, MiB, and the growth between, percent."""
    begin, end = memory[0][0], memory[-1][0]
    lasts = end - begin
    settled_at, averaged = begin + min(_SETTLE_S, lasts / 2), min(_AVERAGED_S, lasts / 4)
    settled = float(np.median([rss for at, rss in memory if settled_at <= at <= settled_at + averaged]))
    last = float(np.median([rss for at, rss in memory if at >= end - averaged]))
    return settled, last, 100 * (last / settled - 1)


def _slice_s(settings: SoakSettings) -> float:
    """Slices of five minutes, or thirds of a short run."""
    return min(_SLICE_S, 60 * settings.minutes / 3)


def _bar(held: bool, found: str) -> dict[str, Any]:
    return {"held": held, "found": found}


def _names(workers: dict[str, bool]) -> str:
    return ", ".join(f"{name}: {'yes' if back else 'no'}" for name, back in workers.items())
