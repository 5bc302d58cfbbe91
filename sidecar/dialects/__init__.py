"""Wire formats: bytes and JSON on one side, facts and values on the other.

Pure: no I/O, no clock. One file per format, `sse` for the framing, `relay` for what happens to a
stream on its way through.
"""
