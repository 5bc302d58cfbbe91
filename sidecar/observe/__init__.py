"""What can be seen of the daemon from outside: log lines, metrics, the live feed of attempts.

`log`         DebugLogger: records and events in, one JSON line each out
`encode`      a record or an event as a line: time stamp, order of keys, caps
`redact`      what must not be in a line, and how it is found
`window`      what is said at most so often a second
`feed`        the live view of the lines for whoever asks
`form`        how a line looks at its output: JSON, journal, console
`lines`       batches of lines to a descriptor or a file, without ever waiting for it
`output`      the descriptor or file itself
`capture`     what libraries, warnings and crashes have to say, as lines too
`metrics`     counters and histograms of attempts and requests
`histogram`   the numbers behind them
`exposition`  the same in Prometheus' text format
`prices`      what an answer cost
"""
