"""The files of an EMQX cluster: their rules match the topic table, and all files that they name exist.

No EMQX runs here. Its rules are read by an evaluator that does what EMQX 5.8 says in emqx_authz_rule and
emqx_topic: the first rule that matches decides, a publish is judged by its topic, and a subscription by its
filter, of which nothing is filtered later.
"""

import csv
import hashlib
import io
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from broker_config.acl import emqx_acl, permits
from broker_config.emqx.cluster import users
from broker_config.installation import LARGEST_MESSAGE, Installation, install
from wire.errors import InputError
from wire.topics import (
    NAME,
    TABLE,
    LayerName,
    MessageKind,
    Role,
    access_rules,
    cloud_topic,
    device_topic,
    fleet_topic,
    layer_topic,
    matches,
    shared_subscription,
    subscription,
)

USERS = {f"_{role}": role for role in (Role.FLEET, Role.CLOUD, Role.EMULATOR, Role.OBSERVER)}
DEVICES = ("d1", "d2", "model", "blocks", "cloud", "pee", "peel", "1", "f", "a.b-c_d")
EVERYBODY = {**USERS, **dict.fromkeys(DEVICES, Role.DEVICE)}
FLEETS = ("f", "g", "blocks", "d1")
PACKAGE = Path(__file__).parents[2] / "broker_config" / "emqx"


def topics() -> list[str]:
    """Every topic of the table, for every device of two fleets."""
    every_topic = []
    for fleet in FLEETS:
        for kind, route in TABLE.items():
            if route.per_device:
                every_topic += [device_topic(kind, fleet, device) for device in DEVICES]
            elif route.per_layer:
                every_topic += [layer_topic(fleet, LayerName(model, 0, 1)) for model in ("m", "d1")]
            elif route.per_replica:
                every_topic += [cloud_topic(fleet, replica) for replica in ("main", "d1", "budget")]
            else:
                every_topic.append(fleet_topic(kind, fleet))
    return every_topic


EVERY = topics()
ACCESSES: tuple[tuple[Literal["write", "read"], Literal["publish", "subscribe"]], ...] = (
    ("write", "publish"),
    ("read", "subscribe"),
)


class Rule(NamedTuple):
    """A line of an access file."""

    allows: bool
    who: str
    actions: tuple[str, ...]
    filters: tuple[str, ...]


def read_rules(text: str) -> list[Rule]:
    """Read an access file of EMQX; a line that is none is a failure."""
    rules = []
    for line in text.splitlines():
        if not line or line.startswith("%%"):
            continue
        match = re.fullmatch(r"\{(allow|deny), (.+), (publish|subscribe|all), \[(.+)\]\}\.", line)
        if match is None:
            assert line == "{deny, all}.", line
            rules.append(Rule(False, "all", ("publish", "subscribe"), ("#",)))
            continue
        permission, who, action, filters = match.groups()
        assert re.fullmatch(r'all|\{user, "[^"]+"\}|\{username, \{re, "[^"]+"\}\}', who), who
        actions = ("publish", "subscribe") if action == "all" else (action,)
        assert re.fullmatch(r'"[^"]+"(, "[^"]+")*', filters)
        rules.append(Rule(permission == "allow", who, actions, tuple(re.findall(r'"([^"]+)"', filters))))
    return rules


def is_meant(who: str, user: str) -> bool:
    """Do what emqx_authz_rule:match_who does."""
    if who == "all":
        return True
    (text,) = re.findall(r'"([^"]+)"', who)
    return re.search(text, user) is not None if "{re, " in who else text == user


def covers(rule: list[str], asked: list[str]) -> bool:
    """Do what emqx_topic:match does, where *asked* may be a filter: a '+' takes any level, even '#'."""
    if rule == ["#"]:
        return True
    if not rule or not asked:
        return rule == asked
    return rule[0] in ("+", asked[0]) and covers(rule[1:], asked[1:])


