"""The embeddable heart: `LLMManager` holds the snapshot and drives failover; it owns no policy.

`manager`       the one snapshot in force, and the state that outlives it
`answer`        one request, from its plan to its two log lines: the corridor that every request walks
`conversation`  the calls of the Python API over that corridor
`overrides`     changes by hand on top of the config
`checks`        when which provider is checked
`status`        what people and programs are told
`strategy`, `balancing`, `state`, `callbacks`, `shared`   the other public Python names
"""

from sidecar.manager.manager import LLMManager

__all__ = ["LLMManager"]
