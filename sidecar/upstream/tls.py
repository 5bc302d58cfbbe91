"""TLS for outgoing connections: knows certificates and their files, and nothing of what is sent.

Verification is always on and nothing older than TLS 1.2 is spoken: there is no setting that turns
either off. `ca_file` replaces the system's authorities, so that a private authority is trusted for
its own provider and a public one is not. A file that cannot be used is named in the error, because
the message of the TLS library does not.
"""

from __future__ import annotations

import ssl
from functools import lru_cache
from threading import Lock

from sidecar.model.topology import Tls
from sidecar.upstream.transport import Breach, TransportError

__all__ = ["client_context", "handshake_error"]

_ONE_AT_A_TIME = Lock()


def client_context(tls: Tls) -> ssl.SSLContext:
    """The context for connections that are checked as `tls` says; 50 ms of a processor for the system's authorities.

    May be called from any thread.

    Raises:
        TransportError: TLS, naming the file that cannot be used.
    """
    if tls == Tls():
        with _ONE_AT_A_TIME:  # whoever comes meanwhile waits, and takes the one that was made
            return _system_context()
    return _context(tls)


@lru_cache(maxsize=1)
def _system_context() -> ssl.SSLContext:
    """The context of the system's authorities: megabytes, so all pools share one."""
    return _context(Tls())


def _context(tls: Tls) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except OSError as error:  # ssl.SSLError is one of them
        raise TransportError(Breach.TLS, f"ca_file {tls.ca_file}: {_reason(error)}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if tls.cert_file is not None:
        _load_certificate(context, tls.cert_file, tls.key_file)
    return context


def _load_certificate(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    """Load the client's certificate; the files are opened first, for the library does not say which is missing."""
    for name, path in (("cert_file", cert_file), ("key_file", key_file)):
        try:
            if path is not None:
                open(path, "rb").close()
        except OSError as error:
            raise TransportError(Breach.TLS, f"{name} {path}: {_reason(error)}") from error
    try:
        # The empty password keeps OpenSSL from asking for one on the terminal when a key is encrypted.
        context.load_cert_chain(cert_file, key_file, password="")
    except OSError as error:
        files = cert_file if key_file is None else f"{cert_file} with key_file {key_file}"
        raise TransportError(Breach.TLS, f"cert_file {files}: {_reason(error)}") from error


def handshake_error(where: str, error: BaseException) -> TransportError:
    """What a failed handshake, or a certificate that was refused later, is told as."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return TransportError(Breach.TLS, f"{where}: the certificate is not trusted: {error.verify_message}")
    if isinstance(error, OSError):
        return TransportError(Breach.TLS, f"{where}: the TLS handshake failed: {_reason(error)}")
    return TransportError(Breach.TLS, f"{where}: the TLS handshake failed")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "not usable").replace("_", " ").lower()
    return error.strerror or "the connection was closed"
