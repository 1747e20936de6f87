"""Messages that tests change only where they look."""

from __future__ import annotations

from rtdecode.contracts import EmbeddingMessage, HeadOutput, HeadRole, Quality, Request, Stamps

REQUEST = Request(stream="eeg", segment=0, origin="marker", index=3, decoder="ridge")

STAMPS = Stamps(
    marker_host="stimulus-pc",
    data_host="amplifier-pc",
    marker_source=1.0,
    marker_corrected=1.25,
    marker_arrival=1.5,
    data_source=1.75,
    data_corrected=2.0,
    data_arrival=2.25,
    inference_start=2.5,
    inference_end=2.75,
)

STRIDE_STAMPS = STAMPS.model_copy(
    update={"marker_host": "", "marker_source": None, "marker_corrected": None, "marker_arrival": None}
)


def embedding_message(**fields: object) -> EmbeddingMessage:
    """An embedding of two heads, of 3 and 2 dimensions, with these fields changed."""
    unchanged = {
        "simulated": True,
        "request": REQUEST,
        "label": "face/1",
        "stimulus_id": "face_1",
        "decoder_sha256": "0" * 64,
        "segment": 0,
        "onset_sample": 1200,
        "residual_us": -120.5,
        "stamps": STAMPS,
        "quality": Quality(),
        "heads": (
            HeadOutput(name="clip", role=HeadRole.RETRIEVAL, dim=3),
            HeadOutput(name="pixels", role=HeadRole.RECONSTRUCTION, dim=2),
        ),
        "stream_delay_s": 0.0,
        "marker_delay_s": 0.012,
    }
    return EmbeddingMessage(**{**unchanged, **fields})
