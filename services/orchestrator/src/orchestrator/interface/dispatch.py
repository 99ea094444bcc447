"""Dispatch over the bus: a message in, an agent's answer out, whole or as a stream."""

from collections.abc import Callable, Sequence

from orchestrator.application.conversations import Conversations, Turn
from orchestrator.application.dispatching import Answered, Dispatching, require_may_dispatch
from orchestrator.application.idempotency import Idempotency, require_no_key
from orchestrator.application.orders import ChatOrder, Choice
from orchestrator.domain.chat import Chat, Completion, Message
from orchestrator.interface.event_streams import Outlet, StreamNotPlain, TokenEvents
from orchestrator.interface.views import dispatched
from shared.bus import CallContext, Endpoint, Kind, read
from shared.contracts.orchestrator import DISPATCH, STREAM_DISPATCH, Dispatch


def dispatch_endpoints(
    dispatching: Dispatching, conversations: Conversations, idempotency: Idempotency, *, now: Callable[[], str]
) -> list[Endpoint]:
    """What the orchestrator answers to a dispatch."""

    async def dispatch(body: bytes, context: CallContext) -> bytes:
        require_may_dispatch(context)
        wish = read(Dispatch, body)
        if wish.stream:
            raise StreamNotPlain
        return await _whole(wish, body, context)

    async def stream(body: bytes, context: CallContext, outlet: Outlet) -> bytes:
        require_may_dispatch(context)
        wish = read(Dispatch, body)
        if not wish.stream:
            return await _whole(wish, body, context.until(Kind.DISPATCH.seconds))
        require_no_key(context)
        await dispatching.admit(context)
        events = TokenEvents(outlet)
        async with conversations.turn(wish.session_id, wish.message, context) as turn:
            answered = await dispatching.stream(_chat(wish, turn.history), _choice(wish), body, context, events)
            _note_answer(turn, answered)
        await events.end(dispatched(answered, request_id=context.request_id, session_id=turn.id, at=now()))
        return b""

    async def _whole(wish: Dispatch, body: bytes, context: CallContext) -> bytes:
        if not context.idempotency_key:
            return await _worked(wish, body, context)
        return await idempotency.once(
            context.idempotency_key,
            DISPATCH.subject,
            body,
            context,
            lambda claim: _worked(wish, body, context, claim.effect_begins),
        )

    async def _worked(
        wish: Dispatch, body: bytes, context: CallContext, effect_begins: Callable[[], None] | None = None
    ) -> bytes:
        await dispatching.admit(context)
        if wish.session_id is None:
            order = ChatOrder(_chat(wish, ()))
            answered = await dispatching.answer(order, _choice(wish), body, context, effect_begins)
            return dispatched(answered, request_id=context.request_id, session_id=None, at=now())
        async with conversations.turn(wish.session_id, wish.message, context) as turn:
            order = ChatOrder(_chat(wish, turn.history))
            answered = await dispatching.answer(order, _choice(wish), body, context, effect_begins)
            _note_answer(turn, answered)
        return dispatched(answered, request_id=context.request_id, session_id=turn.id, at=now())

    return [DISPATCH.answered_in_bytes_by(dispatch), STREAM_DISPATCH.streamed_by(stream)]


def _chat(wish: Dispatch, history: Sequence[Message]) -> Chat:
    """A context that is given stands for the history."""
    before = [{"role": turn.role, "content": turn.content} for turn in wish.context] if wish.context else history
    return Chat(messages=[*before, {"role": "user", "content": wish.message}])


def _choice(wish: Dispatch) -> Choice:
    return Choice(wish.agent_id, wish.model, wish.tags)


def _note_answer(turn: Turn, answered: Answered) -> None:
    if turn.id is not None and isinstance(answered.answer, Completion):
        turn.answered(answered.answer.text, agent_id=answered.agent.id, model=answered.agent.model)
