"""Who published a message, when, and as which of its topic."""

from __future__ import annotations

import socket
import uuid
from collections import Counter
from typing import TYPE_CHECKING

from rtdecode.bus.wire import encode, topic

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from rtdecode.contracts import Message


class Envelope:
    """Fills the envelope of one publisher's messages.

    Parameters
    ----------
    publisher
        Role of the publishing process.
    clock
        Gives ``sent_at``, seconds.

    Attributes
    ----------
    boot_id : str
        Stands for the start of this process.
    sequences
        The next sequence number of each topic.
    """

    def __init__(self, publisher: str, clock: Callable[[], float]) -> None:
        self._publisher = publisher
        self._clock = clock
        self._host = socket.gethostname()
        self.boot_id = uuid.uuid4().hex
        self.sequences: Counter[bytes] = Counter()

    def seal(self, message: Message, payload: Sequence[np.ndarray | bytes] = ()) -> list[bytes]:
        """Fill in host, boot, publisher, the topic's next sequence number and the time, and encode.

        Raises
        ------
        WireError
            If the message cannot be sent; no sequence number is spent on it.
        """
        name = topic(message)
        sealed = message.model_copy(
            update={
                "host": self._host,
                "boot_id": self.boot_id,
                "publisher": self._publisher,
                "sequence": self.sequences[name],
                "sent_at": self._clock(),
            }
        )
        frames = encode(sealed, payload)
        self.sequences[name] += 1
        return frames
