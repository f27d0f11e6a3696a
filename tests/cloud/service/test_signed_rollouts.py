"""A cloud with a key signs no rollout that it has not made, and takes no geometry of an order."""

import msgspec
import pytest
from aiomqtt import Message, Topic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.service.announcement import Announcement
from cloud.service.model_versions import ModelVersions
from cloud.service.responder import Responder
from cloud.service.rollout_keeper import RolloutKeeper
from cloud.service.statistics import ServiceStatistics
from tests.worlds import a_store
from wire.messages import RolloutNotice, RolloutState, encode
from wire.signatures import Sign, sign_json

STORES = [a_store(seed=seed) for seed in (1, 2)]
OURS, THEIRS = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)).sign for number in (1, 2))
ROLLOUT, ORDER = "peel/1/lab/rollout", "peel/1/lab/order"


def a_keeper(sign: Sign | None) -> RolloutKeeper:
    versions = ModelVersions([Responder(store) for store in STORES])
    announcement = Announcement(versions, "lab", ServiceStatistics(), layers=False, replica="main", sign=sign)
    return RolloutKeeper(versions, announcement, "lab")


def hear(keeper: RolloutKeeper, topic: str, payload: bytes) -> None:
    assert keeper.handle(Message(Topic(topic), payload, 1, False, 1, None))


def a_notice() -> RolloutNotice:
    """Return a rollout to all of a version that the cloud serves, with what is not true of that version."""
    notice = ModelVersions([Responder(STORES[1])]).notice(STORES[1].version)
    forged = msgspec.structs.replace(notice, users=1)
    return RolloutNotice(
        rollout=2, order=1, state=RolloutState.COMPLETE, version=STORES[1].version,
        previous=STORES[0].version, groups=1, started=1, notice=forged,
    )  # fmt: skip


@pytest.mark.parametrize("sign", [None, THEIRS], ids=["unsigned", "another key"])
def test_a_rollout_that_no_service_has_signed_is_not_taken_up(sign: Sign | None) -> None:
    keeper = a_keeper(OURS)
    notice = a_notice()
    hear(keeper, ROLLOUT, sign_json(encode(notice), ROLLOUT, sign))
    assert (keeper.current, keeper.fleet_version) == (None, "")
    hear(keeper, ROLLOUT, sign_json(encode(notice), ROLLOUT, OURS))  # of another service with our key
    assert (keeper.current, keeper.fleet_version) == (notice, STORES[1].version)


@pytest.mark.parametrize("sign", [None, OURS], ids=["without a key", "with a key"])
def test_an_order_is_taken_up_without_what_it_says_of_geometry(sign: Sign | None) -> None:
    keeper = a_keeper(sign)
    hear(keeper, ORDER, encode(a_notice()))
    assert keeper.current == msgspec.structs.replace(a_notice(), notice=None)
