"""The embeddable heart: `LLMManager` holds the snapshot and drives failover; it owns no policy."""
