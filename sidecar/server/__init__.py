"""The doors: listeners, the guard, the data plane, the admin plane."""

from sidecar.unread import leave_unread

leave_unread("aiohttp")  # its client is not for servers
