"""Access rules, generated from the topic table: for mosquitto, for EMQX, and for the embedded broker.

mosquitto and the embedded broker grant a subscription that is too wide and filter its messages. EMQX refuses
such a subscription and filters nothing. The rights themselves are defined in ``wire.topics``.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import zip_longest
from typing import Literal

from wire.topics import NAME, ROOT, AccessRule, Role, access_rules, matches

# Topics of the broker itself are not in the topic table; the observer, who may read everything, reads them.
_BROKER_TOPICS = {Role.OBSERVER: (AccessRule("read", "$SYS/broker/#"),)}
_EMQX_TOPICS = {Role.OBSERVER: (AccessRule("read", "$SYS/brokers/#"),)}


def mosquitto_acl(users: Mapping[str, Role], fleet: str = "+") -> str:
    """Return the text of mosquitto's access file; all devices share its patterns.

    Args:
        users: user names and their roles.
        fleet: the fleet of the topics; ``+``: all fleets.
    """
    lines = ["# Generated from wire.topics by broker_config.acl."]
    for user, role in users.items():
        if role is not Role.DEVICE:
            lines += ["", *_section(user, role, fleet)]
    lines += ["", *(f"pattern {rule.access} {rule.filter}" for rule in access_rules(Role.DEVICE, fleet))]
    return "\n".join(lines) + "\n"


def _section(user: str, role: Role, fleet: str) -> Iterator[str]:
    yield f"user {user}"
    yield f"topic deny {_device_filter(user)}"
    for rule in _role_rules(role, fleet):
        yield f"topic {rule.access} {rule.filter}"


def emqx_acl(users: Mapping[str, Role], fleet: str = "+") -> str:
    """Return the text of EMQX's access file, in which the first matching rule decides.

    Args:
        users: user names and their roles.
        fleet: the fleet of the topics; ``+``: all fleets.
    """
    lines = ["%% Generated from wire.topics by broker_config.acl. The first rule that matches decides."]
    for user, role in users.items():
        if role is not Role.DEVICE:
            rules = access_rules(role, fleet) + _EMQX_TOPICS.get(role, ())
            lines += ["", f'{{deny, {{user, "{user}"}}, all, ["{_device_filter(user)}"]}}.']
            lines += _emqx_rules(f'{{user, "{user}"}}', rules)
    rules = access_rules(Role.DEVICE, fleet)
    lines += ["", *_emqx_rules("all", [rule for rule in rules if "%u" not in rule.filter])]
    # Only for valid names of devices: EMQX would treat a '+' in a user name as a wildcard.
    device = f'{{username, {{re, "^{NAME.pattern}$"}}}}'
    lines += _emqx_rules(device, [rule for rule in rules if "%u" in rule.filter])
    return "\n".join([*lines, "", "{deny, all}."]) + "\n"


def _emqx_rules(who: str, rules: Iterable[AccessRule]) -> Iterator[str]:
    for access, action in (("write", "publish"), ("read", "subscribe")):
        own = [rule for rule in rules if rule.access == access]
        filters = [f'"{rule.filter.replace("%u", "${username}")}"' for rule in own]
        if filters:
            yield f"{{allow, {who}, {action}, [" + ", ".join(filters) + "]}."


def permits(role: Role, user: str, access: Literal["read", "write"], topic: str) -> bool:
    """Tell whether *user* with *role* may read or write *topic*."""
    if role is not Role.DEVICE and matches(_device_filter(user), topic):
        return False
    return any(rule.access == access and matches(rule.filter, topic) for rule in _rules(role, user))


def user_rules(role: Role, user: str) -> tuple[AccessRule, ...]:
    """Return the rules of one user, without ``%u``, for brokers that have rules for each."""
    return tuple(dict.fromkeys(_rules(role, user)))


def may_subscribe(role: Role, user: str, topic_filter: str) -> bool:
    """Tell whether a subscription can deliver messages: its filter overlaps a read rule."""
    return any(
        rule.access == "read" and _filters_overlap(rule.filter, topic_filter) for rule in _rules(role, user)
    )


def _device_filter(user: str) -> str:
    """Return a filter for the topics of a device called *user*, to deny them to users of other roles.

    mosquitto applies the patterns, which are meant for devices, to every user.
    """
    return f"{ROOT}/+/{user}/#"


@lru_cache(maxsize=8192)
def _rules(role: Role, user: str) -> tuple[AccessRule, ...]:
    # In mosquitto, a pattern without %u gives its right to every user; so it does here.
    everyone = [rule for rule in access_rules(Role.DEVICE) if "%u" not in rule.filter]
    own = [AccessRule(rule.access, rule.filter.replace("%u", user)) for rule in _role_rules(role)]
    return (*own, *everyone)


def _role_rules(role: Role, fleet: str = "+") -> tuple[AccessRule, ...]:
    return access_rules(role, fleet) + _BROKER_TOPICS.get(role, ())


def _filters_overlap(one: str, other: str) -> bool:
    """Tell whether some topic matches both filters."""
    if one.startswith("$") != other.startswith("$"):  # a wildcard never matches $SYS and similar topics
        return False
    for a, b in zip_longest(one.split("/"), other.split("/")):
        if "#" in (a, b):
            return True
        if a is None or b is None or (a != b and "+" not in (a, b)):
            return False
    return True
