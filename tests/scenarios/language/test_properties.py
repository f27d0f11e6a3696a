"""What holds for every scenario, every word and every garbage."""

import contextlib
import string
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud.blocks.selection import Selection
from cloud.data.sources import ByRatio, ByTime, LightGCN, MovieLens, RecBole, Synthetic, Table
from cloud.training.config import Training
from devices.memory import (
    Boundary,
    BoundedWalk,
    Budget,
    DailyCurve,
    PressureLevel,
    PressureStates,
    Replay,
    Sawtooth,
    Shock,
    SquareWave,
)
from devices.mqtt.settings import RealtimeSettings
from devices.protocol.report_policy import Publish
from devices.simulated.cloud_model import CloudSettings
from devices.simulated.device_class import DeviceClass
from devices.simulated.link import Direction, Network
from devices.simulated.roster import FleetGroup
from devices.timeline.actions import Actions, BudgetScaling, Disconnection, NetworkChange, UserChange
from devices.timeline.connectivity import Churn
from devices.timeline.faults import (
    BandwidthFault,
    BrokerOutage,
    CloudOutage,
    CloudSlowdown,
    CorruptionFault,
    DuplicationFault,
    Faults,
    LatencyFault,
    LossFault,
    ReorderingFault,
)
from devices.timeline.schedule import DeviceSelector, Stage
from devices.traces.availability import Availability
from scenarios.catalogue.metrics import METRICS, Unit
from scenarios.language.checks import BROKERS, MAX_DEVICES
from scenarios.language.load import dump, parse
from scenarios.language.scenario import Scenario
from scenarios.language.schema import Model, Updates
from scenarios.language.sweep import Case, SweepSection
from scenarios.language.thresholds import MEANS, SIGNS, Threshold
from scenarios.language.yaml_scalars import AmbiguousError, read_plain
from tests.scenarios.conformity import problems
from wire.codecs import Codec
from wire.errors import InputError
from wire.units import BitsPerSecond, Bytes, Duration, Share

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.sampled_from("\n\t\x85\x07")
)
# Not every code point may stand in a YAML file, even escaped by PyYAML: those above are what people write.
sizes = st.integers(0, 2**50).map(Bytes)
spans = st.integers(0, 10**17).map(Duration)
some_time = st.integers(10**11, 10**17).map(Duration)  # so long that nothing comes again too often
shares = st.floats(0, 1).map(Share)
names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,15}", fullmatch=True)
paths = st.text(string.printable, min_size=1, max_size=20).map(str.strip).filter(bool)

directions = st.builds(
    Direction,
    latency=spans,
    deviation=spans,
    bandwidth=st.integers(1, 10**12).map(BitsPerSecond),
    loss=st.floats(0, 0.9).map(Share),
)
networks = st.builds(Network, uplink=directions, downlink=directions)


@st.composite
def walks(draw: st.DrawFn) -> BoundedWalk:
    low, start, high = sorted(draw(st.lists(sizes, min_size=3, max_size=3)))
    return BoundedWalk(
        min=low,
        max=high,
        initial=draw(st.sampled_from([None, start])),
        max_step=draw(st.integers(1, 2**50).map(Bytes)),
        step_every=draw(some_time),
        spacing=draw(st.sampled_from(["exponential", "fixed"])),
        increase_probability=draw(st.floats(0, 1)),
        retain_probability=draw(st.floats(0, 0.5)),
        reset_probability=draw(st.floats(0, 0.5)),
    )


@st.composite
def daily_curves(draw: st.DrawFn) -> DailyCurve:
    low, high = sorted(draw(st.lists(sizes, min_size=2, max_size=2)))
    return DailyCurve(mean=high, swing=low, min=low, max=high, peak_at=draw(spans), deviation=draw(sizes))


@st.composite
def square_waves(draw: st.DrawFn) -> SquareWave:
    low, high = sorted(draw(st.lists(sizes, min_size=2, max_size=2)))
    return SquareWave(low=low, high=high, low_for=draw(some_time), high_for=draw(some_time))


@st.composite
def sawteeth(draw: st.DrawFn) -> Sawtooth:
    low, high = sorted(draw(st.lists(sizes, min_size=2, max_size=2)))
    leak = draw(st.integers(1, 2**50).map(Bytes))
    return Sawtooth(low=low, high=high, leak=leak, jitter=draw(shares), step_every=draw(some_time))


@st.composite
def levels(draw: st.DrawFn, others: tuple[str, str]) -> PressureLevel:
    low, high = sorted(draw(st.lists(sizes, min_size=2, max_size=2)))
    chance = draw(st.integers(0, 100)) / 100
    then = {others[0]: chance, others[1]: 1 - chance}
    return PressureLevel(min=low, max=high, dwell=draw(some_time), next=then)


