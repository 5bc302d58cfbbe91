"""The doors: listeners, the guard, the data plane, the admin plane."""

from sidecar.server.aiohttp_package import leave_client_out

leave_client_out()