def decides(rules: list[Rule], user: str, action: Literal["publish", "subscribe"], asked: str) -> bool:
    """Tell what EMQX answers *user*, who publishes on or subscribes to *asked*."""
    if asked.startswith("$share/"):
        asked = asked.split("/", 2)[2]
    for rule in rules:
        filters = [topic_filter.replace("${username}", user).split("/") for topic_filter in rule.filters]
        applies = action in rule.actions and is_meant(rule.who, user)
        if applies and any(covers(topic_filter, asked.split("/")) for topic_filter in filters):
            return rule.allows
    return False  # no_match = deny


RULES = read_rules(emqx_acl(USERS))


def test_the_text_for_a_known_table() -> None:
    assert emqx_acl(
        {"_fleet": Role.FLEET, "_observer": Role.OBSERVER, "d1": Role.DEVICE}, "f"
    ).splitlines() == [
        "%% Generated from wire.topics by broker_config.acl. The first rule that matches decides.",
        "",
        '{deny, {user, "_fleet"}, all, ["peel/1/+/_fleet/#"]}.',
        '{allow, {user, "_fleet"}, publish, '
        '["peel/1/f/+/budget", "peel/1/f/+/quality", "peel/1/f/+/status"]}.',
        '{allow, {user, "_fleet"}, subscribe, '
        '["peel/1/f/+/pee", "peel/1/f/model", "peel/1/f/blocks/+/+/+", '
        '"peel/1/f/+/error", "peel/1/f/cloud/+/status", "peel/1/f/rollout"]}.',
        "",
        '{deny, {user, "_observer"}, all, ["peel/1/+/_observer/#"]}.',
        '{allow, {user, "_observer"}, subscribe, ["peel/1/f/#", "$SYS/brokers/#"]}.',
        "",
        '{allow, all, subscribe, ["peel/1/f/model", "peel/1/f/blocks/+/+/+", "peel/1/f/cloud/+/status", '
        '"peel/1/f/rollout"]}.',
        '{allow, {username, {re, "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}}, publish, '
        '["peel/1/f/${username}/budget", "peel/1/f/${username}/quality", "peel/1/f/${username}/status"]}.',
        '{allow, {username, {re, "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"}}, subscribe, '
        '["peel/1/f/${username}/pee", "peel/1/f/${username}/error"]}.',
        "",
        "{deny, all}.",
    ]


@pytest.mark.parametrize("user", EVERYBODY)
def test_emqx_permits_what_the_embedded_broker_permits_on_every_topic_of_the_table(user: str) -> None:
    role = EVERYBODY[user]
    pretended = [f"peel/1/f/{other}/budget" for other in USERS]
    for access, action in ACCESSES:
        ours = {topic for topic in EVERY + pretended if permits(role, user, access, topic)}
        theirs = {topic for topic in EVERY + pretended if decides(RULES, user, action, topic)}
        assert theirs == ours
        assert ours or (role, access) == (Role.OBSERVER, "write")


@pytest.mark.parametrize("user", EVERYBODY)
def test_the_rules_of_one_fleet_say_nothing_of_another(user: str) -> None:
    rules = read_rules(emqx_acl(USERS, "f"))
    for topic in EVERY:
        for _, action in ACCESSES:
            expected = topic.startswith("peel/1/f/") and decides(RULES, user, action, topic)
            assert decides(rules, user, action, topic) is expected, topic


LEVELS = st.sampled_from(["peel", "1", "+", *FLEETS, "d2", "m", "0", *MessageKind, *USERS, "$SYS", "brokers"])
FILTERS = st.builds(
    lambda share, levels, end: "/".join([*share, *levels, *end]),
    st.sampled_from([[], ["$share", "x"]]),
    st.one_of(
        st.lists(LEVELS, min_size=1, max_size=7),
        st.lists(LEVELS, max_size=5).map(lambda levels: ["peel", "1", *levels]),
    ),
    st.sampled_from([[], ["#"]]),
)


