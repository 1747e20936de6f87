"""Throws damaged and hostile bytes at the wire format and at a live broker.

``python tests/benchmarks/fuzz_wire.py`` runs a million messages through ``wire.decode``, and fewer through
the sockets of a broker, with and without keys. Anything but a ``WireError``, a broker that ends, or a message
between healthy peers that does not arrive, ends it with an error. A short run is among the tests.
"""

from __future__ import annotations

import json
import random
import re
import socket
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click
import numpy as np
import zmq
from pydantic import TypeAdapter

from rtdecode.bus import Broker, ControlClient, Publisher, Subscriber, WireError
from rtdecode.bus.curve import ServiceKeys
from rtdecode.bus.wire import decode, encode, topic
from rtdecode.contracts import AnyMessage, ControlReply, ControlRequest, Missed
from rtdecode.keys import make_keys

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_S = 60.0

GOLDEN = Path(__file__).parents[1] / "rtdecode" / "contracts" / "golden"
KINDS = ("Verdict", "Embedding", "Marker", "Retrieval", "Alarm", "Status")

_NUMBER = re.compile(rb"-?\d+(\.\d+)?")
_STRING = re.compile(rb'"[^"\\]*"')
_GIANTS = (b"9" * 5000, b"1e400", b"-1", b"18446744073709551616", b"9223372036854775807", b"0.1e-999", b"NaN")
_TEXTS = (b'"\xff\xfe"', b'"\\ud800"', b'"\\u0000"', b'"\x00"', b'"\xed\xa0\x80"', b"null", b"{}", b"[]", b"")


def healthy_messages() -> list[list[bytes]]:
    """The golden example of each kind of message, as frames."""
    examples = [
        TypeAdapter(AnyMessage).validate_json((GOLDEN / f"{kind}Message.json").read_bytes()) for kind in KINDS
    ]
    return [
        # What claims to be of the service itself is refused for that alone.
        encode(
            message.model_copy(update={"publisher": "fuzz"}),
            [np.linspace(-1, 1, head.dim) for head in getattr(message, "heads", ())],
        )
        for message in examples
    ]


def control_requests() -> list[list[bytes]]:
    """Valid questions, as a REQ socket frames them."""
    missed = Missed(boot_id="f" * 32, publisher="fuzz", topic="verdict/eeg/ridge", first=0, last=100)
    questions = [
        *(ControlRequest(op=op) for op in ("status", "decoders", "stop")),
        ControlRequest(op="replay", missed=missed),
    ]
    return [[b"", question.model_dump_json().encode()] for question in questions]


