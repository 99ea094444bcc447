"""Keys of bus agents over the bus."""

from orchestrator.application.agent_keys import AgentKeys
from shared.bus import CallContext, Endpoint
from shared.contracts.orchestrator import ISSUE_AGENT_KEY, IssueAgentKey, KeyedAgent


def agent_key_endpoints(keys: AgentKeys) -> list[Endpoint]:
    """What the orchestrator answers about keys of bus agents."""

    async def issue(request: IssueAgentKey, context: CallContext) -> KeyedAgent:
        agent = await keys.issue(request.agent, request.public_key, context)
        return KeyedAgent(id=agent.id, name=agent.name)

    return [ISSUE_AGENT_KEY.answered_by(issue)]