@given(st.sampled_from(sorted(EVERYBODY)), FILTERS)
def test_a_subscription_that_emqx_grants_delivers_nothing_that_its_user_may_not_read(
    user: str, asked: str
) -> None:
    role = EVERYBODY[user]
    if decides(RULES, user, "subscribe", asked):
        plain = asked.split("/", 2)[2] if asked.startswith("$share/") else asked
        heard = [topic for topic in EVERY if matches(plain, topic)]
        assert [topic for topic in heard if not permits(role, user, "read", topic)] == []


def test_what_our_own_clients_subscribe_to_is_granted() -> None:
    rules = read_rules(emqx_acl(USERS, "f"))
    for kind, route in TABLE.items():
        for role in route.readers:
            user = "d1" if role is Role.DEVICE else f"_{role}"
            asked = subscription(kind, "f", "d1" if role is Role.DEVICE else "+")
            assert decides(rules, user, "subscribe", asked), (role, kind)
    assert decides(rules, "_cloud", "subscribe", shared_subscription(MessageKind.BUDGET, "f"))
    assert not decides(rules, "d1", "subscribe", shared_subscription(MessageKind.BUDGET, "f"))


@pytest.mark.parametrize("user", ["+", "#", "d1/+", "", "_unknown", "_fleet2"])
def test_a_user_name_that_no_device_has_gives_no_right_over_devices(user: str) -> None:
    public = {
        topic
        for topic in EVERY
        if topic.split("/")[3] in ("model", "blocks", "cloud", "rollout") and len(topic.split("/")) != 5
    }
    assert {topic for topic in EVERY if decides(RULES, user, "subscribe", topic)} == public
    assert not any(decides(RULES, user, "publish", topic) for topic in EVERY)
    assert NAME.fullmatch(user) is None


def installed(folder: Path, **other: Any) -> Path:  # Any: fields of an Installation
    install(folder / "b", Installation("f", ["mqtt.example"], ("d1",), product="emqx", **other))
    return folder / "b"


def test_the_compose_file_refers_to_nothing_but_what_is_written_beside_it(tmp_path: Path) -> None:
    directory = installed(tmp_path, port=9883, bind="::1")
    composed = yaml.safe_load((directory / "compose.yaml").read_text())
    nodes = {name: service for name, service in composed["services"].items() if name != "balancer"}
    assert sorted(nodes) == ["node1", "node2", "node3"]
    mounted = {
        name: dict(volume.split(":")[:2] for volume in service["volumes"])
        for name, service in composed["services"].items()
    }
    for name, volumes in mounted.items():
        held = {source for source in volumes if not source.startswith("./")}
        assert held == ({name} if name in nodes else set())
        assert held <= set(composed["volumes"])
        assert all((directory / source).is_file() for source in set(volumes) - held)
    for name, service in nodes.items():
        assert service["environment"] == {"EMQX_NODE_NAME": f"emqx@{name}.emqx.internal"}
        assert service["networks"]["cluster"]["aliases"] == [service["hostname"]] == [f"{name}.emqx.internal"]
    assert all(
        re.fullmatch(r"[\w/]+:\d+\.\d+\.\d+", service["image"]) for service in composed["services"].values()
    )
    published = {name: service.get("ports", []) for name, service in composed["services"].items()}
    assert published == {
        "node1": ["127.0.0.1:18083:18083"],
        "node2": [],
        "node3": [],
        "balancer": ["[::1]:9883:8883"],
    }
    secret = {"ca.key", "credentials.csv"}
    assert not secret & {source.removeprefix("./") for volumes in mounted.values() for source in volumes}
    inside = [path for volumes in [mounted["node1"]] for path in volumes.values()]
    paths = re.findall(r'"(/opt/emqx/[^"]+)"', (directory / "emqx.conf").read_text())
    assert set(paths) <= set(inside)


SETTING = re.compile(r"([a-z][\w.]*) = (.*)")


def settings(text: str) -> dict[str, str]:
    """Return the dotted settings and their values."""
    matches = [SETTING.match(line) for line in text.splitlines() if not line.startswith((" ", "#"))]
    return {match[1]: match[2] for match in matches if match}


