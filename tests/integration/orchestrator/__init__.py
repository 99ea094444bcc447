"""The orchestrator over the real bus, against real HTTP upstreams."""
