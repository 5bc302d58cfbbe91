"""One attempt at one target: the connection, the key, the call, the judgement of its answer."""
