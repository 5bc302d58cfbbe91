"""Who is at the other end of a Unix socket, as the kernel says."""

from __future__ import annotations

import asyncio
import socket
import struct

__all__ = ["peer_uid"]

_UCRED = struct.Struct("3i")  # pid, uid, gid: unix(7), SO_PEERCRED


def peer_uid(transport: asyncio.Transport | None) -> int | None:
    """The uid of the process that connected; None over TCP, or when the kernel does not say."""
    peer = transport.get_extra_info("socket") if transport is not None else None
    if peer is None or peer.family != socket.AF_UNIX:
        return None
    try:
        _, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    except OSError:
        return None
    return int(uid)
