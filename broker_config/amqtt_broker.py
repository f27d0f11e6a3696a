"""The embedded broker: amqtt with our accounts and access rules.

It serves lockstep, demonstrations and tests. It has no shared subscriptions, and no last will on keep-alive
expiry or takeover. All private attributes of amqtt are used in this file only; they were checked in amqtt
0.12.1, and the project pins 0.12.
"""

import asyncio
import hmac
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, Literal

from amqtt.broker import Broker
from amqtt.contexts import Action, BaseContext
from amqtt.errors import BrokerError
from amqtt.plugins.base import BaseAuthPlugin
from amqtt.session import Session

from broker_config.accounts import Account
from broker_config.acl import may_subscribe, permits
from wire.event_loops import call_on_signals
from wire.topics import Role, matches

_ACCESS: dict[str, Literal["read", "write"]] = {Action.PUBLISH: "write", Action.RECEIVE: "read"}


class PasswordPlugin(BaseAuthPlugin):  # type: ignore[misc]  # amqtt ships no types
    """Authenticates clients by user name and password; a client without a name is refused."""

    @dataclass
    class Config:
        """Settings that amqtt reads from its configuration."""

        passwords: dict[str, str] = field(default_factory=dict, repr=False)

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        self._passwords: dict[str, str] = context.config.passwords

    async def authenticate(self, *, session: Session) -> bool:
        """Compare the session's password with that of the user, in constant time."""
        expected = self._passwords.get(session.username or "")
        given = session.password
        if expected is None or given is None:
            return False
        return hmac.compare_digest(expected.encode(), given.encode())


class EmbeddedBroker(Broker):  # type: ignore[misc]  # amqtt ships no types
    """A broker that applies the access rules to all messages.

    amqtt offers a plugin for this, but it runs each check in a task of its own, in the middle of a loop over
    its table of subscriptions. A SUBSCRIBE that arrives meanwhile changes the table, and the remaining
    subscribers lose the message. The checks here never suspend. The plugin also ignores last wills and
    retained messages.
    """

    def __init__(self, config: Mapping[str, Any], roles: Mapping[str, Role]) -> None:
        super().__init__(config)
        self._roles = roles

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        user = session.username
        if user not in self._roles:
            return False
        if action == Action.SUBSCRIBE:
            return may_subscribe(self._roles[user], user, topic)
        return permits(self._roles[user], user, _ACCESS[action], topic)

    async def _authenticate(self, session: Session, listener: Any) -> bool:  # Any: amqtt ships no types
        """Authenticate a client; remove its last will if it may not write that topic.

        The session may be that of another user, by the same client id: what waits in it is checked again.
        """
        if not await super()._authenticate(session, listener):
            return False
        await self._drop_unreadable(session)
        if session.will_flag:
            session.will_flag = await self._topic_filtering(session, session.will_topic, Action.PUBLISH)
        return True

    async def _drop_unreadable(self, session: Session) -> None:
        """Remove the messages of a session that its user may not read."""
        for packet, message in list(session.inflight_out.items()):
            if not await self._topic_filtering(session, message.topic, Action.RECEIVE):
                del session.inflight_out[packet]
        for _ in range(session.retained_messages.qsize()):
            message = session.retained_messages.get_nowait()
            if await self._topic_filtering(session, message.topic, Action.RECEIVE):
                session.retained_messages.put_nowait(message)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send the retained messages that *session* has subscribed to and may read.

        When a client connects, amqtt calls this for every filter in its table, also those of other clients.
        """
        topic_filter, qos = subscription
        if not any(subscriber is session for subscriber, _ in self.subscriptions.get(topic_filter, ())):
            return
        for retained in self.retained_messages.values():
            if matches(topic_filter, retained.topic) and await self._topic_filtering(
                session, retained.topic, Action.RECEIVE
            ):
                self._deliver(retained, min(qos, retained.qos or 0), session)

    def _deliver(self, retained: Any, qos: int, session: Session) -> None:  # Any: amqtt ships no types
        """Send in the background, as amqtt does elsewhere: the caller loops over a table that may change."""
        sending = self._get_handler(session).mqtt_publish(retained.topic, retained.data, qos, retain=True)
        self._tasks_queue.append(asyncio.ensure_future(sending))


async def serve(host: str, port: int, accounts: Sequence[Account]) -> int:
    """Serve until standard input ends or SIGTERM arrives; return the exit status."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    call_on_signals([signal.SIGTERM], ended.set)
    Thread(target=_wait_for_end_of_input, args=(loop, ended), daemon=True).start()
    broker = EmbeddedBroker(
        configuration(host, port, accounts), {account.user: account.role for account in accounts}
    )
    try:
        await broker.start()
    except BrokerError:  # amqtt has logged it
        return 1
    await ended.wait()
    await broker.shutdown()
    return 0


def _wait_for_end_of_input(loop: asyncio.AbstractEventLoop, ended: asyncio.Event) -> None:
    """Set *ended* when standard input ends, in a thread: not every event loop can watch an input."""
    while os.read(0, 4096):
        pass
    with suppress(RuntimeError):  # the loop has ended
        loop.call_soon_threadsafe(ended.set)


def configuration(host: str, port: int, accounts: Sequence[Account]) -> dict[str, Any]:
    """Return the configuration of amqtt: without further plugins, so without anonymous users."""
    passwords = {account.user: account.password for account in accounts}
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
        "plugins": {"broker_config.amqtt_broker.PasswordPlugin": {"passwords": passwords}},
    }
