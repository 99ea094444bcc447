"""The history of the orchestrator's schema."""