class Mutator:
    """Damages messages, the same way for the same seed."""

    def __init__(self, seeds: list[list[bytes]], seed: int) -> None:
        self._seeds = seeds
        self._random = random.Random(seed)
        self._ways: list[Callable[[list[bytes]], None]] = [
            self._flip_bits,
            self._flip_bits,
            self._truncate,
            self._splice,
            self._lose_frame,
            self._repeat_frame,
            self._swap_frames,
            self._number,
            self._number,
            self._text,
            self._deep,
            self._insert_noise,
            self._no_number_at_all,
        ]

    def next(self) -> list[bytes]:
        """A message with one to three damages."""
        frames = list(self._random.choice(self._seeds))
        for _ in range(self._random.choice((1, 1, 1, 2, 3))):
            self._random.choice(self._ways)(frames)
        return frames

    def damaged(self, data: bytes) -> bytes:
        """Bytes with flipped bits, cut off, or with noise in them."""
        frames = [data]
        self._random.choice((self._flip_bits, self._truncate, self._insert_noise, self._long))(frames)
        return frames[0] if frames else b""

    def chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _pick(self, frames: list[bytes]) -> int:
        return self._random.randrange(len(frames)) if frames else -1

    def _flip_bits(self, frames: list[bytes]) -> None:
        i = self._pick(frames)
        if i < 0 or not frames[i]:
            return
        data = bytearray(frames[i])
        for _ in range(self._random.choice((1, 1, 2, 8))):
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)
        frames[i] = bytes(data)

    def _truncate(self, frames: list[bytes]) -> None:
        i = self._pick(frames)
        if i >= 0:
            frames[i] = frames[i][: self._random.randrange(len(frames[i]) + 1)]

    def _splice(self, frames: list[bytes]) -> None:
        other = self._random.choice(self._random.choice(self._seeds))
        i = self._pick(frames)
        if i >= 0:
            cut = self._random.randrange(len(frames[i]) + 1)
            frames[i] = frames[i][:cut] + other[self._random.randrange(len(other) + 1) :]

    def _lose_frame(self, frames: list[bytes]) -> None:
        if len(frames) > 1:
            del frames[self._pick(frames)]

    def _repeat_frame(self, frames: list[bytes]) -> None:
        if frames:
            frames.insert(self._pick(frames), frames[self._pick(frames)])

    def _swap_frames(self, frames: list[bytes]) -> None:
        self._random.shuffle(frames)

    def _replace(self, frames: list[bytes], pattern: re.Pattern[bytes], by: bytes) -> None:
        if len(frames) > 1 and (found := list(pattern.finditer(frames[1]))):
            where = self._random.choice(found)
            frames[1] = frames[1][: where.start()] + by + frames[1][where.end() :]

    def _number(self, frames: list[bytes]) -> None:
        near = str(self._random.randrange(-2, 2000)).encode()
        self._replace(frames, _NUMBER, self._random.choice((*_GIANTS, near, near)))

    def _text(self, frames: list[bytes]) -> None:
        self._replace(frames, _STRING, self._random.choice(_TEXTS))

    def _deep(self, frames: list[bytes]) -> None:
        opening, closing = self._random.choice(((b"[", b"]"), (b'{"a":', b"}")))
        depth = self._random.choice((3, 100, 1000, 20_000))
        closed = closing * self._random.choice((0, depth))
        self._replace(
            frames, self._random.choice((_NUMBER, _STRING)), opening * depth + b"1" * bool(closed) + closed
        )

    def _insert_noise(self, frames: list[bytes]) -> None:
        i = self._pick(frames)
        if i >= 0:
            cut = self._random.randrange(len(frames[i]) + 1)
            frames[i] = frames[i][:cut] + self._random.randbytes(self._random.randrange(64)) + frames[i][cut:]

    def _long(self, frames: list[bytes]) -> None:
        """Claim a giant length where ZMTP frames tell theirs."""
        length = self._random.choice((0, 2**31, 2**63, 2**64 - 1, 65 << 20)).to_bytes(8, "big")
        cut = self._random.randrange(len(frames[0]) + 1)
        flags = self._random.choice((b"\x02", b"\x03", b"\x06", b"\x07", b"\xff"))
        frames[0] = frames[0][:cut] + flags + length + frames[0][cut:]

    def _no_number_at_all(self, frames: list[bytes]) -> None:
        if len(frames) > 2 and len(frames[2]) >= 4:
            bad = self._random.choice((np.nan, np.inf, -np.inf))
            frames[2] = np.float32(bad).tobytes() + frames[2][4:]


def fuzz_decode(n: int, seed: int) -> dict[str, Any]:
    """Decode ``n`` damaged messages; what is accepted must be a message that can be sent again."""
    mutator, faults, slowest_s = Mutator(healthy_messages(), seed), Counter[str](), 0.0
    start = time.perf_counter()
    for _ in range(n):
        frames = mutator.next()
        begin = time.perf_counter()
        try:
            received = decode(frames)
        except WireError as error:
            faults[error.fault] += 1
        else:
            faults["accepted"] += 1
            assert received.topic == topic(received.message) == frames[0]
            again = decode(encode(received.message, received.payload))
            assert again == received
        slowest_s = max(slowest_s, time.perf_counter() - begin)
    return {
        "n": n,
        "seconds": round(time.perf_counter() - start, 1),
        "slowest_ms": round(1e3 * slowest_s, 1),
        **dict(sorted(faults.items())),
    }


