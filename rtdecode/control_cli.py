"""``rtdecode control``: ask a running service how it is, stop it, declare channels bad."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console, Group
from rich.table import Table

from rtdecode.output import write_file
from rtdecode.signal.ledger import counts_text
from rtdecode.workers.command import control_options

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rtdecode.bus import ControlClient
    from rtdecode.contracts import StatusMessage, StreamStatus


@click.group()
def control() -> None:
    """Ask a running service how it is, stop it, or tell it of bad channels."""


@control.command()
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, allow_dash=True),
    help="Write the status here as JSON; - is the screen.",
)
@control_options
def status(control: ControlClient, json_path: Path | None) -> None:
    """Print how the service, its streams and its books stand."""
    answer = control.status()
    text = answer.model_dump_json(indent=2) + "\n"
    if json_path == Path("-"):
        click.echo(text, nl=False)
        return
    Console(highlight=False, markup=False).print(_summary(answer))
    if json_path is not None:
        write_file(json_path, text)


@control.command()
@control_options
def stop(control: ControlClient) -> None:
    """Ask the service to stop; it first accounts for what is in flight."""
    control.stop()
    click.echo("the service stops")


@control.command("bad-channels")
@click.argument("stream")
@click.argument("channels", nargs=-1)
@control_options
def bad_channels(control: ControlClient, stream: str, channels: tuple[str, ...]) -> None:
    """Declare CHANNELS of STREAM bad: they are rebuilt from their neighbours from now on.

    Name all that are bad: the list takes the place of the one before, and without CHANNELS none is bad.
    """
    control.declare_bad(stream, channels)
    click.echo(f"stream {stream}: bad channels: {', '.join(channels) or 'none'}")


def _summary(answer: StatusMessage) -> Group:
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_column(style="bold")
    facts.add_column(overflow="fold")
    facts.add_row("state", answer.state + (", SIMULATED data" if answer.simulated else ""))
    facts.add_row("markers", counts_text(answer.accounts.markers))
    facts.add_row("requests", f"{counts_text(answer.accounts.requests)}; {answer.accounts.n_open} open")
    for name, provider in answer.providers.items():
        facts.add_row("decoder", f"{name} on {provider}")
    for name, counts in (("waiting", answer.queues), ("dropped", answer.dropped)):
        if counts:
            facts.add_row(name, counts_text(counts))
    for alarm in answer.alarms:
        facts.add_row("ALARM", alarm, style="red")
    streams = Table("stream", "state", "age", "back", "flushed", "bridged", "clock", box=None, pad_edge=False)
    for name, stream in answer.streams.items():
        streams.add_row(name, *_stream_row(stream))
    shown: list[RenderableType] = [facts, "", streams]
    shown += [f"{name}: {stream.reason}" for name, stream in answer.streams.items() if stream.reason]
    return Group(*shown)


def _stream_row(stream: StreamStatus) -> tuple[str, ...]:
    offset, uncertainty = stream.clock_offset_s, stream.clock_uncertainty_s
    clock = "?" if offset is None else f"{1e3 * offset:+.3f} ms"
    if uncertainty is not None:
        clock += f" ± {1e3 * uncertainty:.3f}"
    return (
        stream.state.value,
        "?" if stream.age_s is None else f"{stream.age_s:.2f} s",
        f"{stream.reconnects}×",
        str(stream.flushed_samples),
        str(stream.bridged_samples),
        clock,
    )
