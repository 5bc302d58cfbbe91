"""The words of the house as values: what every room may hold and none may change in passing.

`failures`  what can go wrong (the kinds) and what follows from it (the POLICY table)
`errors`    the one family of exceptions that crosses rooms; each carries a `Failure`
`topology`  providers, targets, pools, routes, and the immutable `Snapshot` made of them
`settings`  every constant of the product with its default, as the config can set it
`request`   one client request as it was received: a `Call`
`records`   the values behind the log lines
`secret`    text that must not be seen
`slips`     how far a name is from the one that was meant
`chat`      the messages and answers of the Python API

Pure: no I/O, no clock, no randomness. Imports nothing of the house.
"""
