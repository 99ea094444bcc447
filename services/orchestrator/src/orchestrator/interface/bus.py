"""The bus's way in: requests become use cases, what they return becomes replies."""

from collections.abc import Callable

from orchestrator.application.agents import Agents
from orchestrator.application.dispatching import Dispatching, require_may_dispatch
from orchestrator.application.orders import ChatOrder, Choice
from orchestrator.domain.chat import Chat
from orchestrator.interface.event_streams import Outlet, TokenEvents
from orchestrator.interface.views import Views, dispatched
from shared.bus import NOTHING, CallContext, Endpoint, Kind, Nothing, read
from shared.contracts.orchestrator import (
    CHECK_AGENT,
    DISPATCH,
    GET_AGENT,
    LIST_AGENTS,
    MAINTAIN_AGENT,
    REGISTER_AGENT,
    REMOVE_AGENT,
    STREAM_DISPATCH,
    UPDATE_AGENT,
    Dispatch,
    GetAgent,
    ListAgents,
    MaintainAgent,
    RegisterAgent,
    UpdateAgent,
)


def endpoints(agents: Agents, dispatching: Dispatching, *, now: Callable[[], str]) -> list[Endpoint]:
    """Everything that the orchestrator answers, but its health."""
    views = Views()

    async def register(body: bytes, context: CallContext) -> bytes:
        return views.agent(await agents.register(read(RegisterAgent, body), context))

    async def list_(body: bytes, context: CallContext) -> bytes:
        return views.page(await agents.list(read(ListAgents, body), context))

    async def get(body: bytes, context: CallContext) -> bytes:
        return views.agent(await agents.get(read(GetAgent, body).id, context))

    async def update(body: bytes, context: CallContext) -> bytes:
        request = read(UpdateAgent, body)
        return views.agent(await agents.update(request.id, request.changes, request.if_version, context))

    async def maintain(body: bytes, context: CallContext) -> bytes:
        request = read(MaintainAgent, body)
        return views.agent(await agents.maintain(request.id, request.maintenance.enabled, context))

    async def remove(request: GetAgent, context: CallContext) -> Nothing:
        await agents.remove(request.id, context)
        return NOTHING

    async def check(body: bytes, context: CallContext) -> bytes:
        id = read(GetAgent, body).id
        return views.health(id, await agents.check(id, context))

    async def dispatch(body: bytes, context: CallContext) -> bytes:
        await dispatching.admit(context)
        wish = read(Dispatch, body)
        if wish.stream:
            raise InvalidFields(
                "A stream has to be asked for plainly.", errors=(FieldError("stream", 'write "stream"'),)
            )
        return await _dispatched(wish, body, context)

    async def stream(body: bytes, context: CallContext, outlet: Outlet) -> bytes:
        require_may_dispatch(context)
        wish = read(Dispatch, body)
        await dispatching.admit(context)
        if not wish.stream:
            return await _dispatched(wish, body, context.until(Kind.DISPATCH.seconds))
        events = TokenEvents(outlet)
        answered = await dispatching.stream(_chat(wish), _choice(wish), body, context, events)
        await events.end(dispatched(answered, request_id=context.request_id, at=now()))
        return b""

    async def _dispatched(wish: Dispatch, body: bytes, context: CallContext) -> bytes:
        answered = await dispatching.answer(ChatOrder(_chat(wish)), _choice(wish), body, context)
        return dispatched(answered, request_id=context.request_id, at=now())

    return [
        REGISTER_AGENT.answered_in_bytes_by(register),
        LIST_AGENTS.answered_in_bytes_by(list_),
        GET_AGENT.answered_in_bytes_by(get),
        UPDATE_AGENT.answered_in_bytes_by(update),
        MAINTAIN_AGENT.answered_in_bytes_by(maintain),
        REMOVE_AGENT.answered_by(remove),
        CHECK_AGENT.answered_in_bytes_by(check),
        DISPATCH.answered_in_bytes_by(dispatch),
        STREAM_DISPATCH.streamed_by(stream),
    ]


def _chat(wish: Dispatch) -> Chat:
    messages = [{"role": turn.role, "content": turn.content} for turn in wish.context]
    messages.append({"role": "user", "content": wish.message})
    return Chat(messages=messages)


def _choice(wish: Dispatch) -> Choice:
    return Choice(agent_id=wish.agent_id, model=wish.model, tags=wish.tags)
