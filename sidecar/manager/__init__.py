"""The embeddable heart: `LLMManager` holds the snapshot and drives failover; it owns no policy.

`manager`       the one snapshot in force, and the state that outlives it
`rooms`         what a request needs of these, as one value
`answer`        one request, from its plan to its two log lines: the corridor that every request walks
`race`          attempts of a request that run at the same time
`pins`          requests that only one provider can answer
`ordinary`      the request that has nothing in its way
`trail`         what such requests have in common; `stencil`: their lines and headers, copied from those before
`passage`       a request that is passed on as it is
`recorder`      what happened to a request, as lines and counts
`headers`       those of the answer to the client
`conversation`  the calls of the Python API over the corridor
`overrides`     changes by hand on top of the config
`checks`        when which provider is checked; `prober`: checks it, and tells who wants to know
`standings`     how providers stand, by name
`status`        what people and programs are told
`strategy`, `balancing`, `state`, `callbacks`, `shared`   the other public Python names
"""

from sidecar.manager.manager import LLMManager

__all__ = ["LLMManager"]
