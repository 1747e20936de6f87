"""Checks of LSL: library, configuration in force, streams in sight, a stream from this machine to itself."""

from __future__ import annotations

import configparser
import os
import secrets
import threading
import time
from pathlib import Path

import numpy as np
import pylsl

from rtdecode.doctor.finding import Finding, State
from rtdecode.errors import UserError
from rtdecode.sources.base import StreamLostError
from rtdecode.sources.lsl import LslClock, SignalInlet, StreamQuery, resolve

_DEFAULTS = {
    ("multicast", "ResolveScope"): "site",
    ("lab", "SessionID"): "default",
    ("lab", "KnownPeers"): "{}",
    ("ports", "IPv6"): "allow",
}
_FIND_S = 5.0
_SLOW_MS = 5.0


def configuration_file() -> tuple[Path | None, Path | None]:
    """Path of the file that liblsl reads here, and of one that was asked for but is not there."""
    asked = os.environ.get("LSLAPICFG")
    missing = None
    if asked:
        if Path(asked).is_file():
            return Path(asked), None
        missing = Path(asked)
    root = Path("C:/etc" if os.name == "nt" else "/etc")
    for path in (
        Path("lsl_api.cfg"),
        Path("~/lsl_api/lsl_api.cfg").expanduser(),
        root / "lsl_api" / "lsl_api.cfg",
    ):
        if path.is_file():
            return path, missing
    return None, missing


def check_configuration() -> Finding:
    """Say which liblsl runs, and the settings that decide what it sees."""
    path, missing = configuration_file()
    # Asked of liblsl itself: it read its configuration at its first call, and only then.
    session_id = str(pylsl.StreamOutlet(_loopback_info()).get_info().session_id())
    version = pylsl.library_version()
    settings = {key: default for (_, key), default in _DEFAULTS.items()}
    advice = ""
    if path is not None:
        parser = configparser.ConfigParser(interpolation=None, strict=False, inline_comment_prefixes=(";",))
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError) as error:
            advice = f"correct {path}: {str(error).splitlines()[0]}"
        for (section, key), default in _DEFAULTS.items():
            settings[key] = parser.get(section, key, fallback=default)
    if missing is not None:
        advice = f"LSLAPICFG names {missing}, which is not there: correct or unset it"
    if not advice and settings["SessionID"] != session_id:
        advice = f"{path} changed after liblsl read it, or liblsl read another; start again"
    settings["SessionID"] = session_id
    told = ", ".join(f"{key} {value}" for key, value in settings.items())
    text = f"liblsl {version // 100}.{version % 100}, {path or 'no configuration file'}: {told}"
    data = {"version": version, "library": pylsl.library_info(), "file": path and str(path), **settings}
    return Finding("LSL", State.WARNING if advice else State.OK, text, advice, data)


def check_streams() -> Finding:
    """List the streams that can be seen from here."""
    resolver = pylsl.ContinuousResolver()
    time.sleep(1.1)  # two questions to the network, 0.5 s apart, and the time to answer
    streams = [
        {
            "name": info.name(),
            "type": info.type(),
            "channels": info.channel_count(),
            "rate_hz": info.nominal_srate(),
            "source_id": info.source_id(),
            "host": info.hostname(),
        }
        for info in resolver.results()
    ]
    streams.sort(key=lambda stream: (stream["name"], stream["type"], stream["source_id"]))
    listed = "; ".join(
        f"{stream['name']} ({stream['type'] or 'no type'}, {stream['channels']} ch, "
        f"{stream['rate_hz']:g} Hz, source_id {stream['source_id']}, {stream['host']})"
        for stream in streams
    )
    return Finding("streams", State.OK, listed or "none in sight", data={"streams": streams})


def check_loopback(duration_s: float = 2.0, rate_hz: float = 250.0) -> Finding:
    """Send single samples through LSL to ourselves and measure how long each takes to arrive.

    Sender and receiver are threads of this one process, so that they share its interpreter; a real sender
    is another process, or another machine.
    """
    clock = LslClock()
    info = _loopback_info(rate_hz)
    outlet = pylsl.StreamOutlet(info)
    n = max(1, round(duration_s * rate_hz))
    advice = (
        "let LSL through the firewall (UDP 16571-16604, TCP 16572-16604, multicast), or, on a machine "
        "without a network, set ResolveScope = machine in lsl_api.cfg"
    )
    try:
        found = resolve(StreamQuery(source_id=info.source_id()), _FIND_S)
        inlet = SignalInlet(found, clock)
    except (UserError, StreamLostError) as error:
        text = f"a stream of this machine cannot be received here: {error}"
        return Finding("loopback", State.PROBLEM, text, advice)
    stop = threading.Event()

    def send() -> None:
        start = clock.now()
        for index in range(n):
            stop.wait(max(0.0, start + index / rate_hz - clock.now()))
            if stop.is_set():
                return
            outlet.push_sample([float(index)], clock.now())

    sender = threading.Thread(target=send, name="loopback sender")
    sender.start()
    latencies_s: list[float] = []
    try:
        while len(latencies_s) < n and (chunk := inlet.pull(_FIND_S)) is not None:
            latencies_s += (chunk.arrival - chunk.stamps).tolist()
    finally:
        stop.set()
        sender.join()
        inlet.close()
    if len(latencies_s) < n:
        text = f"{n - len(latencies_s)} of {n} samples did not arrive"
        return Finding("loopback", State.PROBLEM, text, advice)
    latencies_ms = 1e3 * np.array(latencies_s)
    p50, p95, p99, most = (float(np.percentile(latencies_ms, q)) for q in (50, 95, 99, 100))
    jitter_ms = float(latencies_ms.std())
    data = {
        "n": n,
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "max": most},
        "jitter_sd_ms": jitter_ms,
    }
    text = (
        f"{n} samples, latency p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f}, max {most:.2f} ms; "
        f"jitter (SD) {jitter_ms:.2f} ms"
    )
    if p99 > _SLOW_MS:
        return Finding(
            "loopback", State.WARNING, text, "this machine is busy: end other programs and try again", data
        )
    return Finding("loopback", State.OK, text, data=data)


def _loopback_info(rate_hz: float = 250.0) -> pylsl.StreamInfo:
    info = pylsl.StreamInfo(
        "rtdecode doctor", "Test", 1, rate_hz, pylsl.cf_double64, f"rtdecode-doctor-{secrets.token_hex(8)}"
    )
    channel = info.desc().append_child("channels").append_child("channel")
    for key, value in (("label", "index"), ("type", "MISC"), ("unit", "1")):
        channel.append_child_value(key, value)
    return info
