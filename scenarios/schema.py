"""What a scenario may say: frozen, closed values, composed of the settings that live with what they set.

Nothing in this file touches a file, a clock or the environment. The string below each field is its
documentation: `scenarios.reference` prints it.
"""

from collections.abc import Mapping
from typing import Annotated, Final, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from cloud.config import Data, Seed, Synthetic, Training
from cloud.recipes import TRAININGS, RecipeName
from devices.fleet import FleetGroup
from devices.link import Network
from scenarios.sweep import Sweep
from wire.geometry import MAX_BLOCKS, Codec, Score
from wire.pee import DEFAULT_MAX_PAYLOAD, MAX_PART_BYTES
from wire.topics import valid_name
from wire.units import BYTE_UNITS, TIME_UNITS, Bytes, Duration, format_bytes, format_duration

MAX_NAME = 40
LEAST_PAYLOAD = 4 * BYTE_UNITS["KiB"]
BROKERS = ("auto", "mosquitto", "amqtt")


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The model: how it is trained, and how its blocks are stored."""

    recipe: RecipeName = "best"
    """Which defaults the other keys of the model have: `best`, what validation prefers; or `paper`, the
    paper's method to the letter. A key that is written wins over the recipe."""

    training: Training = Training()
    """The stages of PEEL and their settings."""

    codec: Codec = Codec.CODED
    """How the numbers of a block are stored, on the wire and on the device: `fp32` to `int4` whole;
    `planes` bit by bit, most significant first; `coded` likewise, entropy-coded."""

    score: Score = Score.ALIGNED
    """What a device ranks by: `aligned`, the user's and the item's numbers slice by slice; or `tiled`, the
    sum of the item's slices with that of the user's, as in the authors' code."""

    layers: Annotated[int, Meta(ge=1, le=65_536)] = 64
    """Sizes of PEE to choose from, geometric in bytes; with as many as blocks, a PEE is whatever fits."""

    def __post_init__(self) -> None:
        blocks = self.training.item_groups * self.training.slices * self.planes
        if blocks > MAX_BLOCKS:
            raise ValueError(
                f"item_groups(={self.training.item_groups}) times slices(={self.training.slices}) times "
                f"planes(={self.planes}) of codec {self.codec} must be <= {MAX_BLOCKS}"
            )

    @property
    def planes(self) -> int:
        """P, the number of precision planes; with all of 12 a table ranks as the whole one does."""
        return 12 if self.codec.embedded else 1


RECIPES: Final[Mapping[str, Model]] = {
    "best": Model(),
    "paper": Model(recipe="paper", training=TRAININGS["paper"], codec=Codec.FP32),
}
"""The model of each recipe, if nothing else is written."""


class Cloud(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cloud service, as simulated time sees it."""

    service_time: Duration = Duration(5 * TIME_UNITS["ms"])
    """Simulated time from the arrival of a report to the departure of its answer."""


class Updates(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How updates travel and what a device does by itself."""

    max_payload: Bytes = Bytes(DEFAULT_MAX_PAYLOAD)
    """No part of an update is larger; large public IoT brokers take 128 KiB."""

    local_eviction: bool = True
    """Whether a device whose budget shrinks evicts blocks at once, before it hears from the cloud."""

    retry_after: Duration = Duration(30 * TIME_UNITS["s"])
    """How long a device waits for an answer before it reports again."""

    def __post_init__(self) -> None:
        if not LEAST_PAYLOAD <= self.max_payload <= MAX_PART_BYTES:
            raise ValueError(
                f"max_payload(={format_bytes(self.max_payload)}) must be from "
                f"{format_bytes(LEAST_PAYLOAD)} to {format_bytes(MAX_PART_BYTES)}"
            )
        if self.retry_after <= 0:
            raise ValueError(f"retry_after(={format_duration(self.retry_after)}) must be > 0")


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One experiment: the data, the model, the fleet, its networks, and how time passes."""

    version: Literal[1]
    """Version of the scenario language."""

    name: str
    """Name of the scenario: at most 40 letters, digits, '.', '_' or '-'; it names the run folder too."""

    description: str = ""
    """What the scenario is for, in the author's words."""

    seed: Seed = 0
    """Seed of everything random in the run; data and training have their own."""

    clock: Literal["virtual", "lockstep"] = "lockstep"
    """How messages travel: in memory (virtual), or through a real broker to a real cloud (lockstep)."""

    stop_time: Duration
    """Simulated time at which memory stops moving; what is under way still arrives."""

    broker: str = "auto"
    """Where lockstep finds its broker: auto, mosquitto, amqtt, or mqtt://host[:port] of one that runs."""

    data: Data = Synthetic()
    """Where interactions come from."""

    model: Model = Model()
    """What is trained and how it is stored."""

    cloud: Cloud = Cloud()
    """How fast the cloud answers."""

    updates: Updates = Updates()
    """How updates travel."""

    networks: dict[str, Network] = {}
    """Kinds of network, by name; one named `default` is always there."""

    fleet: tuple[FleetGroup, ...]
    """Groups of devices, each with its own memory, budget and network."""

    sweep: Sweep | None = None
    """Variants of this scenario that `peelfleet sweep` runs."""

    def __post_init__(self) -> None:
        # A copy: the caller's dictionary stays as it is.
        msgspec.structs.force_setattr(self, "networks", {"default": Network(), **self.networks})
        _check_name(self.name)
        _check_broker(self.broker)
        if self.stop_time <= 0:
            raise ValueError(f"stop_time(={format_duration(self.stop_time)}) must be > 0")
        _check_networks(self.networks)
        _check_fleet(self)


def _check_name(name: str) -> None:
    if not valid_name(name) or len(name) > MAX_NAME:
        raise ValueError(
            f"name(={name!r}) must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-', "
            "a letter or digit first"
        )


def _check_broker(broker: str) -> None:
    if broker in BROKERS or _is_address(broker):
        return
    shown = "..." if "@" in broker else repr(broker)  # it may hold a password
    raise ValueError(f"broker(={shown}) must be {', '.join(BROKERS)} or mqtt://[user:password@]host[:port]")


def _is_address(broker: str) -> bool:
    """The form only: `broker_config.launch` has the last word, but loads an MQTT client."""
    try:
        url = urlsplit(broker)
        return url.scheme == "mqtt" and bool(url.hostname) and url.port != 0 and not url.path.strip("/")
    except ValueError:
        return False


def _check_networks(networks: dict[str, Network]) -> None:
    for name in networks:
        if not valid_name(name):
            raise ValueError(f"networks(={name!r}) must have names of letters, digits, '.', '_' or '-'")


def _check_fleet(scenario: Scenario) -> None:
    if not scenario.fleet:
        raise ValueError("fleet(=[]) must have at least one group")
    first_at: dict[str, int] = {}
    for at, group in enumerate(scenario.fleet):
        # Device ids end in a hyphen and digits, so distinct names are enough for distinct ids.
        same = first_at.setdefault(group.name, at)
        if same != at:
            raise ValueError(f"fleet[{at}].name(={group.name!r}) must differ from that of fleet[{same}]")
        if group.network not in scenario.networks:
            raise ValueError(
                f"fleet[{at}].network(={group.network!r}) must name one of networks: "
                f"{', '.join(sorted(scenario.networks))}"
            )
        if group.start_within > scenario.stop_time:
            raise ValueError(
                f"fleet[{at}].start_within(={format_duration(group.start_within)}) must not exceed "
                f"stop_time(={format_duration(scenario.stop_time)})"
            )
