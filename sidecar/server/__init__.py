"""The doors: listeners, the guard, the data plane, the admin plane."""

from sidecar.unread import leave_unread, leave_unused

leave_unread("aiohttp")  # its client is not for servers
leave_unused("html", "escape")  # for error pages, which are none of ours
leave_unused("email.policy", "HTTP")  # for the parts of a content type, which nobody asks for
leave_unused("urllib.request", "getproxies", "proxy_bypass")  # for its client
