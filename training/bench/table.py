"""The results of a measurement, for people to read."""

from __future__ import annotations

from typing import Any

from rich.table import Table

_MEANING = {
    "structural": "window's end and filter delay",
    "compute": "push of the last sample to receipt",
    "inference": "the decoder in the service",
    "bare_inference": "onnxruntime alone, same file",
    "overhead": "compute minus inference",
    "transport": "push to the chunk's arrival",
    "feed": "arrival to the decoder's start",
    "seal": "decoder's end to the sealed message",
    "bus": "sealed message to receipt",
}


def live_table(result: dict[str, Any]) -> Table:
    """Table of ``bench live``'s result."""
    settings = result["settings"]
    table = Table(
        "ms",
        "p50",
        "p95",
        "p99",
        "max",
        "what",
        title=f"rtdecode bench live (SIMULATED): {settings['streams']} x {settings['channels']} channels at "
        f"{settings['rate_hz']:g} Hz, chunks of {settings['chunk']}, decoder {settings['decoder']}",
        title_justify="left",
        caption=_caption(result),
        caption_justify="left",
    )
    for group in ("latency_ms", "stages_ms"):
        for name, one in result[group].items():
            table.add_row(name.replace("_", " "), *_numbers(one), _MEANING[name])
        table.add_section()
    if "peer" in result:
        peer = result["peer"]
        table.add_row(peer["name"], *_numbers(peer["latency_ms"]), "its overhead, without publishing")
    return table


def _numbers(one: dict[str, float]) -> list[str]:
    return [f"{one[key]:.2f}" for key in ("p50", "p95", "p99", "max")]


def _caption(result: dict[str, Any]) -> str:
    lines = [
        f"{result['n']} trials after {result['warmup_trials']} discarded as warm-up: "
        f"{result['misses']} misses, {result['drops']} drops, {result['misplaced']} misplaced.",
        f"The service used {result['cpu_share']:.1%} of one core, "
        f"{result['cpu_share_without_inference']:.1%} without inference, and {result['rss_mb']:.0f} MB. "
        f"The sender was at most {result['sender_late_ms']['max']:.1f} ms late "
        f"(p99 {result['sender_late_ms']['p99']:.2f}).",
    ]
    if "peer" in result:
        peer = result["peer"]
        lines.append(
            f"{peer['name']}: {result['ratio_p50']:.1f} times the overhead at p50, {peer['drops']} drops, "
            f"{peer['cpu_share']:.1%} of one core."
        )
    return "\n".join(lines)
