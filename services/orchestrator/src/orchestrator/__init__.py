"""OpenClaw: agents, the choice among them, and dispatch."""