pressures = st.builds(
    PressureStates,
    normal=levels(("moderate", "low")),
    moderate=levels(("normal", "low")),
    critical=levels(("low", "moderate")),
    distribution=st.sampled_from(["exponential", "fixed", "lognormal"]),
    sigma=st.floats(0.01, 5),
    step_every=st.none() | some_time,
)
boundaries = st.builds(
    Boundary, at=shares, depth=st.floats(0, 0.99).map(Share), low_for=some_time, high_for=some_time
)
replays = st.builds(
    Replay,
    file=paths.map("{}.csv".format),
    assign=st.sampled_from(["sample", "by_order", "sample_without_replacement"]),
    on_end=st.sampled_from(["wrap", "hold"]),
    scale=st.floats(0.001, 1000),
    shift=spans,
)
memories = walks() | daily_curves() | square_waves() | sawteeth() | pressures | boundaries | replays


@st.composite
def shocks(draw: st.DrawFn) -> Shock:
    lasting, over = draw(some_time), draw(spans)
    every = Duration(lasting + 2 * over + draw(spans))
    share = draw(st.floats(1e-9, 1).map(Share))
    return Shock(every=every, lasting=lasting, over=over, keeps=draw(shares), share=share)


publishes = st.builds(
    Publish,
    on_change=shares,
    min_interval=st.integers(0, 10**9).map(Duration),
    max_interval=st.none() | st.integers(10**11, 10**17).map(Duration),
)
budgets = st.builds(
    Budget,
    share=st.floats(1e-12, 1).map(Share),
    reserve=st.integers(0, 2**50).map(Bytes),  # less than any node has
    min=st.none() | st.integers(0, 2**20).map(Bytes),
    max=st.none() | st.integers(2**20, 2**50).map(Bytes),
    publish=publishes,
)
availabilities = st.none() | st.builds(
    Availability,
    file=paths.map("{}.csv".format),
    assign=st.sampled_from(["sample", "by_order", "sample_without_replacement"]),
    on_end=st.sampled_from(["wrap", "hold", "stop"]),
    shift=spans,
)
splits = st.builds(ByTime, valid_share=st.floats(0, 0.4)) | st.builds(ByRatio, seed=st.integers(0, 2**63 - 1))
sources = (
    st.builds(Synthetic, seed=st.integers(0, 2**63 - 1), group_taste=st.floats(0, 20))
    | st.builds(LightGCN, path=paths)
    | st.builds(RecBole, path=paths, split=splits, min_rating=st.floats(-5, 5))
    | st.builds(MovieLens, path=paths, split=splits)
    | st.builds(Table, path=paths, time=st.just("when"), split=splits)
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    codec = draw(st.sampled_from(Codec))
    others = [each for each in Selection if not each.is_peel(codec.embedded)]
    return Model(
        recipe=draw(st.sampled_from(["best", "paper"])),
        training=draw(st.builds(Training, l2=st.floats(0, 1), rotate=st.booleans())),
        codec=codec,
        selection=draw(st.sampled_from([Selection.PEEL, *others])),
        layers=draw(st.integers(1, 65_536)),
    )


updates = st.builds(
    Updates,
    max_payload=st.integers(4096, 64 * 2**20).map(Bytes),
    full_if_delta_over=shares,
    local_eviction=st.booleans(),
    retry_after=some_time,
    supersede=st.booleans(),
    hysteresis=shares,
    debounce=spans,
    levels_per_doubling=st.none() | st.integers(1, 64),
    headroom=st.floats(0, 0.99).map(Share),
)
clouds = st.builds(CloudSettings, service_time=spans) | st.builds(
    CloudSettings,
    service_time=some_time,
    distribution=st.sampled_from(["constant", "exponential"]),
    workers=st.integers(1, 10),
    queue_limit=st.none() | st.integers(1, 10),
    coalesce=st.booleans(),
)
realtimes = st.builds(
    RealtimeSettings,
    speed=st.floats(0.001, 1000),
    max_lag=spans.filter(bool),
    connections=st.sampled_from(["per_device", "pooled"]),
    connect_rate=st.floats(0.001, 100_000),
    keep_alive=st.integers(1, 65_535).map(lambda s: Duration(s * 10**9)),
    persistent=st.booleans(),
    replicas=st.integers(1, 64),
)
churns = st.none() | st.builds(
    Churn,
    intermittent_share=shares,
    uptime_mean=some_time,
    downtime_mean=some_time,
    deviation=st.none() | shares,
)
labels = st.dictionaries(st.sampled_from(["region", "os"]), st.sampled_from(["eu", "us"]), max_size=2)


@st.composite
def nodes(draw: st.DrawFn) -> DeviceClass:
    critical, low, moderate = sorted(draw(st.lists(shares, min_size=3, max_size=3)))
    rate = draw(st.none() | st.integers(1, 10**12).map(BitsPerSecond))
    return DeviceClass(memory=Bytes(2**51), apply_rate=rate, moderate=moderate, low=low, critical=critical)


@st.composite
def stages(draw: st.DrawFn) -> Stage:
    ramp, duration = sorted(draw(st.lists(st.integers(1, 10**15), min_size=2, max_size=2)))
    return Stage(
        name=draw(st.from_regex(r"[A-Za-z][A-Za-z0-9._-]{0,9}", fullmatch=True)),
        duration=Duration(duration),
        target=draw(shares),
        ramp=draw(st.sampled_from([None, Duration(ramp)])),
        spread=draw(st.sampled_from(["linear", "uniform", "poisson"])),
    )


def actions_at(moments: st.SearchStrategy[str]) -> st.SearchStrategy[Actions]:
    """Return actions that fit any fleet, at one of *moments*."""
    some = st.builds(DeviceSelector, share=st.floats(0.01, 1).map(Share))
    return (
        st.builds(BudgetScaling, at=moments, select=some, factor=st.floats(0, 1000), over=spans)
        | st.builds(Disconnection, at=moments, select=some, duration=some_time, reconnect_within=spans)
        | st.builds(NetworkChange, at=moments, select=some, to=st.just("default"))
        | st.builds(UserChange, at=moments, select=some, within=spans)
    )


def faults_at(moments: st.SearchStrategy[str]) -> st.SearchStrategy[Faults]:
    """Return faults that fit any fleet, from one of *moments* on."""
    some = st.builds(DeviceSelector, share=st.floats(0.01, 1).map(Share))
    both = st.sampled_from(["both", "uplink", "downlink"])
    on_links = {"at": moments, "duration": some_time, "select": some}
    return (
        st.builds(LatencyFault, **on_links, stream=both, delay=some_time)
        | st.builds(BandwidthFault, **on_links, stream=both, rate=st.integers(1, 10**9).map(BitsPerSecond))
        | st.builds(LossFault, **on_links, stream=both, share=shares)
        | st.builds(DuplicationFault, **on_links, stream=both, share=shares)
        | st.builds(ReorderingFault, **on_links, share=shares, delay=some_time)
        | st.builds(CorruptionFault, **on_links, stream=both, share=st.floats(0, 0.9).map(Share))
        | st.builds(BrokerOutage, at=moments, duration=some_time, reconnect_within=spans)
        | st.builds(CloudOutage, at=moments, duration=some_time)
        | st.builds(CloudSlowdown, at=moments, duration=some_time, factor=st.floats(0.01, 1e6))
    )


swept_keys = st.sampled_from(
    ["updates.retry_after", "fleet[0].count", "fleet[p-1].memory", "model.codec", "name"]
)
swept_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(0.001, 1e6)
    | names
    | st.just("10 s"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)
sweeps = st.builds(
    SweepSection,
    grid=st.dictionaries(swept_keys, st.lists(swept_values, min_size=1, max_size=3).map(tuple), max_size=2),
    cases=st.lists(
        st.builds(Case, name=names, set=st.dictionaries(swept_keys, swept_values, max_size=2)),
        max_size=2,
        unique_by=lambda case: case.name,
    ).map(tuple),
    seeds=st.lists(st.integers(0, 2**63 - 1), max_size=3, unique=True).map(tuple),
)
UNITS = {
    Unit.NUMBER: "3", Unit.SHARE: "5%", Unit.SECONDS: "1 min 3 s", Unit.BYTES: "3 KiB",
    Unit.PER_SECOND: "2/s", Unit.BYTES_PER_SECOND: "200 kB/s",
}  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> tuple[str, str | Threshold]:
    """Return a metric, perhaps narrowed, and a rule that it can have."""
    metric = draw(st.sampled_from(sorted(METRICS.values(), key=lambda metric: metric.name)))
    own = {name: st.sampled_from(list(values)) for name, values in metric.own.items()}
    general = {"pressure": st.just("low"), "budget_decile": st.sampled_from(["1", "10"])}
    filters = draw(st.fixed_dictionaries({}, optional=general | own))
    chosen = draw(st.sampled_from(metric.aggregations))
    if chosen == "share" and not filters:
        filters = {"node": "default"}
    value = UNITS[metric.unit_of(chosen)]
    if metric.bases and chosen in MEANS:
        value = draw(st.sampled_from([value, *(f"0.9*{base}" for base in metric.bases)]))
    shown = f"p({draw(st.floats(0.1, 100)):.3f})" if chosen == "p" else chosen
    text = f"{shown} {draw(st.sampled_from(sorted(SIGNS)))} {value}"
    narrowed = ",".join(f"{name}={value}" for name, value in filters.items())
    abort = st.builds(Threshold, threshold=st.just(text), abort_on_fail=st.just(True), delay_abort_eval=spans)
    return f"{metric.name}{{{narrowed}}}" if narrowed else metric.name, draw(st.just(text) | abort)


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    known = draw(st.dictionaries(names, networks, max_size=2))
    parts = tuple(draw(st.lists(stages(), max_size=3, unique_by=lambda stage: stage.name)))
    moments = st.sampled_from(["0 s", *(stage.name for stage in parts)])
    stop_time = sum(stage.duration for stage in parts) + draw(st.integers(1, 10**17))
    groups = [
        FleetGroup(
            name=name,
            # Three groups of these keep below the most devices that a fleet may have.
            count=draw(st.integers(1, MAX_DEVICES // 3)),
            memory=draw(memories),
            shocks=tuple(draw(st.lists(shocks(), max_size=2))),
            budget=draw(budgets),
            network=draw(st.sampled_from(sorted({"default", *known}))),
            labels=draw(labels),
            start_at=draw(moments),
            start_within=Duration(0),
            churn=draw(churns),
            availability=draw(availabilities),
        )
        for name in draw(st.lists(names, min_size=1, max_size=3, unique=True))
    ]
    return Scenario(
        version=1,
        name=draw(names),
        description=draw(texts),
        seed=draw(st.integers(0, 2**63 - 1)),
        clock=draw(st.sampled_from(["virtual", "lockstep"])),
        stop_time=Duration(stop_time),
        broker=draw(st.sampled_from([*BROKERS, "mqtt://[::1]:1883", "mqtt://a:b@host"])),
        data=draw(sources),
        model=draw(models()),
        cloud=draw(clouds),
        realtime=draw(realtimes),
        updates=draw(updates),
        networks=known,
        nodes={"default": draw(nodes())},
        fleet=tuple(groups),
        stages=parts,
        actions=tuple(draw(st.lists(actions_at(moments), max_size=2))),
        faults=tuple(draw(st.lists(faults_at(moments), max_size=2))),
        sweep=draw(st.none() | sweeps),
        warmup=Duration(draw(st.integers(0, stop_time - 1))),
        thresholds={metric: (rule,) for metric, rule in draw(st.lists(rules(), max_size=2))},
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_a_resolved_scenario_reads_back_as_the_same(scenario: Scenario) -> None:
    text = dump(scenario)
    assert parse(text) == scenario
    assert dump(parse(text)) == text


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(scenarios())
def test_a_resolved_scenario_obeys_the_json_schema_and_means_the_same_in_yaml_1_1(scenario: Scenario) -> None:
    assert problems(yaml.safe_load(dump(scenario))) == []


@given(st.text("0123456789+-._:eExobB ~", max_size=8) | st.sampled_from(["yes", "Off", "NULL", "2001-02-03"]))
def test_a_word_means_the_same_to_a_reader_of_yaml_1_1_or_is_refused(word: str) -> None:
    with contextlib.suppress(AmbiguousError):
        value = read_plain(word)
        old = read_by_yaml_11(word)
        assert (type(value), value) == (type(old), old)


def read_by_yaml_11(word: str) -> object:
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, word, (True, False))  # type: ignore[no-untyped-call]
    return loader.construct_object(yaml.ScalarNode(tag, word))


words = st.sampled_from(
    ["version", "name", "fleet", "memory", "type", "daily", "data", "default", "<<", "x-a", "no", "1 h", "0"]
)
plain_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words | texts, inner, max_size=4),
    max_leaves=12,
)


def outcome(text: str, *overrides: str) -> str | None:
    """Return what is wrong with the scenario *text*, None if nothing is."""
    try:
        parse(text, "x.yaml", overrides)
    except InputError as error:
        return str(error)
    return None


@settings(deadline=None)
@given(st.text() | st.text("-:[]{}&*!|>'\"#%@`,? \n\tab1~<") | plain_values.map(yaml.safe_dump))
def test_garbage_is_refused_in_one_line_and_never_crashes(text: str) -> None:
    message = outcome(text)
    assert message is not None
    assert message.startswith("x.yaml")
    assert message.isprintable()


WHOLE = "{version: 1, name: a, stop_time: 1 h, fleet: [{name: p, count: 1, memory: {type: daily}}]}"


@settings(deadline=None)
@given(
    st.sampled_from(
        ["data", "model", "updates", "networks", "fleet", "fleet[0].memory", "fleet[0].memory.min"]
    ),
    plain_values,
)
def test_any_value_in_any_place_is_taken_or_refused(path: str, value: object) -> None:
    text = yaml.safe_dump(value, default_flow_style=True, width=10**6).removesuffix("...\n")
    message = outcome(WHOLE, f"{path}={text}") or "x.yaml"
    assert message.startswith(("--set", "x.yaml"))
    assert message.isprintable()
