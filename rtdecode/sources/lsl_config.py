"""liblsl's own configuration: keep a session on this machine and apart from all others.

liblsl reads its configuration once, on its first call in a process, so this must run before. It imports
nothing of pylsl.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

_TEMPLATE = """\
[ports]
IPv6 = disable
[multicast]
ResolveScope = machine
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session_id}
[log]
level = -2
"""


def use_loopback(session_id: str | None = None) -> str:
    """Confine LSL, in this process and those it starts, to this machine and one session.

    Streams of another SessionID are invisible, so that demos and tests never meet a lab's streams.

    Parameters
    ----------
    session_id
        Name of the session; a random one by default.

    Returns
    -------
    str
        The session's name.
    """
    session_id = session_id or f"rtdecode-{secrets.token_hex(8)}"
    path = Path(tempfile.gettempdir()) / f"{session_id}.lsl.cfg"
    path.write_text(_TEMPLATE.format(session_id=session_id), encoding="ascii")
    os.environ["LSLAPICFG"] = str(path)
    return session_id
