"""``rtdecode replay``: a recording as if it were recorded now."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
from click.core import ParameterSource

from replay.faults import parse_fault
from rtdecode.ending import stopped_by_signals
from rtdecode.errors import UserError
from rtdecode.journal.session import RECORDING_FILE, SESSION_FILE
from rtdecode.output import check_writable

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from replay.faults import Fault
    from replay.player import LslPlayer
    from replay.recordings import Recording, TriggerEdge

_OF_LSL = frozenset(
    {
        "name",
        "source_id",
        "chunk_size",
        "speed",
        "stamps",
        "loop",
        "no_wait",
        "wait_timeout_s",
        "grace_s",
    }
)
_OF_DECODING = frozenset({"table", "key", "json_key"})
_OF_DATASETS = frozenset({"subject", "session", "run", "variant"})
_OF_FILES = frozenset(
    {
        "units",
        "marker_channel",
        "trigger_mask",
        "trigger_edge",
        "signal_stream",
        "marker_streams",
        "rate_hz",
        "events",
        "every_volume",
    }
)
_PATIENCE_S = 5.0
"""How long nobody may listen to a stream before that is said."""

_INTERRUPTIBLE_S = 0.2  # on Windows Ctrl-C does not end a wait


@click.command(short_help="Stream a recording over LSL.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the signal stream; the marker stream's ends in -markers.")
@click.option("--source-id", help="Source id of the signal stream; likewise.")
@click.option("--chunk", "chunk_size", default=10, show_default=True, help="Samples pushed at once.")
@click.option(
    "--speed", default=1.0, show_default=True, help="Times as fast as recorded; the stream says so."
)
@click.option(
    "--stamps",
    type=click.Choice(["grid", "original"]),
    default="grid",
    show_default=True,
    help="A regular grid, or the recording's own stamps and bursts.",
)
@click.option("--loop", is_flag=True, help="Start again at the end, until Ctrl-C.")
@click.option("--no-wait", is_flag=True, help="Start at once, though nobody listens yet.")
@click.option("--wait-timeout", "wait_timeout_s", type=float, help="Give up waiting after so many seconds.")
@click.option(
    "--grace",
    "grace_s",
    default=5.0,
    show_default=True,
    help="Seconds to stay after the last sample while anyone listens.",
)
@click.option("--units", help="Unit of channels whose file does not say, e.g. uV.")
@click.option("--marker-channel", help="Trigger channel or column to read markers from; or: annotations.")
@click.option("--trigger-mask", type=int, help="Bits of a trigger channel that belong to the code, e.g. 255.")
@click.option(
    "--trigger-edge",
    type=click.Choice(["rising", "change", "falling"]),
    help="A marker is each step from zero to a code, each change to a code, or each step back to zero. "
    "[default: rising]",
)
@click.option("--signal-stream", help="Name of the signal stream in an XDF file that has several.")
@click.option(
    "--marker-stream",
    "marker_streams",
    multiple=True,
    help="Name of a marker stream in an XDF file; may be given more than once.",
)
@click.option(
    "--fault",
    "fault_texts",
    multiple=True,
    metavar="KIND[:KEY=VALUE,...]",
    help="Something wrong on purpose, e.g. gap:at=2,for=0.5; may be given more than once: docs/faults.md.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="Of the chance in faults, and of simulated subjects: the same, the same data.",
)
@click.option(
    "--rate", "rate_hz", type=float, help="Sampling rate of a CSV or NIfTI file that does not tell it."
)
@click.option(
    "--mask", type=click.Path(path_type=Path), help="NIfTI: image whose voxels above zero are the channels."
)
@click.option(
    "--events",
    type=click.Path(path_type=Path),
    help="NIfTI: BIDS events; --marker-channel names the column of markers.",
)
@click.option("--every-volume", is_flag=True, help="NIfTI: a marker at each volume while an event lasts.")
@click.option(
    "--dataset",
    help="FILE is the folder of this public dataset (rtdecode data list); its markers are stimuli.",
)
@click.option("--subject", help="Dataset: whose recording. Simulated: which subject.  [default: 1]")
@click.option("--session", help="Dataset, simulated: which session, where there are several.")
@click.option("--run", help="Dataset: which run, where there are several.")
@click.option("--variant", help="Dataset: in which form, where the folder holds several.")
@click.option(
    "--through",
    "decoders",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Decode with this ONNX file instead, without LSL, as fast as it goes; may be given more than once.",
)
@click.option("--out", type=click.Path(path_type=Path), help="With --through: folder for what was decoded.")
@click.option(
    "--table", type=click.Path(path_type=Path), help="With --through: stimulus table; a label is one without."
)
@click.option(
    "--key",
    type=click.Choice(["code", "label", "order"]),
    default="label",
    show_default=True,
    help="With --table: how a marker names its row.",
)
@click.option(
    "--json-key", help="With --through: markers are JSON objects, and this key's value is their label."
)
def replay(
    file: Path,
    name: str | None,
    source_id: str | None,
    chunk_size: int,
    speed: float,
    stamps: Literal["grid", "original"],
    loop: bool,
    no_wait: bool,
    wait_timeout_s: float | None,
    grace_s: float,
    units: str | None,
    marker_channel: str | None,
    trigger_mask: int | None,
    trigger_edge: TriggerEdge | None,
    signal_stream: str | None,
    marker_streams: tuple[str, ...],
    fault_texts: tuple[str, ...],
    seed: int,
    rate_hz: float | None,
    mask: Path | None,
    events: Path | None,
    every_volume: bool,
    dataset: str | None,
    subject: str | None,
    session: str | None,
    run: str | None,
    variant: str | None,
    decoders: tuple[Path, ...],
    out: Path | None,
    table: Path | None,
    key: Literal["code", "label", "order"],
    json_key: str | None,
) -> None:
    """Stream a recording over LSL, in real time, with its markers beside it.

    FILE is a FIF, BrainVision (.vhdr), EDF, BDF, EEGLAB (.set), CTF (.ds), XDF, CSV or 4-D NIfTI recording.
    The first sample is sent once a consumer listens to each of the two streams. Ctrl-C ends.

    With --through the recording is fed to the live engine on a virtual clock instead. --out then gets
    messages.jsonl, all that would have been published, a line each; and for each head of each decoder
    DECODER.HEAD.npy with its embeddings, a row for each message of kind "embedding" of that decoder, in their
    order. They are the same bytes from run to run.

    With --dataset FILE is a copy of a public dataset, and --subject, --session and --run say which recording
    of it is meant. Its markers say their stimuli, as the table does that "rtdecode data prepare" writes.

    FILE may also be simulated-eeg, simulated-meg, simulated-3t or simulated-7t: a simulated subject who looks
    at the pictures of the built-in world, as in "rtdecode data simulate".

    FILE may also be a session's folder of the service's journal. With --through the session is then run
    again, all in the order in which it happened, and compared with what was recorded: verdicts, onset
    samples, and embeddings to the byte. It exits with code 1 if the same decoder says something else.
    """
    if (file / SESSION_FILE).is_file():
        if decoders:
            parameters = {str(parameter.name) for parameter in click.get_current_context().command.params}
            _refuse_options("where a session is run again", parameters - {"file", "decoders", "out"})
            if out is not None:
                _check_out(out)
            from replay.session_cli import through_session

            through_session(file, decoders, out)
            return
        file /= RECORDING_FILE
    if bool(decoders) != (out is not None):
        sessions = sorted(path.parent for path in file.glob(f"*/{SESSION_FILE}"))
        if sessions:
            raise UserError(f"{file} is a folder of sessions: name one of them, for example {sessions[-1]}")
        if out is not None:
            raise UserError("--out is for what is decoded: name a decoder with --through, or leave --out out")
        raise UserError("--through decodes into a folder: add --out FOLDER")
    if out is not None:
        _refuse_options("with --through, which uses no LSL", _OF_LSL)
        _check_out(out)
    else:
        _refuse_options("without --through: markers are sent as they were recorded", _OF_DECODING)
    faults = [parse_fault(text) for text in fault_texts]
    if _is_simulated(file):
        _refuse_options("with a simulated subject", _OF_FILES | {"dataset", "run", "variant", "mask"})
        recording = _of_simulated(str(file), subject, session, seed)
    elif dataset is not None:
        _refuse_options("with --dataset, which knows how it is read", _OF_FILES)
        recording = _of_dataset(dataset, file, subject, session, run, variant, mask)
    else:
        _refuse_options("without --dataset or a simulated subject", _OF_DATASETS)
        from replay.recordings import read_recording

        recording = read_recording(
            file,
            units=units,
            marker_channel=marker_channel,
            signal_stream=signal_stream,
            marker_streams=marker_streams or None,
            rate_hz=rate_hz,
            trigger_mask=trigger_mask,
            trigger_edge=trigger_edge,
            mask=mask,
            events=events,
            every_volume=every_volume,
        )
    if out is not None:
        _through(recording, decoders, out, table, key, json_key, faults, seed)
        return

    from replay.player import LslPlayer  # after the file was found good: loads liblsl

    player = LslPlayer(
        recording,
        name=name,
        source_id=source_id,
        chunk_size=chunk_size,
        speed=speed,
        stamps=stamps,
        loop=loop,
        wait=not no_wait,
        wait_timeout_s=wait_timeout_s,
        grace_s=grace_s,
        faults=faults,
        seed=seed,
    )
    _over_lsl(player, recording)


def _of_dataset(
    name: str,
    root: Path,
    subject: str | None,
    session: str | None,
    run: str | None,
    variant: str | None,
    mask: Path | None,
) -> Recording:
    from replay.datasets.catalogue import find_dataset
    from replay.datasets.dataset import Selection

    if subject is None:
        raise UserError("--dataset: whose recording? Name a --subject")
    dataset = find_dataset(name)
    selection = Selection(subjects=dataset.select([subject]), variant=variant, mask=mask)
    return dataset.open(root, selection).recording(session, run)


def _is_simulated(file: Path) -> bool:
    from replay.datasets.simulated import DEVICES

    return str(file).casefold() in DEVICES and not file.exists()


def _of_simulated(name: str, subject: str | None, session: str | None, seed: int) -> Recording:
    from replay.datasets.simulated.showing import simulated_session

    numbers = {"--subject": subject or "1", "--session": session or "1"}
    for option, text in numbers.items():
        if not text.isdecimal():
            raise UserError(f"{option} {text}: simulated ones are numbers, from 1")
    return simulated_session(name, int(numbers["--subject"]), int(numbers["--session"]), seed)


def _refuse_options(why: str, refused: Container[str]) -> None:
    """Refuse what would have no effect."""
    context = click.get_current_context()
    given = [
        option.opts[0]
        for option in context.command.params
        if option.name in refused and context.get_parameter_source(option.name) is not ParameterSource.DEFAULT
    ]
    if given:
        raise UserError(f"{', '.join(given)} has no effect {why}; leave it out")


def _check_out(out: Path) -> None:
    if out.exists():
        raise UserError(f"{out} exists already: name another folder for --out, or remove it")
    check_writable(out)


def _through(
    recording: Recording,
    decoders: Sequence[Path],
    out: Path,
    table: Path | None,
    key: Literal["code", "label", "order"],
    json_key: str | None,
    faults: Sequence[Fault],
    seed: int,
) -> None:
    """Decode on a virtual clock, and write what came out."""
    from rich.console import Console
    from rich.progress import Progress

    from replay.virtual import run_virtual
    from rtdecode.decoder import Decoder
    from rtdecode.gate import MarkerGate
    from rtdecode.stimuli import StimulusMapper, StimulusTable

    mapper = None if table is None else StimulusMapper(StimulusTable.load(table, key))
    gate = MarkerGate(mapper=mapper, json_key=json_key)
    console = Console(stderr=True, highlight=False, markup=False)
    files = [Decoder(path) for path in decoders]
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("Decoding", total=recording.n_samples)
        run = run_virtual(
            recording,
            files,
            gate=gate,
            faults=faults,
            seed=seed,
            progress=lambda n_samples: bar.update(task, completed=n_samples),
        )
    run.save(out)
    verdicts = Counter(message.verdict.value for message in run.verdicts)
    counted = ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items()) or "none"
    simulated = " (SIMULATED data)" if any(message.simulated for message in run.messages) else ""
    console.print(f"{len(recording.markers)} markers; requests: {counted}; written to {out}{simulated}")


def _over_lsl(player: LslPlayer, recording: Recording) -> None:
    """Run the player in a thread of its own, so that drawing the bar never delays a sample."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, highlight=False, markup=False)
    disable = not console.is_terminal
    pushed = 0
    told: str | None = None
    remedy = "start its consumer, or use --no-wait, which starts at once"

    def report(n_samples: int) -> None:
        nonlocal pushed
        pushed = n_samples
        bar.update(task, completed=n_samples)

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with stopped_by_signals(player.stop):
        console.print(_summary(player, recording))
        with Progress(*columns, console=console, disable=disable) as bar, ThreadPoolExecutor(1) as thread:
            task = bar.add_task(recording.name, total=None if player.loop else recording.n_samples)
            running = thread.submit(player.run, report)
            unheard, since = None, time.monotonic()
            while not wait([running], timeout=_INTERRUPTIBLE_S).done:
                if player.unheard != unheard:
                    unheard, since = player.unheard, time.monotonic()
                elif unheard not in (None, told) and time.monotonic() - since > _PATIENCE_S:
                    console.print(f"Nobody listens to {unheard!r} yet, so nothing is sent: {remedy}")
                    told = unheard
            running.result()
    if player.is_stopped:
        console.print("Stopped.")
    console.print(f"Sent {pushed / recording.rate_hz:.1f} s of the recording.")


def _summary(player: LslPlayer, recording: Recording) -> str:
    speed = "" if player.speed == 1 else f", {player.speed:g} times as fast as recorded"
    faults = f"\nFAULTS: {player.programme.text}" if player.programme.text else ""
    waiting = "\nWaiting for a consumer on each (--no-wait starts at once)" if player.wait else ""
    return (
        f"{recording.name}: {len(recording.channels)} channels, {recording.rate_hz:g} Hz, "
        f"{recording.duration_s:.1f} s, {len(recording.markers)} markers{speed}\n"
        f"Streams: {player.name!r} ({player.value_format}) and {player.marker_name!r}{faults}{waiting}"
    )
