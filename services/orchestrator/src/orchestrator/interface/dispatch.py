"""Dispatch over the bus: a message in, an agent's answer out, whole or as a stream."""

from collections.abc import Callable

from orchestrator.application.dispatching import Dispatching, require_may_dispatch
from orchestrator.application.orders import ChatOrder, Choice
from orchestrator.domain.chat import Chat
from orchestrator.interface.event_streams import Outlet, StreamNotPlain, TokenEvents
from orchestrator.interface.views import dispatched
from shared.bus import CallContext, Endpoint, Kind, read
from shared.contracts.orchestrator import DISPATCH, STREAM_DISPATCH, Dispatch


def dispatch_endpoints(dispatching: Dispatching, *, now: Callable[[], str]) -> list[Endpoint]:
    """What the orchestrator answers to a dispatch."""

    async def dispatch(body: bytes, context: CallContext) -> bytes:
        require_may_dispatch(context)
        wish = read(Dispatch, body)
        if wish.stream:
            raise StreamNotPlain
        await dispatching.admit(context)
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

    return [DISPATCH.answered_in_bytes_by(dispatch), STREAM_DISPATCH.streamed_by(stream)]


def _chat(wish: Dispatch) -> Chat:
    messages = [{"role": turn.role, "content": turn.content} for turn in wish.context]
    messages.append({"role": "user", "content": wish.message})
    return Chat(messages=messages)


def _choice(wish: Dispatch) -> Choice:
    return Choice(agent_id=wish.agent_id, model=wish.model, tags=wish.tags)
