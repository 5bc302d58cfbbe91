"""Text to `Snapshot`: schema, strict decoding with places, references, compiling, presets.

Pure: is given `(texts, lookup)` by `sources`, which finds and reads files, environment and credentials.

    tree        YAML to nodes with places; hostile input is refused here
    references  ${NAME}, ${file:...}, ${credential:...}
    schema      the shape of the file, one Struct a map; `values` the types of what they hold; `shape` reads both
    decode      nodes to schema; `wording` says what is wrong, `problems` collects it
    units       durations, sizes, percentages    addresses  base URLs and listeners
    overlay     the narrower scope wins key by key
    presets     what is known of the vendors, as data
    providers, credentials, routes               schema to topology, with every cross check
    load        all of it in order               environment  the config of those who have no file
    diff        what changed                     derive  new snapshots from the current one
    jsonschema  the schema for editors
"""

from sidecar.config.derive import (
    balanced,
    checked_weight,
    strategy_named,
    with_chain,
    with_weight,
)
from sidecar.config.diff import Delta, Diff, chain_text, diff
from sidecar.config.environment import environment_yaml, from_environment
from sidecar.config.jsonschema import json_schema
from sidecar.config.load import Source, load
from sidecar.config.presets import PRESETS, Preset
from sidecar.config.problems import ConfigErrors, ConfigProblem
from sidecar.config.references import Lookup, Stamp

__all__ = [
    "PRESETS",
    "ConfigErrors",
    "ConfigProblem",
    "Delta",
    "Diff",
    "Lookup",
    "Preset",
    "Source",
    "Stamp",
    "balanced",
    "chain_text",
    "checked_weight",
    "diff",
    "environment_yaml",
    "from_environment",
    "json_schema",
    "load",
    "strategy_named",
    "with_chain",
    "with_weight",
]
