"""``rtdecode bench live``: where the milliseconds go between the last sample and the answer."""

from __future__ import annotations

import datetime as dt
import gc
import json
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from rich.console import Console

from replay.processes import folder_for_logs
from rtdecode.decoder import Decoder
from rtdecode.errors import UserError
from rtdecode.keep_awake import kept_awake
from rtdecode.machine import versions
from rtdecode.output import check_writable, write_file
from training.bench.models import write_deep, write_ridge
from training.bench.others import FLOOR, PEER, run_other
from training.bench.phases import run_alone, run_service
from training.bench.sending import Sending
from training.bench.table import live_table, progress
from training.bench.usage import machine
from training.latency import percentiles_ms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PACKAGES = ("rtdecode", "numpy", "scipy", "onnxruntime", "onnxruntime-gpu", "pylsl", "pyzmq", "mne-lsl")
"""Whose versions belong to a result."""

LATE_S = 0.05
"""A trial is missed that takes longer than this beyond the 99th percentile of inference."""

_DEVICES = {"ridge": (64, 1000.0), "deep": (272, 1200.0)}
"""Channels and rate of each model's device, unless told otherwise."""

_RUNS_ALONE = 100


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """What is measured; as the command's options."""

    channels: int | None = None
    rate_hz: float | None = None
    chunk: int = 10
    streams: int = 1
    seconds: float = 600.0
    markers_per_second: float = 5.0
    warmup_trials: int = 20
    decoder: Path | None = None
    model: Literal["ridge", "deep"] = "ridge"
    peer: Literal["mne-lsl"] | None = None
    floor: bool = False
    keep_awake: bool = False


def report(settings: LiveSettings, json_path: Path | None) -> None:
    """Measure, show progress and the table, and write the numbers.

    Raises
    ------
    UserError
        If the settings contradict each other, or a process fails.
    """
    if json_path is not None:
        check_writable(json_path)
    awake = kept_awake() if settings.keep_awake else nullcontext()
    with awake, folder_for_logs("rtdecode-bench-") as folder, progress() as bar:
        result = measure(settings, folder, bar)
    Console().print(live_table(result))
    if json_path is not None:
        write_file(json_path, json.dumps(result, indent=2, allow_nan=False) + "\n")


def measure(
    settings: LiveSettings, folder: Path, bar: Callable[[str, int], Callable[[int], None]]
) -> dict[str, Any]:
    """Run bare onnxruntime, the service, bare onnxruntime again, and what it is to be compared with.

    Parameters
    ----------
    settings
        What is measured.
    folder
        For decoders, configuration, logs.
    bar
        Given a title and a total, starts a progress bar and returns what moves it.

    Returns
    -------
    dict
        See ``docs/benchmarks.md``.
    """
    if (settings.peer is not None or settings.floor) and settings.streams > 1:
        raise UserError("peer and floor are measured with one stream: leave out --streams, or both of them")
    path = _decoder(settings, folder)
    decoder = Decoder(path)
    signal = decoder.manifest.signal
    n_markers = settings.warmup_trials + max(1, round(settings.seconds * settings.markers_per_second))
    sending = Sending.planned(
        signal, n_markers, settings.markers_per_second, chunk=settings.chunk, streams=settings.streams
    )
    # This process receives: a tenth of a second would count as time on the bus, were its collector to look
    # through all that it imported.
    gc.collect()
    gc.freeze()
    n_alone = min(_RUNS_ALONE, n_markers)
    before, cpu_s = run_alone(path, signal, n_alone, bar("onnxruntime alone", n_alone))
    moved = bar("rtdecode serve", n_markers * settings.streams)
    trials, service = run_service(sending, decoder, folder, settings.warmup_trials, moved)
    after, cpu_after_s = run_alone(path, signal, n_alone, bar("onnxruntime alone", n_alone))
    floor = peer = None
    if settings.floor:
        moved = bar("bare loop", n_markers)
        floor = run_other(FLOOR, sending, decoder, folder, settings.warmup_trials, moved)
    if settings.peer is not None:
        moved = bar(settings.peer, n_markers)
        numbers = run_other(PEER, sending, decoder, folder, settings.warmup_trials, moved)
        peer = {"name": settings.peer, **numbers}
    alone = np.concatenate([before, after])
    inference_cpu_s = service.pop("inferences") * (cpu_s + cpu_after_s) / len(alone)
    answered = [(trial, trial.answer) for trial in trials if trial.answer is not None]
    if not answered:
        raise UserError(f"no trial was answered; the service's verdicts: {service['verdicts']}")
    stages = {
        "transport": [answer.stamps.data_arrival - trial.pushed for trial, answer in answered],
        "feed": [answer.stamps.inference_start - answer.stamps.data_arrival for _, answer in answered],
        "seal": [answer.sent_at - answer.stamps.inference_end for _, answer in answered],
        "bus": [answer.received_at - answer.sent_at for _, answer in answered],
    }
    compute = np.array([answer.received_at - trial.pushed for trial, answer in answered])
    inference = np.array([a.stamps.inference_end - a.stamps.inference_start for _, a in answered])
    late = compute > LATE_S + np.percentile(inference, 99)
    drops = len(trials) - len(answered)
    seconds = service.pop("seconds")
    overhead = percentiles_ms(compute - inference)
    compared: dict[str, Any] = {}
    if floor is not None:
        compared = {"floor": floor, "ratio_to_floor_p50": overhead["p50"] / floor["latency_ms"]["p50"]}
    if peer is not None:
        compared |= {"peer": peer, "ratio_p50": peer["latency_ms"]["p50"] / overhead["p50"]}
    return {
        "simulated": True,
        "n": len(trials),
        "misses": int(np.count_nonzero(late)) + drops,
        "drops": drops,
        "misplaced": sum(trial.misplaced for trial in trials),
        "cpu_share": service["cpu_s"] / seconds,
        "cpu_share_without_inference": (service.pop("cpu_s") - inference_cpu_s) / seconds,
        **service,
        "latency_ms": {
            "structural": percentiles_ms([signal.structural_s]),
            "inference": percentiles_ms(inference),
            "bare_inference": percentiles_ms(alone),
            "compute": percentiles_ms(compute),
            "overhead": overhead,
        },
        "stages_ms": {name: percentiles_ms(times) for name, times in stages.items()},
        **compared,
        "warmup_trials": settings.warmup_trials * settings.streams,
        "settings": {
            "channels": len(signal.channels),
            "rate_hz": signal.rate_hz,
            "chunk": settings.chunk,
            "streams": settings.streams,
            "seconds": settings.seconds,
            "markers_per_second": settings.markers_per_second,
            "keep_awake": settings.keep_awake,
            "decoder": decoder.name,
            "provider": decoder.provider,
        },
        "machine": machine(),
        "versions": versions(*PACKAGES),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }


def _decoder(settings: LiveSettings, folder: Path) -> Path:
    if settings.decoder is not None:
        if settings.channels is not None or settings.rate_hz is not None:
            raise UserError(
                "the decoder says how many channels at which rate: leave out --channels and --rate"
            )
        return settings.decoder
    path = folder / "decoder.onnx"
    n_channels, rate_hz = _DEVICES[settings.model]
    write = write_ridge if settings.model == "ridge" else write_deep
    write(path, settings.channels or n_channels, settings.rate_hz or rate_hz)
    return path
