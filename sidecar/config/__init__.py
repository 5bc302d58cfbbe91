"""Text to `Snapshot`: schema, strict decoding with places, references, compiling, presets.

Pure: is given `(texts, lookup)` by `sources`, which finds and reads files, environment and credentials.
"""
