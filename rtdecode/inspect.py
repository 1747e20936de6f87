"""``rtdecode inspect``: a decoder's manifest as a person wants to read it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from rtdecode.contracts import IirSos
from rtdecode.decoder import Decoder
from rtdecode.output import write_file

if TYPE_CHECKING:
    from rtdecode.contracts import DecoderManifest, FrontEndStep, SignalContract


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the manifest here as JSON; - is the screen.",
)
def inspect(path: Path, json_path: Path | None) -> None:
    """Print the manifest of the decoder at PATH: what it needs, what it gives, where it comes from."""
    decoder = Decoder(path)
    text = decoder.manifest.model_dump_json(indent=2) + "\n"
    if json_path == Path("-"):
        click.echo(text, nl=False)
        return
    Console().print(_summary(decoder))
    if json_path is not None:
        write_file(json_path, text)


def _summary(decoder: Decoder) -> Table:
    manifest = decoder.manifest
    title = f"{manifest.name}  [yellow]SIMULATED DATA[/yellow]" if manifest.simulated else manifest.name
    table = Table(title=title, show_header=False, title_justify="left", box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in [*_signal_rows(manifest.signal), *_model_rows(manifest)]:
        table.add_row(name, text)
    table.add_row("file", f"{decoder.path} ({decoder.path.stat().st_size / 1e6:.1f} MB)")
    table.add_row("sha256", decoder.sha256)
    return table


def _signal_rows(signal: SignalContract) -> list[tuple[str, str]]:
    types = Counter(channel.type.value for channel in signal.channels)
    start, stop = signal.window.first_sample / signal.rate_hz, signal.window.last_sample / signal.rate_hz
    shifted = ", shifted to the picture's own time" if signal.resampling.shift_residual else ""
    return [
        ("stream", f"{' + '.join(f'{n} {kind}' for kind, n in types.items())} at {signal.rate_hz:g} Hz"),
        ("channels", " ".join(channel.name for channel in signal.channels)),
        ("front end", " → ".join(_step_text(step) for step in signal.front_end) or "none"),
        ("warm-up", f"{signal.warmup_s:.2f} s after a stream's start or gap"),
        ("window", f"{start:+.3f} … {stop:+.3f} s from onset ({signal.window.n_samples} samples)"),
        ("resampled", f"{signal.resampling.n_times} points at {signal.resampling.rate_hz:g} Hz{shifted}"),
        ("earliest answer", f"{1e3 * signal.structural_s:.0f} ms after onset, filter delay included"),
    ]


def _step_text(step: FrontEndStep) -> str:
    if not isinstance(step, IirSos):
        return f"{step.kind} {step.time_constant_s:g} s"
    low = f"{step.highpass_hz:g}" if step.highpass_hz else "0"
    high = f"{step.lowpass_hz:g}" if step.lowpass_hz else "∞"
    return f"causal {low}–{high} Hz ({step.design}, delay {1e3 * step.delay_s:.0f} ms)"


def _model_rows(manifest: DecoderManifest) -> list[tuple[str, str]]:
    scaling, origin = manifest.scaling, manifest.provenance
    baseline = "baseline {:g}…{:g} s, ".format(*scaling.baseline_s) if scaling.baseline_s else ""
    repaired = f"rebuilds up to {manifest.max_missing}" if manifest.on_missing == "repair" else "refused"
    rows = [
        ("scaling", f"{baseline}{scaling.method}, clamped at ±{scaling.clamp:g}"),
        ("missing channels", repaired),
        *(
            (
                f"head {head.name}",
                f"{head.role.value}, {head.space.dim}-d {head.space.encoder} "
                f"({head.space.layer}, {head.space.pooling}, weights {head.space.weights_sha256[:12]})",
            )
            for head in manifest.heads
        ),
        ("model", f"{origin.model}; folds: {origin.fold_rule}"),
        (
            "trained on",
            f"{origin.n_trials} trials, {origin.hours:.2f} h of {origin.dataset}, "
            f"subjects {', '.join(origin.subjects)}",
        ),
        (
            "delays in training",
            f"markers {1e3 * origin.marker_delay_s:g} ms, stream {1e3 * origin.stream_delay_s:g} ms "
            "(state the same live)",
        ),
        ("created", f"{origin.created} ({', '.join(f'{k} {v}' for k, v in origin.versions.items())})"),
    ]
    if manifest.validation is not None:
        found = manifest.validation
        scores = ", ".join(f"{name} {value:.3g}" for name, value in found.scores.items())
        rows.append(("validation", f"{scores} on {found.n_trials} trials ({found.split})"))
    return rows
