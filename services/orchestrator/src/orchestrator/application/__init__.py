"""What the orchestrator does: the agents' use cases, watching over them, and dispatch."""
