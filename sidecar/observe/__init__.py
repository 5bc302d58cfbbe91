"""What can be seen of the daemon from outside: log lines, metrics, the live feed of attempts."""