def test_every_setting_names_the_page_that_it_was_checked_against() -> None:
    text = (PACKAGE / "emqx.conf").read_text()
    for paragraph in text.split("\n\n")[1:]:
        comments = [line for line in paragraph.splitlines() if line.startswith("#")]
        assert settings(paragraph), paragraph
        assert any(line.startswith("# Checked: ") for line in comments), paragraph
    assert "NOT RUN" in text.split("\n\n")[0]
    for name in ("compose.yaml", "haproxy.cfg"):
        assert "NOT RUN" in (PACKAGE / name).read_text().split("\n\n")[0]


def test_the_configuration_asks_everybody_who_they_are(tmp_path: Path) -> None:
    text = (installed(tmp_path) / "emqx.conf").read_text()
    values = settings(text)
    assert "$" not in text
    assert values["mqtt.max_packet_size"] == f'"{LARGEST_MESSAGE // 1024}KB"'
    assert LARGEST_MESSAGE % 1024 == 0
    expected = {
        "listeners.ssl.default.enable_authn": "true",
        "listeners.ssl.default.ssl_options.verify": "verify_none",
        "listeners.ssl.default.ssl_options.fail_if_no_peer_cert": "false",
        "mqtt.peer_cert_as_username": "disabled",
        "authorization.no_match": "deny",
        "listeners.tcp.default.enable": "false",
        "listeners.ws.default.enable": "false",
        "listeners.wss.default.enable": "false",
    }
    assert {name: values[name] for name in expected} == expected
    secrets = [values["node.cookie"], values["dashboard.default_password"]]
    (tmp_path / "other").mkdir()
    other = settings((installed(tmp_path / "other") / "emqx.conf").read_text())
    assert all(len(secret) > 20 for secret in secrets)
    assert not {other["node.cookie"], other["dashboard.default_password"]} & set(secrets)


def test_with_client_certificates_the_certificate_says_who_it_is(tmp_path: Path) -> None:
    values = settings((installed(tmp_path, client_certificates=True) / "emqx.conf").read_text())
    expected = {
        "listeners.ssl.default.enable_authn": "false",
        "listeners.ssl.default.ssl_options.verify": "verify_peer",
        "listeners.ssl.default.ssl_options.fail_if_no_peer_cert": "true",
        "mqtt.peer_cert_as_username": "cn",
    }
    assert {name: values[name] for name in expected} == expected


def test_the_users_are_those_who_may_connect_with_hashes_of_their_passwords(tmp_path: Path) -> None:
    accounts = install(tmp_path / "b", Installation("f", ["localhost"], DEVICES, product="emqx"))
    text = (tmp_path / "b" / "users.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [row["user_id"] for row in rows] == [account.user for account in accounts]
    for row, account in zip(rows, accounts, strict=True):
        assert row["password_hash"] == hashlib.sha256(f"{row['salt']}{account.password}".encode()).hexdigest()
        assert row["is_superuser"] == "false"
    assert not any(account.password in text for account in accounts)
    assert users(accounts) != users(accounts)
    rules = read_rules((tmp_path / "b" / "acl.conf").read_text())
    assert {rule.who for rule in rules} >= {f'{{user, "_{role}"}}' for role in ("fleet", "cloud", "observer")}


def test_who_can_read_what(tmp_path: Path) -> None:
    directory = installed(tmp_path)
    readable = {path.name for path in directory.iterdir() if path.stat().st_mode & 0o077}
    assert readable == {"compose.yaml", "haproxy.cfg", "ca.crt", "server.crt"}
    secret = {path.name for path in directory.iterdir()} - readable
    assert secret == {"emqx.conf", "acl.conf", "users.csv", "ca.key", "server.key", "credentials.csv"}


def test_there_are_two_products(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--for 'vernemq': must be mosquitto or emqx"):
        install(tmp_path / "b", Installation("f", ["localhost"], (), product="vernemq"))  # type: ignore[arg-type]


def test_the_rules_come_from_the_table() -> None:
    text = emqx_acl(USERS)
    for role in USERS.values():
        assert all(f'"{rule.filter}"' in text for rule in access_rules(role))
