"""What the orchestrator knows: agents, their health, the choice among them, and where they may be."""
