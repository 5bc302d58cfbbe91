"""What the doors use of aiohttp's server, from where it is defined.

`aiohttp.web` has all of it as well, and brings static files, web sockets and a command line: a megabyte.
"""

from __future__ import annotations

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response, StreamResponse
from aiohttp.web_server import Server

__all__ = ["BaseRequest", "Response", "Server", "StreamResponse"]