class Peers:
    """A broker, and healthy peers who see whether everything between them arrives."""

    def __init__(self, keys: Path | None) -> None:
        self._keys = keys

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            client = None
            if self._keys is not None:
                make_keys(self._keys, ("lab",))
                client = self._keys / "clients" / "lab.key_secret"
            self.broker = stack.enter_context(
                Broker(
                    "127.0.0.1",
                    0,
                    0,
                    0,
                    lambda _: ControlReply(ok=True),
                    clock=time.monotonic,
                    keys=None if self._keys is None else ServiceKeys.load(self._keys),
                )
            )
            where = self.broker.endpoints
            self._control = stack.enter_context(ControlClient(where.control, TIMEOUT_S, keys=client))
            self._worker = stack.enter_context(
                Publisher(where.subscribe, "worker", clock=time.monotonic, keys=client)
            )
            self._subscriber = stack.enter_context(
                Subscriber(where.publish, ("verdict", "status"), control=where.control, keys=client)
            )
            assert self._worker.connected(TIMEOUT_S)
            assert self._subscriber.wait_joined(TIMEOUT_S)
            self._message = decode(healthy_messages()[0]).message
            self._n = 0
            self._got: dict[str, list[int]] = {"service": [], "worker": []}
            self._ended = threading.Event()
            self._thread = threading.Thread(target=self._listen)
            self._thread.start()
            stack.callback(self._thread.join)
            stack.callback(self._ended.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def exchange(self) -> None:
        """The service and a worker publish one message each."""
        self.broker.publish(self._message)
        self._worker.send(self._message)
        self._n += 1

    def check(self) -> None:
        """All that they published arrives, in order and once, and questions are answered."""
        self._control.stop()
        deadline = time.monotonic() + TIMEOUT_S
        while min(map(len, self._got.values())) < self._n:
            assert time.monotonic() < deadline, f"{ {who: len(got) for who, got in self._got.items()} }"
            self.exchange()  # a later message shows what is missing
            time.sleep(0.05)
        self._ended.set()
        self._thread.join()
        for sequences in self._got.values():
            assert sequences == list(range(len(sequences)))

    def _listen(self) -> None:
        while not self._ended.is_set():
            received = self._subscriber.receive(0.1)
            if received is not None and received.message.publisher in self._got:
                self._got[received.message.publisher].append(received.message.sequence)


def fuzz_sockets(n: int, seed: int) -> dict[str, Any]:
    """Send ``n`` damaged messages and as many questions and subscriptions to a broker without keys."""
    mutator, questions = Mutator(healthy_messages(), seed), Mutator(control_requests(), seed + 1)
    context, accepted = zmq.Context(), 0
    start = time.perf_counter()
    with Peers(None) as peers:
        where = peers.broker.endpoints
        publisher, dealer, subscriber = (context.socket(kind) for kind in (zmq.XPUB, zmq.DEALER, zmq.XSUB))
        publisher.setsockopt(zmq.XPUB_NODROP, 1)  # it waits, so that all get through
        for each, address in (
            (publisher, where.subscribe),
            (dealer, where.control),
            (subscriber, where.publish),
        ):
            each.setsockopt(zmq.SNDTIMEO, int(TIMEOUT_S * 1000))
            each.setsockopt(zmq.LINGER, 0)
            each.connect(address)
        assert publisher.recv() == b"\x01"
        for number in range(n):
            frames = mutator.next()
            publisher.send_multipart(frames)
            with suppress(WireError):
                accepted += decode(frames).message.publisher != "service"
            dealer.send_multipart(questions.next())
            while dealer.poll(0):  # a peer that never reads would not even see that it was cut off
                dealer.recv_multipart()
            subscriber.send(mutator.damaged(b"\x01verdict/eeg"))
            if number % 50 == 0:
                peers.exchange()
        deadline = time.monotonic() + TIMEOUT_S
        while (dropped := _of_workers(peers.broker.dropped())) < n - accepted:
            assert time.monotonic() < deadline, f"{dropped} of {n - accepted} dropped"
            time.sleep(0.05)
        peers.check()
        counts = peers.broker.dropped()
        assert _of_workers(counts) == n - accepted
        for each in (publisher, dealer, subscriber):
            each.close()
        context.term()
    return {
        "n": 3 * n,
        "seconds": round(time.perf_counter() - start, 1),
        "accepted": accepted,
        **{reason: count for reason, count in sorted(counts.items()) if count},
    }


def fuzz_raw(n: int, seed: int, keys: Path | None) -> dict[str, Any]:
    """Open ``n`` connections that speak damaged ZMTP, to each of a broker's ports in turn."""
    mutator = Mutator([[b""]], seed)
    start, n_bytes = time.perf_counter(), 0
    with Peers(keys) as peers:
        where = peers.broker.endpoints
        talks = [_zmtp(kind) for kind in (b"PUB", b"SUB", b"REQ")]
        ports = [int(each.rpartition(":")[2]) for each in (where.subscribe, where.publish, where.control)]
        for number in range(n):
            handshake, said = talks[number % 3]
            if keys is None and mutator.chance(0.7):
                said = _damaged_often(mutator, said)
            else:
                handshake, said = b"", _damaged_often(mutator, handshake + said)
            n_bytes += len(handshake + said)
            with socket.create_connection(("127.0.0.1", ports[number % 3]), TIMEOUT_S) as connection:
                connection.settimeout(0.05)
                with suppress(OSError):  # it is shut in our face, or left open without a word
                    if handshake:
                        connection.sendall(handshake)
                        heard = b"."
                        while heard and b"READY" not in heard:
                            heard = connection.recv(4096)
                    connection.sendall(said)
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(1 << 16):  # closing with this unread would take back what was sent
                        pass
            if number % 20 == 0:
                peers.exchange()
        peers.check()
        counts = peers.broker.dropped()
    return {
        "n": n,
        "seconds": round(time.perf_counter() - start, 1),
        "bytes": n_bytes,
        **{reason: count for reason, count in sorted(counts.items()) if count},
    }


def _damaged_often(mutator: Mutator, data: bytes) -> bytes:
    data = mutator.damaged(data)
    while mutator.chance(0.6):
        data = mutator.damaged(data)
    return data


def _zmtp(kind: bytes) -> tuple[bytes, bytes]:
    """What a healthy peer would say: greeting and READY, and one message (ZMTP 3.1, ZeroMQ RFC 37)."""
    greeting = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
    ready = b"\x05READY" + b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    frames = {
        b"PUB": healthy_messages()[0],
        b"SUB": [b"\x01verdict/"],
        b"REQ": control_requests()[0],
    }[kind]
    body = b"".join(
        bytes([2 | (i < len(frames) - 1)]) + len(frame).to_bytes(8, "big") + frame
        for i, frame in enumerate(frames)
    )
    return greeting + b"\x04" + bytes([len(ready)]) + ready, body


def _of_workers(dropped: dict[str, int]) -> int:
    return sum(count for reason, count in dropped.items() if reason.startswith("worker_"))


@click.command()
@click.option("--decoded", default=1_000_000, show_default=True, help="Messages through wire.decode.")
@click.option("--sent", default=50_000, show_default=True, help="Messages to each socket of a broker.")
@click.option("--raw", default=5_000, show_default=True, help="Raw connections, without and with keys.")
@click.option("--seed", default=0, show_default=True)
def main(decoded: int, sent: int, raw: int, seed: int) -> None:
    """Fuzz the wire format and a live broker, and print what became of it as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "decode": fuzz_decode(decoded, seed),
            "sockets": fuzz_sockets(sent, seed + 1),
            "raw": fuzz_raw(raw, seed + 2, None),
            "raw_with_keys": fuzz_raw(raw, seed + 3, Path(folder) / "keys"),
        }
    click.echo(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
