"""Where bus agents are asked, and the headers that they are asked and answer with; docs/bus-agents.md explains them.

They are no services: whoever writes one knows nothing of this package.
"""

ASKED_AT = "peanut.agent.>"
"""All subjects on which bus agents are asked."""
QUEUE = "agent"
"""The queue group of an agent's processes: one of them gets each question."""

DEADLINE = "Peanut-Deadline"
SEQUENCE = "Peanut-Seq"
END = "Peanut-End"
ERROR = "Peanut-Error"
ERROR_CODE = "Peanut-Error-Code"
REFUSED = "refused"


def agent_subject(agent_id: str, verb: str) -> str:
    """Where one agent is asked to `chat`, for `embeddings` or a `probe`, and told to `cancel`; `>` for all of them."""
    return f"peanut.agent.{agent_id}.{verb}"
