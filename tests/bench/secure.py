"""A door with TLS before the upstream: another nginx, with a certificate that is made for the run.

The upstream itself speaks plain HTTP, so that it needs no library. The door runs on the load's core.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

__all__ = ["CERTIFICATE", "UnavailableError", "door", "wait"]

CERTIFICATE = "door.pem"  # in the run's directory; names localhost and 127.0.0.1, and vouches for itself
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

_START_S = 10.0

_OPENSSL = """
[req]
prompt = no
distinguished_name = name
x509_extensions = extensions
[name]
CN = localhost
[extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign
subjectKeyIdentifier = hash
subjectAltName = DNS:localhost, IP:127.0.0.1
"""

_REQUEST = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
_FILES = ("-config", "door.cnf", "-keyout", "door.key", "-out", CERTIFICATE)

_NGINX = """
daemon off; master_process off; pid {run}/door.pid; error_log {run}/door.error warn; worker_rlimit_nofile 20000;
events {{ worker_connections 5000; }}
http {{
  access_log off; client_body_temp_path {run}/d1; proxy_temp_path {run}/d2; fastcgi_temp_path {run}/d3;
  uwsgi_temp_path {run}/d4; scgi_temp_path {run}/d5;
  client_body_buffer_size 2m; tcp_nodelay on; keepalive_requests 1000000000; keepalive_timeout 300s;
  upstream plain {{ server 127.0.0.1:{up}; keepalive 2000; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} ssl backlog=4096; ssl_certificate {run}/door.pem; ssl_certificate_key {run}/door.key;
    ssl_session_cache shared:door:1m;
    proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    location / {{ proxy_pass http://plain; }}
  }}
}}
"""


class UnavailableError(Exception):
    """This machine lacks something; the text says what."""


def door(run: Path, port: int, up: int) -> list[str]:
    """The command that starts it; its files are written first.

    Raises:
        UnavailableError: There can be none.
    """
    openssl = shutil.which("openssl")
    if NGINX is None or openssl is None:
        raise UnavailableError("needs nginx and openssl")
    built = subprocess.run([NGINX, "-V"], capture_output=True, text=True, timeout=10, check=False).stderr
    if "http_ssl_module" not in built:
        raise UnavailableError(f"{NGINX} was built without TLS")
    (run / "door.cnf").write_text(_OPENSSL)
    made = subprocess.run(
        [openssl, *_REQUEST, *_FILES],
        cwd=run,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if made.returncode:
        raise UnavailableError(f"openssl made no certificate: {made.stderr.strip()[-200:]}")
    config = run / "door.conf"
    config.write_text(_NGINX.format(run=run, port=port, up=up))
    return [NGINX, "-c", str(config), "-e", f"{run}/door.error"]


def wait(run: Path, port: int) -> None:
    """Until it can be spoken to.

    Raises:
        RuntimeError: It does not start, or is not trusted.
    """
    context = ssl.create_default_context(cafile=str(run / CERTIFICATE))
    give_up = time.monotonic() + _START_S
    while True:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1"),
            ):
                return
        except OSError as error:
            if time.monotonic() > give_up:
                raise RuntimeError(f"the door with TLS does not open: {error}") from error
            time.sleep(0.02)
