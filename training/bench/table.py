"""The results of a measurement, for people to read."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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

_WAYS = {
    "rtdecode": "rtdecode",
    "mne": "MNE",
    "mne-iir": "MNE, IIR",
}


@contextmanager
def progress(
    said: str = "SIMULATED signals over loopback: latencies, no decoding",
) -> Iterator[Callable[[str, int], Callable[[int], None]]]:
    """Progress bars on standard error, and the word that all is simulated.

    Parameters
    ----------
    said
        That word.

    Yields
    ------
    Given a title and a total, starts a bar and returns what moves it. It is drawn only then: drawing must not
    take the receiving thread's time when an answer comes.
    """
    console = Console(stderr=True)
    console.print(f"[yellow]{said}[/yellow]", highlight=False)
    columns = (TextColumn("{task.description:<24}"), BarColumn(), TimeElapsedColumn())
    disable = not console.is_terminal
    with Progress(*columns, console=console, auto_refresh=False, disable=disable) as bars:

        def bar(title: str, total: int) -> Callable[[int], None]:
            task = bars.add_task(title, total=total)
            return lambda done: bars.update(task, completed=done, refresh=True)

        yield bar


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
    if "floor" in result:
        table.add_row("bare loop", *_numbers(result["floor"]["latency_ms"]), "its overhead: the floor")
    if "peer" in result:
        peer = result["peer"]
        table.add_row(peer["name"], *_numbers(peer["latency_ms"]), "its overhead")
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
    if "floor" in result:
        lines.append(
            f"A bare loop: our overhead is {result['ratio_to_floor_p50']:.2f} times its own at p50; it used "
            f"{result['floor']['cpu_share']:.1%} of one core, inference included."
        )
    if "peer" in result:
        peer = result["peer"]
        lines.append(
            f"{peer['name']}: {result['ratio_p50']:.1f} times the overhead at p50, {peer['drops']} drops, "
            f"{peer['cpu_share']:.1%} of one core."
        )
    return "\n".join(lines)


def soak_tables(result: dict[str, Any]) -> list[Table]:
    """Tables of ``bench soak``'s result: what must hold, and latency over the run."""
    bars = _bars(result, f"rtdecode bench soak (SIMULATED): {result['settings']['minutes']:g} minutes")
    latency = Table("from", "trials", "compute p50", "p99", "overhead p50", "p99 ms", title="Latency")
    for one in result["latency"]:
        compute, overhead = one["compute_ms"], one["overhead_ms"]
        latency.add_row(
            f"{one['from_s'] / 60:.1f} min",
            str(one["n"]),
            *(f"{group[key]:.2f}" for group in (compute, overhead) for key in ("p50", "p99")),
        )
    return [bars, latency]


def prepare_tables(result: dict[str, Any]) -> list[Table]:
    """Tables of ``bench prepare``'s result: what each way took, and what must hold."""
    recording = result["recording"]
    taken = Table(
        "disk to disk",
        "s",
        "range",
        "ratio",
        "CPU s",
        "ratio",
        "peak MiB",
        "windows",
        title=f"rtdecode bench prepare (SIMULATED): {recording['minutes']:g} minutes of "
        f"{recording['channels']} channels at {recording['rate_hz']:g} Hz",
        title_justify="left",
    )
    for name, one in result["ways"].items():
        taken.add_row(
            _WAYS[name],
            f"{one['seconds']:.2f}",
            f"{min(one['runs_s']):.3g}–{max(one['runs_s']):.3g}",
            f"{result['ratios'].get(name, 1.0):.1f}",
            f"{one['cpu_s']:.2f}",
            f"{result['cpu_ratios'].get(name, 1.0):.1f}",
            f"{one['peak_rss_mb']:.0f}",
            str(one["windows"]),
        )
    return [taken, _bars(result, None)]


def ridge_tables(result: dict[str, Any]) -> list[Table]:
    """Tables of ``bench ridge``'s result: what each solver took, and what must hold."""
    settings = result["settings"]
    taken = Table(
        "solver",
        "s",
        "range",
        "CPU s",
        "peak MiB",
        "penalties chosen",
        title=f"rtdecode bench ridge: {settings['n']} x {settings['p']} samples x features, "
        f"{settings['targets']} targets (himalaya's backend: {result['himalaya_backend']})",
        title_justify="left",
    )
    for name, one in result["solvers"].items():
        taken.add_row(
            name,
            f"{one['seconds']:.2f}",
            f"{min(one['runs_s']):.1f}–{max(one['runs_s']):.1f}",
            f"{one['cpu_s']:.1f}",
            f"{one['peak_mb']:.0f}",
            f"{one['penalties']:.3g}",
        )
    return [taken, _bars(result, None)]


def _bars(result: dict[str, Any], title: str | None) -> Table:
    bars = Table("what must hold", "", "found", title=title, title_justify="left")
    for name, bar in result["bars"].items():
        bars.add_row(name, "[green]yes[/green]" if bar["held"] else "[red]no[/red]", bar["found"])
    return bars
