"""Of a package that is left unread a part is imported alone; whoever asks for more has all of it."""

import subprocess
import sys


def _said(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30).stdout


def test_the_client_is_not_imported_until_it_is_asked_for() -> None:
    code = (
        "import sys, sidecar.server, aiohttp.web; print('aiohttp.client' in sys.modules);"
        "import aiohttp; print(aiohttp.ClientSession.__module__, aiohttp.web.Request.__name__);"
        "from aiohttp import TCPConnector; print(type(aiohttp).__name__, hasattr(aiohttp, 'no_such_name'))"
    )
    assert _said(code).splitlines() == ["False", "aiohttp.client Request", "module False"]


def test_the_version_is_the_packages_own() -> None:
    with_and_without = [
        _said(f"{first}import aiohttp.http; print(aiohttp.__version__, aiohttp.http.SERVER_SOFTWARE)")
        for first in ("", "import sidecar.server; ")
    ]
    assert with_and_without[0] == with_and_without[1]


def test_a_package_that_was_imported_before_stays_what_it_is() -> None:
    assert _said("import aiohttp; a = aiohttp; import sidecar.server; import aiohttp; print(a is aiohttp)") == "True\n"


def test_structlog_and_watchfiles_work_in_part_and_as_a_whole() -> None:
    code = (
        "import sys; from sidecar.unread import leave_unread; leave_unread('structlog'); leave_unread('watchfiles');"
        "from structlog._generic import BoundLogger; from watchfiles.main import watch;"
        "print([name in sys.modules for name in ('structlog.dev', 'watchfiles.run')]);"
        "import structlog, watchfiles; print(structlog.BoundLogger is BoundLogger, watchfiles.watch is watch)"
    )
    assert _said(code).splitlines() == ["[False, False]", "True True"]


def test_a_submodule_can_be_asked_for_as_an_attribute() -> None:
    code = (
        "from sidecar.unread import leave_unread; leave_unread('structlog'); import structlog;"
        "print(structlog.stdlib.__name__, structlog.contextvars.__name__)"
    )
    assert _said(code) == "structlog.stdlib structlog.contextvars\n"


def test_threads_that_ask_at_once_all_find_it() -> None:
    code = (
        "import sidecar.server, aiohttp; from concurrent.futures import ThreadPoolExecutor;"
        "names = ['ClientSession', 'TCPConnector', 'ClientTimeout', 'FormData'] * 2;"
        "print([found.__name__ for found in ThreadPoolExecutor(8).map(lambda name: getattr(aiohttp, name), names)])"
    )
    assert _said(code) == f"{['ClientSession', 'TCPConnector', 'ClientTimeout', 'FormData'] * 2}\n"


def test_an_app_that_uses_the_python_api_imports_its_own_packages_as_ever() -> None:
    code = (
        "import asyncio, sys, sidecar\n"
        "async def use():\n"
        "    async with sidecar.LLMManager() as manager:\n"
        "        await manager.chat([{'role': 'user', 'content': 'Hello'}])\n"
        "        manager.log.event('error', 'thing.happened')\n"
        "asyncio.run(use())\n"
        "unread = [name for name, module in sys.modules.items() if type(module).__name__ == '_Unread']\n"
        "print('structlog' in sys.modules, unread)"
    )
    assert _said(code) == "True []\n"


def test_a_daemon_imports_no_part_of_a_library_that_it_has_no_use_for() -> None:
    spared = ("aiohttp.web", "aiohttp.web_app", "aiohttp.web_fileresponse", "aiohttp.web_ws", "frozenlist")
    spared += ("html.entities", "email.headerregistry", "http.client")
    code = f"import sys, sidecar.daemon; print([name for name in {spared} if name in sys.modules])"
    assert _said(code) == "[]\n"


def test_what_is_unused_is_there_for_who_uses_it() -> None:
    code = (
        "import os, sidecar.daemon; from aiohttp import helpers, web_protocol;"
        "print(web_protocol.html_escape('<'), *helpers.parse_content_type('a/b; charset=x'));"
        "os.environ['http_proxy'] = 'http://p:1'; print(helpers.proxies_from_env()['http'].proxy);"
        "import html, urllib.request; from email.policy import HTTP, SMTP;"
        "print(html.unescape('&lt;'), urllib.request.Request('http://h/').host, HTTP.max_line_length, SMTP.cte_type)"
    )
    assert _said(code).splitlines() == ["&lt; a/b {'charset': 'x'}", "http://p:1", "< h None 8bit"]


def test_nothing_but_its_name_stands_in_for_what_is_unused() -> None:
    code = (
        "import sys; from sidecar.unread import leave_unused; leave_unused('html', 'escape', 'gone');"
        "from html import escape; import html; print(sorted(vars(html))[-2:], 'html.entities' in sys.modules);"
        "print(escape('<'), 'html.entities' in sys.modules, html.escape is escape, hasattr(html, 'gone'))"
    )
    assert _said(code).splitlines() == ["['escape', 'gone'] False", "&lt; True False False"]
