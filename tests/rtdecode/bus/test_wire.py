"""The wire format carries every message unharmed and lets nothing else through."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtdecode.bus import WireError
from rtdecode.bus.wire import MAX_HEADER_BYTES, MAX_MESSAGE_BYTES, decode, encode, floats, topic
from rtdecode.contracts import (
    Accounts,
    AlarmCode,
    AlarmMessage,
    ControlReply,
    EmbeddingMessage,
    Fate,
    HeadOutput,
    HeadRole,
    Hit,
    MarkerMessage,
    Message,
    Quality,
    Ranking,
    Request,
    RetrievalMessage,
    Stamps,
    StatusMessage,
    StreamState,
    StreamStatus,
    Verdict,
    VerdictMessage,
)

# Lone surrogates are no Unicode text and are tested apart.
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 2**40)
envelope = {"simulated": st.booleans(), "host": text, "boot_id": text, "sequence": count, "sent_at": number}
requests = st.builds(
    Request,
    stream=text,
    segment=count,
    origin=st.sampled_from(["marker", "stride"]),
    index=count,
    decoder=text,
)
of_request = {"request": requests, "label": text, "stimulus_id": st.none() | text}
heads = st.builds(HeadOutput, name=text, role=st.sampled_from(HeadRole), dim=st.integers(1, 9))
rankings = st.builds(
    Ranking,
    hits=st.lists(st.builds(Hit, stimulus_id=text, score=number), max_size=3).map(tuple),
    truth_rank=st.none() | count,
    averaged=st.integers(1, 99),
)
embeddings = st.builds(
    EmbeddingMessage,
    **envelope,
    **of_request,
    decoder_sha256=text,
    segment=count,
    onset_sample=count,
    residual_us=number,
    stream_delay_s=number,
    marker_delay_s=number,
    stamps=st.builds(
        Stamps,
        marker_host=text,
        data_host=text,
        **{
            name: st.none() | number if "marker" in name else number
            for name in Stamps.model_fields
            if "host" not in name
        },
    ),
    quality=st.builds(Quality, missing_channels=st.lists(text, max_size=2).map(tuple)),
    heads=st.lists(heads, max_size=3).map(tuple),
)
others = st.one_of(
    st.builds(VerdictMessage, **envelope, **of_request, verdict=st.sampled_from(Verdict), reason=text),
    st.builds(
        MarkerMessage,
        **envelope,
        source=text,
        label=text,
        stimulus_id=st.none() | text,
        fate=st.sampled_from(Fate),
        index=st.none() | count,
        stamp=number,
        reason=text,
    ),
    st.builds(
        RetrievalMessage,
        **envelope,
        **of_request,
        head=text,
        gallery=text,
        n_gallery=st.integers(1, 99),
        single=rankings,
        running=st.none() | rankings,
        received_at=number,
    ),
    st.builds(
        AlarmMessage,
        **envelope,
        code=st.sampled_from(AlarmCode),
        subject=text,
        active=st.booleans(),
        text=text,
    ),
    st.builds(
        StatusMessage,
        **envelope,
        state=st.sampled_from(["connecting", "live", "stopping", "stopped"]),
        accounts=st.builds(
            Accounts,
            markers=st.dictionaries(st.sampled_from(Fate), count),
            requests=st.dictionaries(st.sampled_from(Verdict), count),
            n_open=count,
        ),
        streams=st.dictionaries(
            text, st.builds(StreamStatus, state=st.sampled_from(StreamState)), max_size=2
        ),
        providers=st.dictionaries(text, text, max_size=2),
        delays=st.just({}),
    ),
)


@st.composite
def embeddings_with_payload(draw: st.DrawFn) -> tuple[EmbeddingMessage, list[np.ndarray]]:
    message = draw(embeddings)
    values = st.floats(width=32, allow_nan=False, allow_infinity=False)
    return message, [
        np.array(draw(st.lists(values, min_size=head.dim, max_size=head.dim)), np.float32)
        for head in message.heads
    ]


@given(embeddings_with_payload())
@settings(max_examples=50)
def test_embeddings_survive_the_wire_bit_by_bit(sent: tuple[EmbeddingMessage, list[np.ndarray]]) -> None:
    message, payload = sent
    received = decode(encode(message, payload))
    assert received.message == message
    assert received.topic == topic(message)
    for head, frame, array in zip(message.heads, received.payload, payload, strict=True):
        assert floats(frame, head.dim).tobytes() == array.tobytes()


@given(others)
@settings(max_examples=100)
def test_messages_without_payload_survive_the_wire(message: Message) -> None:
    received = decode(encode(message))
    assert received.message == message
    assert received.payload == ()


def test_topics_start_with_the_kind(embedding: EmbeddingMessage, status: StatusMessage) -> None:
    assert topic(embedding) == b"embedding/eeg/ridge"
    assert topic(status) == b"status/"


def test_payload_is_little_endian_float32_whatever_was_given(embedding: EmbeddingMessage) -> None:
    big_endian = np.array([1.0, 2.0, 3.0], ">f8")
    frames = encode(embedding, [big_endian, np.ones((4, 2))[::2, 1]])
    assert frames[2] == np.array([1.0, 2.0, 3.0], "<f4").tobytes()
    assert frames[3] == np.ones(2, "<f4").tobytes()


@given(st.lists(st.binary(max_size=200), max_size=5))
@settings(max_examples=200)
def test_arbitrary_frames_raise_nothing_but_wire_errors(frames: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(frames)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)


@given(st.data(), others | embeddings)
@settings(max_examples=200)
def test_a_damaged_header_is_refused_or_still_a_valid_message(data: st.DataObject, message: Message) -> None:
    header = json.loads(message.model_dump_json())
    key = data.draw(st.sampled_from([*header, "unknown"]))
    if data.draw(st.booleans()):
        header[key] = data.draw(json_values)
    else:
        header.pop(key, None)
    frames = [topic(message), json.dumps(header).encode()]
    try:
        received = decode(frames)
    except WireError:
        return
    assert topic(received.message) == frames[0]


@given(st.data())
@settings(max_examples=100)
def test_a_truncated_message_is_refused(data: st.DataObject) -> None:
    message, payload = data.draw(embeddings_with_payload())
    frames = encode(message, payload)
    which = data.draw(st.integers(0, len(frames) - 1))
    length = data.draw(st.integers(0, len(frames[which]) - 1))
    frames[which] = frames[which][:length]
    with pytest.raises(WireError):
        decode(frames)


def test_a_header_too_long_is_refused_unread(verdict: VerdictMessage) -> None:
    padding = b" " * MAX_HEADER_BYTES
    name, header = encode(verdict)
    with pytest.raises(WireError, match="allowed are"):
        decode([name, header + padding])
    with pytest.raises(WireError, match="allowed are"):
        encode(verdict.model_copy(update={"reason": padding.decode()}))


def test_a_payload_that_no_socket_takes_is_not_sent(embedding: EmbeddingMessage) -> None:
    head = HeadOutput(name="pixels", role=HeadRole.RECONSTRUCTION, dim=MAX_MESSAGE_BYTES // 4 + 1)
    with pytest.raises(WireError, match="allowed are"):
        encode(embedding.model_copy(update={"heads": (head,)}), [np.zeros(head.dim, np.float32)])


@pytest.mark.parametrize("header", [b"[" * 100_000, b'{"kind":"status","sequence":' + b"9" * 5000 + b"}"])
def test_json_made_to_exhaust_a_parser_is_refused(header: bytes) -> None:
    with pytest.raises(WireError):
        decode([b"status/", header])


def test_a_topic_of_another_message_is_refused(verdict: VerdictMessage) -> None:
    _, header = encode(verdict)
    with pytest.raises(WireError, match="does not belong"):
        decode([b"verdict/eeg/other", header])


def test_a_newer_schema_is_refused_by_name(verdict: VerdictMessage) -> None:
    name, header = encode(verdict)
    with pytest.raises(WireError, match="schema_version"):
        decode([name, header.replace(b'"schema_version":1', b'"schema_version":2')])


@pytest.mark.parametrize(
    "payload",
    [
        [],
        [np.zeros(3)],
        [np.zeros(3), np.zeros(3)],
        [np.zeros(3), np.zeros(2), np.zeros(1)],
        [np.array([0.0, np.nan, 0.0]), np.zeros(2)],
        [np.array([0.0, 1e300, 0.0]), np.zeros(2)],
        [b"x" * 12, b"x" * 7],
    ],
)
def test_a_payload_that_does_not_fit_its_header_is_not_sent(
    embedding: EmbeddingMessage, payload: list[np.ndarray | bytes]
) -> None:
    with pytest.raises(WireError, match="payload frame"):
        encode(embedding, payload)


def test_numbers_that_are_not_finite_are_refused_on_receipt(
    embedding: EmbeddingMessage, payload: list[np.ndarray]
) -> None:
    frames = encode(embedding, payload)
    frames[2] = np.array([0.0, np.inf, 0.0], "<f4").tobytes()
    with pytest.raises(WireError, match="not finite"):
        decode(frames)


def test_text_that_is_not_unicode_is_not_sent(verdict: VerdictMessage, status: StatusMessage) -> None:
    with pytest.raises(WireError):
        encode(verdict.model_copy(update={"label": "\udcff"}))
    stream = verdict.request.model_copy(update={"stream": "\udcff"})
    with pytest.raises(WireError):
        encode(verdict.model_copy(update={"request": stream}))


def test_what_is_no_bus_message_is_not_sent() -> None:
    with pytest.raises(WireError):
        topic(ControlReply(ok=True))  # type: ignore[arg-type]
