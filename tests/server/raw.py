"""A client that writes any bytes and reads answers with their framing: what a well-behaved one would hide."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["RawClient", "RawReply", "chat_body", "head", "post"]

_PATIENCE_S = 8.0


@dataclass
class RawReply:
    """One answer as it came."""

    status: int
    version: str
    headers: Sequence[tuple[str, str]]  # names in lower case, in their order
    body: bytes = b""
    complete: bool = True  # framed to its end, last chunk included
    interim: Sequence[int] = field(default_factory=tuple)  # statuses such as 100 that came before

    def header(self, name: str) -> str | None:
        """The one value of a header; None without it."""
        values = [value for each, value in self.headers if each == name]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def closes(self) -> bool:
        return self.header("connection") == "close"

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Mapping[str, Any]:
        """The error object; its shape is checked."""
        assert self.header("content-type") == "application/json", self.headers
        error = self.json["error"]
        assert isinstance(error["message"], str)
        assert isinstance(error["type"], str)
        return error

    @property
    def events(self) -> list[str]:
        """The data of a stream's events."""
        return [frame.removeprefix("data: ") for frame in self.body.decode().split("\n\n") if frame]


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, where: int | str, *, limit: int = 2**16) -> RawClient:
        """Connect to a port of 127.0.0.1 or to the path of a Unix socket."""
        async with asyncio.timeout(_PATIENCE_S):
            if isinstance(where, int):
                return cls(*await asyncio.open_connection("127.0.0.1", where, limit=limit))
            return cls(*await asyncio.open_unix_connection(where, limit=limit))

    async def __aenter__(self) -> RawClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    async def send(self, data: bytes) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            self.writer.write(data)
            await self.writer.drain()

    async def ask(self, data: bytes, *, head_only: bool = False) -> RawReply:
        """Send a request and read its answer."""
        await self.send(data)
        return await self.reply(head_only=head_only)

    async def reply(self, *, head_only: bool = False) -> RawReply:
        """The next answer.

        Args:
            head_only: It answers a HEAD.
        """
        async with asyncio.timeout(_PATIENCE_S):
            reply = await self.head()
            interim = []
            while reply.status < 200:
                interim.append(reply.status)
                reply = await self.head()
            reply.interim = tuple(interim)
            if not head_only and reply.status not in (204, 304):
                await self._body(reply)
            return reply

    async def head(self) -> RawReply:
        """The next head alone."""
        async with asyncio.timeout(_PATIENCE_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, status, _ = lines[0].split(" ", 2)
        pairs = (line.split(": ", 1) for line in lines[1:])
        return RawReply(int(status), version, tuple((name.lower(), value) for name, value in pairs))

    async def _body(self, reply: RawReply) -> None:
        length = reply.header("content-length")
        try:
            if reply.header("transfer-encoding") == "chunked":
                while piece := await self.chunk():
                    reply.body += piece
            elif length is not None:
                reply.body = await self.reader.readexactly(int(length))
            else:
                reply.body = await self.reader.read()
        except asyncio.IncompleteReadError as error:
            reply.body += error.partial
            reply.complete = False

    async def chunk(self) -> bytes:
        """The next chunk; b"" is the last."""
        async with asyncio.timeout(_PATIENCE_S):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            data = await self.reader.readexactly(size + 2)
        assert data.endswith(b"\r\n")
        return data[:-2]

    async def rest(self, timeout_s: float = _PATIENCE_S) -> bytes:
        """All until the other side's FIN.

        Raises:
            ConnectionResetError: It was a RST.
        """
        async with asyncio.timeout(timeout_s):
            return await self.reader.read()

    def abort(self) -> None:
        """Be gone at once."""
        self.writer.transport.abort()


def head(
    method: str, target: str, *headers: tuple[str, str | bytes], host: str | None = "localhost", version: str = "1.1"
) -> bytes:
    """A request's head."""
    lines = [f"{method} {target} HTTP/{version}".encode()]
    pairs = [("Host", host), *headers] if host is not None else headers
    for name, value in pairs:
        lines.append(name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def chat_body(model: str = "default", *, stream: bool = False, **fields: object) -> bytes:
    """The body of a chat request."""
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "stream": stream, **fields}
    return json.dumps(body).encode()


def post(
    body: bytes,
    *headers: tuple[str, str | bytes],
    path: str = "/v1/chat/completions",
    host: str | None = "localhost",
    content_type: str | None = "application/json",
    version: str = "1.1",
) -> bytes:
    """A POST with its body."""
    typed = [("Content-Type", content_type)] if content_type is not None else []
    length = ("Content-Length", str(len(body)))
    return head("POST", path, *typed, length, *headers, host=host, version=version) + body
