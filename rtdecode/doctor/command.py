"""The command: all checks, a table, an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from rtdecode.doctor.finding import Finding, State
from rtdecode.doctor.machine import check_onnxruntime, check_packages, check_ports
from rtdecode.errors import UserError
from rtdecode.output import write_file

if TYPE_CHECKING:
    from collections.abc import Sequence

_STYLE = {State.OK: "green", State.WARNING: "yellow", State.PROBLEM: "red"}


@click.command()
@click.option(
    "--photodiode",
    metavar="CHANNEL",
    help="Measure the display's delay: this channel's rising edges against the markers.",
)
@click.option("--stream", metavar="STREAM", help="LSL stream with the photodiode: a name, or name=…,type=…")
@click.option(
    "--markers", metavar="STREAM", help="LSL marker stream, or a trigger channel of the signal stream."
)
@click.option(
    "--duration",
    "duration_s",
    type=click.FloatRange(min=1.0),
    default=60.0,
    show_default=True,
    help="Seconds to record the photodiode.",
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the findings here too.",
)
def doctor(
    photodiode: str | None, stream: str | None, markers: str | None, duration_s: float, json_path: Path | None
) -> None:
    """Check this machine for a live session; each line says what to do. Exit code 1 if there is a problem."""
    if photodiode is not None and (stream is None or markers is None):
        raise UserError(
            "--photodiode needs --stream and --markers: which LSL streams hold the signal and markers"
        )
    if photodiode is None and (stream is not None or markers is not None):
        raise UserError("--stream and --markers serve --photodiode CHANNEL; name the photodiode's channel")
    console = Console(stderr=True)
    findings = [check_packages(), check_onnxruntime(), check_ports()]
    with console.status("listening for LSL streams, and to a stream of this machine"):
        findings += _check_lsl()
    if photodiode is not None and stream is not None and markers is not None:
        findings.append(_measure(photodiode, stream, markers, duration_s, console))
    console.print(_table(findings))
    n_problems = sum(finding.state is State.PROBLEM for finding in findings)
    if json_path is not None:
        _write_json(json_path, findings)
    if n_problems:
        raise SystemExit(1)


def _check_lsl() -> list[Finding]:
    try:
        from rtdecode.doctor import lsl
    except (ImportError, OSError, RuntimeError) as error:  # pylsl raises any of them without its library
        text = f"liblsl cannot be loaded: {str(error).splitlines()[0]}"
        return [Finding("LSL", State.PROBLEM, text, "install pylsl again, or name a liblsl in PYLSL_LIB")]
    return [lsl.check_configuration(), lsl.check_streams(), lsl.check_loopback()]


def _measure(channel: str, stream: str, markers: str, duration_s: float, console: Console) -> Finding:
    from rtdecode.doctor.display import measure_display
    from rtdecode.sources.base import StreamLostError
    from rtdecode.sources.lsl_resolve import StreamQuery

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("recording the photodiode", total=duration_s)
        try:
            return measure_display(
                channel,
                StreamQuery.parse(stream),
                markers,
                duration_s,
                lambda elapsed_s: bar.update(task, completed=elapsed_s),
            )
        except StreamLostError as lost:
            return Finding(
                "photodiode", State.PROBLEM, str(lost), "start the stream again and keep it running"
            )


def _table(findings: Sequence[Finding]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    for column in ("subject", "state", "text"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        text = Text(finding.text)
        if finding.advice:
            text.append(f"\n→ {finding.advice}", style="bold")
        table.add_row(Text(finding.subject, "bold"), Text(finding.state.value, _STYLE[finding.state]), text)
    return table


def _write_json(path: Path, findings: Sequence[Finding]) -> None:
    found = [
        {
            "subject": finding.subject,
            "state": finding.state.value,
            "text": finding.text,
            "advice": finding.advice,
            "data": finding.data,
        }
        for finding in findings
    ]
    n_problems = sum(finding.state is State.PROBLEM for finding in findings)
    write_file(path, json.dumps({"problems": n_problems, "findings": found}, indent=2) + "\n")
