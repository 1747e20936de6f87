"""liblsl's own configuration: keep a session on this machine and apart from all others.

liblsl reads its configuration once, on its first call in a process, so this must run before. It imports
nothing of pylsl.
"""

from __future__ import annotations

import atexit
import os
import secrets
import tempfile
from pathlib import Path

_TEMPLATE = """\
[ports]
BasePort = {base_port}
PortRange = {port_range}
IPv6 = disable
[multicast]
ResolveScope = machine
[lab]
KnownPeers = {{127.0.0.1}}
SessionID = {session_id}
[log]
level = -2
"""

_FIRST_PORT, _LAST_PORT = 17_000, 32_000
"""Above liblsl's own ports, below those that systems hand out to clients."""

_PORT_RANGE = 128
"""Streams a session may have at once: one outside the range is not found. liblsl's own range is 32 ports, for
all sessions of a machine together."""


def use_loopback(session_id: str | None = None) -> str:
    """Confine LSL, in this process and those it starts, to this machine and one session.

    Streams of another SessionID are invisible, so that demos and tests never meet a lab's streams. Ports of
    its own, drawn at random, keep a session's streams findable while others run.

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
    base_port = _FIRST_PORT + _PORT_RANGE * secrets.randbelow((_LAST_PORT - _FIRST_PORT) // _PORT_RANGE)
    text = _TEMPLATE.format(session_id=session_id, base_port=base_port, port_range=_PORT_RANGE)
    path.write_text(text, encoding="ascii")
    atexit.register(path.unlink, missing_ok=True)
    os.environ["LSLAPICFG"] = str(path)
    return session_id
