"""The command line: ``peelfleet``. What a command needs is imported when it runs."""

import errno
import io
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from emulator.cli import broker as broker_command
from emulator.cli import trace as trace_command
from emulator.cli.verbs import Verbs
from emulator.processes import interrupts
from emulator.processes.standard_error import ignore_write_errors
from wire.errors import InputError, PeelfleetError, first_error
from wire.redaction import redact_passwords
from wire.text import printable_lines

PASSED, RUN_FAILED, WRONG_INPUT, THRESHOLD_BROKE, INTERRUPTED = 0, 1, 2, 99, 130

_OF_NAMES = frozenset(
    (errno.ENOENT, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
)
"""Errors of the system that speak of the file that the user has named."""

_OUT_OF_MEMORY = ("can't allocate memory", "failed to map segment from shared object")
"""How libraries in C say that there is none, in errors of several kinds."""
_NAMING = frozenset(
    ("--out", "-o", "--store", "--data", "--pee", "--state", "--proc", "--json", "--csv", "--credentials")
)

app = Verbs(
    name="peelfleet",
    help="Emulate a fleet of devices that recommend inside a changing memory budget (PEEL).",
    no_args_is_help=True,
    epilog="README.md is the place to start; docs/ explains every verb, key and figure.",
    pretty_exceptions_enable=False,
)
EXPERIMENT, SCENARIO, MODEL, SERVICE = "Experiments", "Scenarios and traces", "Models", "Services and devices"
"""The panels of the help, by what a person wants to do."""
app.add_typer(trace_command.app, name="trace", rich_help_panel=SCENARIO)
app.add_typer(broker_command.app, name="broker", rich_help_panel=SERVICE)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"peelfleet {version('peelfleet')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


ScenarioFile = Annotated[
    Path,
    typer.Argument(
        help="A scenario file (YAML), or the name of one that comes with peelfleet.", show_default=False
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key: fleet[0].count=10."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of the run, instead of the scenario's.")]
Clock = Annotated[
    Literal["virtual", "lockstep", "realtime"] | None,
    typer.Option(help="The clock, instead of the scenario's."),
]
_URL = r"mqtt\[s]://\[user:password@]host[:port]"  # what stands in brackets would be taken for a style
Broker = Annotated[
    str | None, typer.Option(envvar="PEELFLEET_BROKER", help=f"auto, mosquitto, amqtt or {_URL}.")
]
RealBroker = Annotated[str, typer.Option(envvar="PEELFLEET_BROKER", help=f"{_URL}.")]
Data = Annotated[
    Path | None,
    typer.Option(help="Folder or file of the scenario's data; default: in PEELFLEET_DATA."),
]
Out = Annotated[Path, typer.Option(help="Folder for run directories.")]
Shards = Annotated[int, typer.Option(min=1, help="Processes to run the fleet in (virtual and realtime).")]
RunDirectory = Annotated[Path, typer.Argument(help="A finished run directory.", show_default=False)]
SAMPLES = 5
"""Differences of a table that are shown."""
Store = Annotated[
    Path | None, typer.Option(help="Folder in which trained models are cached; else PEELFLEET_STORE.")
]


@app.command(rich_help_panel=EXPERIMENT)
def run(
    scenario: ScenarioFile,
    set_: Overrides = None,
    seed: Seed = None,
    clock: Clock = None,
    broker: Broker = None,
    data: Data = None,
    out: Out = Path("runs"),
    store: Store = None,
    shards: Shards = 1,
    speed: Annotated[
        float | None, typer.Option(help="Simulated seconds in a second, in real time.", show_default=False)
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Show what the fleet is doing now.")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the summary and the run's folder as a JSON object.")
    ] = False,
) -> None:
    """Run a scenario: train or load its model, simulate the fleet, write a run directory.

    Exit status: 0 passed, 99 a threshold is broken, 2 the scenario is wrong, 1 the run failed.
    """
    from emulator.cli.live_view import live_view
    from emulator.cli.terminal import Console, as_json
    from emulator.runner.runner import RunOptions, run
    from scenarios.language.load import load

    resolved = load(scenario, _overrides(set_, seed=seed, clock=clock, **{"realtime.speed": speed}))
    with Console(live_view(resolved) if live else None) as console:
        finished = run(resolved, RunOptions(out, broker, data, store, shards), console)
    if json:
        typer.echo(as_json(finished))
    else:
        console.show(finished)
    if not finished.passed:
        raise typer.Exit(THRESHOLD_BROKE)


@app.command(rich_help_panel=EXPERIMENT)
def sweep(
    scenario: ScenarioFile,
    over: Annotated[
        list[str] | None,
        typer.Option("--over", metavar="KEY=V1,V2", help="Values of a key: updates.retry_after=10 s,30 s."),
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="Seeds of the fleet: 1-5 or 1,2,3.")] = None,
    train_seeds: Annotated[
        str | None, typer.Option(help="Seeds of training, each with each of the others: 0-4.")
    ] = None,
    set_: Overrides = None,
    clock: Clock = None,
    broker: Broker = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; else one per core.", show_default=False)
    ] = None,
    data: Data = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the sweep; else runs/NAME-sweep.", show_default=False)
    ] = None,
    store: Store = None,
    reports: Annotated[bool, typer.Option("--reports", help="Write report.html for each run.")] = False,
    metrics: Annotated[
        str | None, typer.Option(help="Figures to print, by their names in summary.json: a,b,c.")
    ] = None,
) -> None:
    """Run every combination of a sweep with every seed; finished runs are not repeated."""
    from emulator.cli import sweep as sweep_command
    from scenarios.language.sweep_expansion import load_plan

    wanted = sweep_command.read_metrics(metrics)
    over = [*(over or []), *sweep_command.training_seeds(train_seeds)]
    plan = load_plan(scenario, _overrides(set_, clock=clock), over, seeds)
    options = sweep_command.Options(out, jobs, broker, data, store, reports, wanted)
    if not sweep_command.sweep(plan, options):
        raise typer.Exit(THRESHOLD_BROKE)


@app.command(rich_help_panel=EXPERIMENT)
def compare(
    sides: Annotated[
        list[str],
        typer.Argument(
            help="Run directories, or folders of runs; the first is the baseline.", metavar="A B [C...]"
        ),
    ],
    json: Annotated[Path | None, typer.Option(help="File to write the comparison to, as JSON.")] = None,
    csv: Annotated[Path | None, typer.Option(help="File to write a row per metric to.")] = None,
    fail_on_difference: Annotated[
        bool, typer.Option("--fail-on-difference", help="Exit with 99 where a metric differs.")
    ] = False,
) -> None:
    """Show how runs differ from the first: paired by device and seed, with confidence intervals."""
    from emulator.cli import compare as compare_command

    found = compare_command.compare(sides)
    for note in compare_command.notes(found):
        typer.echo(f"note: {note}", err=True)
    compare_command.show(found)
    compare_command.write(found, json, csv)
    if fail_on_difference and any(each.differs for each in found):
        raise typer.Exit(THRESHOLD_BROKE)


@app.command(rich_help_panel=SCENARIO)
def init(
    file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("scenario.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Overwrite it if it is there.")] = False,
) -> None:
    """Write a commented scenario to start from: every key explained, ready to run."""
    from emulator.cli.init import write_template

    typer.echo(write_template(file, force=force))


@app.command(rich_help_panel=EXPERIMENT)
def replay(
    run_directory: RunDirectory,
    set_: Overrides = None,
    clock: Annotated[
        Literal["virtual", "lockstep"] | None,
        typer.Option(help="The clock, instead of virtual."),
    ] = None,
    broker: Broker = None,
    data: Data = None,
    out: Out = Path("runs"),
    store: Store = None,
    shards: Shards = 1,
    diff: Annotated[bool, typer.Option("--diff", help="Show where its event log differs.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 99 if its event log differs.")] = False,
) -> None:
    """Play a recorded run again: its budgets and arrivals, or its budgets under another policy."""
    from emulator.cli.replay import Wanted, replay, show_diff
    from emulator.runner.runner import RunOptions

    finished = replay(Wanted(run_directory, set_ or [], clock), RunOptions(out, broker, data, store, shards))
    if diff:
        show_diff(run_directory, finished.folder, typer.echo, SAMPLES)
    if strict and not finished.summary["replay_log_equal"]:
        raise typer.Exit(THRESHOLD_BROKE)


@app.command(rich_help_panel=EXPERIMENT)
def diff(
    first: RunDirectory,
    second: RunDirectory,
    samples: Annotated[
        int, typer.Option(min=0, max=1000, help="Differences to show of each table.")
    ] = SAMPLES,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 99 if they differ.")] = False,
) -> None:
    """Show where the event logs of two runs differ, row by row."""
    from emulator.cli.replay import show_diff

    if not show_diff(first, second, typer.echo, samples) and strict:
        raise typer.Exit(THRESHOLD_BROKE)


@app.command(rich_help_panel=MODEL)
def train(
    scenario: ScenarioFile,
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
    json: Annotated[bool, typer.Option("--json", help="Print all that its stages did, as JSON.")] = False,
) -> None:
    """Train a scenario's model and cache its block store; a cached model is not trained again."""
    from emulator.cli.terminal import Console
    from emulator.cli.train import as_json, as_lines
    from emulator.simulation.model_cache import prepare_model, resolve_data
    from emulator.simulation.trace_files import trace_warnings
    from scenarios.language.load import load
    from scenarios.language.warnings import doubts

    resolved = load(scenario, set_ or [])
    # Training needs no trace, the run after it does.
    for doubt in [*doubts(resolved), *trace_warnings([resolved])]:
        typer.echo(printable_lines(f"warning: {doubt}"), err=True)
    with Console() as console:
        model = prepare_model(resolve_data(resolved.data, data), resolved.model, store, console.training)
        console.prepared(model, counts=False)
    for line in [as_json(model)] if json else as_lines(model):
        typer.echo(line)


@app.command(rich_help_panel=MODEL)
def pee(
    user: Annotated[str, typer.Option(help="The user's name in the data.")],
    budget: Annotated[str, typer.Option(help="Memory for the item embeddings, such as 64KiB.")],
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file (YAML); else the quickstart.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path("pee.safetensors"),
    set_: Overrides = None,
    data: Data = None,
    store: Store = None,
) -> None:
    """Write the PEE that a budget selects for one user: a file to recommend with, see `recommend`."""
    from cloud.data.datasets import load as load_data
    from devices.recommender.pee_file import encode_pee
    from emulator.cli import pee as pee_command
    from emulator.cli.terminal import Console
    from emulator.simulation.model_cache import prepare_model, resolve_data
    from scenarios.language.load import load
    from wire.output_files import atomic_file

    budget_bytes = pee_command.read_budget(budget)
    resolved = load(scenario or pee_command.quickstart(), set_ or [])
    source = resolve_data(resolved.data, data)
    number = pee_command.user_number(load_data(source), user)  # before the model is trained, not after it
    with atomic_file(out) as draft:
        with Console() as console:
            model = prepare_model(source, resolved.model, store, console.training, measured=False)
            console.prepared(model)
        cut = pee_command.cut_pee(model, number, budget_bytes)
        draft.write_bytes(encode_pee(cut))
    typer.echo(f"{out}: {pee_command.describe(cut, model, number)}")


@app.command(rich_help_panel=MODEL)
def recommend(
    pee: Annotated[Path, typer.Argument(help="A PEE file, as `pee` writes it.", show_default=False)],
    k: Annotated[int, typer.Option("-k", min=1, help="How many items.")] = 10,
    everything: Annotated[bool, typer.Option("--all", help="Include items that the user knows.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object per item.")] = False,
) -> None:
    """Rank all items with a PEE file: numpy and safetensors, no network, no model."""
    from emulator.cli.recommend import as_json, recommended, table

    found = recommended(pee, k, known=everything)
    for line in map(as_json, found) if json else table(found):
        typer.echo(line)


@app.command(rich_help_panel=SCENARIO)
def validate(
    scenario: ScenarioFile,
    set_: Overrides = None,
    show: Annotated[bool, typer.Option(help="Print the scenario with every default filled in.")] = False,
    data: Data = None,
) -> None:
    """Check a scenario file, its traces, and its data if they exist; name every error."""
    from cloud.data.sources import Synthetic
    from emulator.simulation.trace_files import check_trace_files
    from scenarios.language.load import dump, load
    from scenarios.language.sweep_expansion import load_plan
    from scenarios.language.warnings import doubts_of_all

    resolved = load(scenario, set_ or [])
    checked = [resolved]
    if resolved.sweep is not None:
        checked += [each.scenario for each in load_plan(scenario, set_ or []).combinations]
    for warning in [*doubts_of_all(checked), *check_trace_files(checked)]:
        typer.echo(printable_lines(f"warning: {warning}"), err=True)
    if data is not None or any(not isinstance(each.data, Synthetic) for each in checked):
        from emulator.cli.validate import checked_data

        for line in checked_data([each.data for each in checked], data):
            typer.echo(printable_lines(line), err=True)
    typer.echo(redact_passwords(dump(resolved)) if show else f"{scenario}: {resolved.name} is valid")


@app.command(rich_help_panel=EXPERIMENT)
def report(
    run_directory: Annotated[Path, typer.Argument(help="A run directory, finished or not.")],
    data: Data = None,
    store: Store = None,
) -> None:
    """Write the report of a run again; of an unfinished run, from what it had logged."""
    from emulator.cli import report as report_command
    from emulator.run_directory.manifest import list_unchecked

    for line in report_command.report(run_directory, data, store):
        typer.echo(line)
    for note in list_unchecked([run_directory]):
        typer.echo(f"note: {note}", err=True)


@app.command(rich_help_panel=SERVICE)
def cloud(
    store: Annotated[
        list[Path],
        typer.Option(help="A block store: a folder with a manifest.json. Repeat it for more versions."),
    ],
    broker: RealBroker,
    fleet: Annotated[str, typer.Option(help="The fleet to serve.")],
    replica: Annotated[
        str | None, typer.Option(help="The name of one of several services that share the reports.")
    ] = None,
    max_payload: Annotated[str, typer.Option(help="Largest update part.")] = "128 KiB",
    encoding: Annotated[
        Literal["delta", "full"], typer.Option(help="full sends the whole PEE every time.")
    ] = "delta",
    full_if_delta_over: Annotated[
        str, typer.Option(help="A delta above this share of the whole PEE is sent whole.")
    ] = "100 %",
    retain_blocks: Annotated[
        bool, typer.Option(help="Leave every layer's blocks on a topic of its own, for shared delivery.")
    ] = False,
    max_queue: Annotated[int, typer.Option(min=1, help="Devices with a report that waits.")] = 10_000,
    max_rate: Annotated[
        float, typer.Option(min=0.001, help="Reports a second from one device; more are dropped.")
    ] = 20.0,
    coalesce: Annotated[
        bool, typer.Option(help="Answer only the newest of the reports of a device that wait.")
    ] = True,
    persistent: Annotated[
        bool, typer.Option(help="Let the broker keep reports while the service is away.")
    ] = True,
    grace: Annotated[str, typer.Option(help="Longest time to finish after a signal to stop.")] = "10 s",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of /metrics, /healthz and /readyz.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Where that port is.")] = "127.0.0.1",
    log_format: Annotated[
        Literal["text", "json"], typer.Option(help="json writes an object in each line.")
    ] = "text",
    until_stdin_closes: Annotated[bool, typer.Option(help="End when standard input ends.")] = False,
) -> None:
    """Serve trained models to a fleet over MQTT until interrupted; docs/service.md has the details."""
    from emulator.cli.cloud import Serving, serve_stores

    serving = Serving(
        store, broker, fleet, max_payload, encoding, full_if_delta_over, retain_blocks, replica, max_queue,
        max_rate, coalesce, persistent, grace, metrics_host, metrics_port, log_format, until_stdin_closes,
    )  # fmt: skip
    serve_stores(serving)


@app.command(rich_help_panel=SERVICE)
def devices(
    scenario: ScenarioFile,
    broker: RealBroker,
    shard: Annotated[str, typer.Option(help="Which part of the fleet: 2/4 is the second of four.")] = "1/1",
    out: Annotated[Path, typer.Option(help="The folder to make for what the shard logs.")] = Path("shard"),
    set_: Overrides = None,
    seed: Seed = None,
    start_at: Annotated[
        str | None,
        typer.Option(
            help="When simulated time begins, such as 2026-11-24T12:00:00Z; later shards join at once."
        ),
    ] = None,
    credentials: Annotated[
        Path | None, typer.Option(help="Users and passwords of devices, as `broker init` writes them.")
    ] = None,
    fleet: Annotated[
        str | None, typer.Option(help="The fleet's name in topics; else the scenario's, with a hash.")
    ] = None,
    data: Data = None,
    store: Store = None,
    first_seq: Annotated[int | None, typer.Option(hidden=True, min=0)] = None,
    may_be_late: Annotated[
        bool, typer.Option("--may-be-late", help="Count turns later than realtime.max_lag; do not end.")
    ] = False,
    followed: Annotated[bool, typer.Option("--followed", hidden=True)] = False,
    run: Annotated[
        str | None,
        typer.Option("--run", help="A name that the shards of one run share: `gather` mixes no two."),
    ] = None,
) -> None:
    """Run a part of a scenario's fleet in real time, on a broker that a cloud serves; see `gather`."""
    from emulator.cli.devices import Wanted, read_moment, read_place, run_shard, watched
    from scenarios.language.load import load

    resolved = load(scenario, _overrides(set_, seed=seed, clock="realtime"))
    start_s = None if start_at is None else read_moment(start_at)
    place = read_place(shard)
    wanted = Wanted(
        resolved, broker, place, out, store, data, credentials, fleet, start_s, first_seq,
        may_be_late, followed, run,
    )  # fmt: skip
    with watched(wanted) as (training, told):
        folder = run_shard(wanted, training, told)
    if not followed:
        typer.echo(f"shard: {folder}")


@app.command(rich_help_panel=SERVICE)
def gather(
    shards: Annotated[
        list[Path], typer.Argument(help="Folders as `devices --out` wrote them.", show_default=False)
    ],
    out: Out = Path("runs"),
    data: Data = None,
    store: Store = None,
) -> None:
    """Make a run directory of the shards of a fleet that ran on several machines."""
    from emulator.cli.gather import gather
    from emulator.cli.terminal import Console

    finished = gather(shards, out, data, store)
    Console().show(finished)
    if not finished.passed:
        raise typer.Exit(THRESHOLD_BROKE)


@app.command(rich_help_panel=SERVICE)
def agent(
    broker: RealBroker,
    fleet: Annotated[str, typer.Option(help="The fleet to join.")],
    device: Annotated[str, typer.Option(help="The device's id, which is its user name at the broker, too.")],
    user: Annotated[int | None, typer.Option(min=0, help="Number of the user whose PEE it holds.")] = None,
    group: Annotated[
        int | None, typer.Option(min=0, help="Instead of --user: only the user's group.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="A fixed budget, such as 64KiB.")] = None,
    budget_share: Annotated[
        str, typer.Option(help="Without --budget: share of the available memory.")
    ] = "0.01 %",
    proc: Annotated[Path, typer.Option(help="Where `meminfo` is.")] = Path("/proc"),
    interval: Annotated[str, typer.Option(help="Time between two looks at the memory.")] = "5 s",
    retry_after: Annotated[str, typer.Option(help="How long to wait for an answer.")] = "30 s",
    pee: Annotated[Path | None, typer.Option(help="Keep the PEE in this file, for `recommend`.")] = None,
    state: Annotated[Path | None, typer.Option(help="File that keeps what is held, for a restart.")] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the first PEE is held.")] = False,
    give_up_after: Annotated[str, typer.Option(help="With --once: longest time to wait for it.")] = "45 s",
) -> None:
    """Run as one device: keep this machine's PEE inside its own memory; see docs/agent.md."""
    from emulator.cli.agent import Wanted, run_agent

    run_agent(
        Wanted(
            broker,
            fleet,
            device,
            user,
            group,
            budget,
            budget_share,
            proc,
            interval,
            retry_after,
            pee,
            state,
            once,
            give_up_after,
        )
    )


@app.command(rich_help_panel=SCENARIO)
def scenarios() -> None:
    """List the scenarios that come with peelfleet, to be run by name, and the question that each answers."""
    from scenarios.language.load import question, shipped

    for path in shipped():
        typer.echo(f"{path.stem}\n    {question(path)}\n    {os.path.relpath(path)}")


def _overrides(set_: list[str] | None, **options: Any) -> list[str]:  # Any: a number or a text, both printed
    """Return --set values, those of options of their own last: they win."""
    return [*(set_ or []), *(f"{key}={value}" for key, value in options.items() if value is not None)]


def main() -> None:
    """Run the command line; a user's mistake is one line and exit status 2."""
    interrupts.install_handlers()
    _show_whatever_is_said()
    try:
        _check_names(sys.argv)
        _sweep_out()
        app()
    except KeyboardInterrupt:
        _end_interrupted(signal.SIGINT)
    except SystemExit as ended:  # typer has seen the interruption, and says nothing of it
        if ended.code == INTERRUPTED:
            _end_interrupted(signal.SIGINT)
        raise
    except Exception as error:  # what goes wrong while an interrupted command ends is no news
        if interrupts.received_signal() is not None:
            _end_interrupted(signal.SIGINT)
        _fail_by(error)


def _show_whatever_is_said() -> None:
    """Let characters that an output cannot show stand as escapes: a name never ends a command."""
    ignore_write_errors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it is closed
            stream.reconfigure(errors="backslashreplace")


def _check_names(words: Sequence[str]) -> None:
    """Refuse an option that names no file or folder: a shell variable that is not set would mean this folder.

    Raises:
        InputError: one is empty.
    """
    for word, following in zip(words, [*words[1:], "-"], strict=True):
        option, equals, value = word.partition("=")
        if option in _NAMING and "" in ((value,) if equals else (following,)):
            raise InputError(f"{option}: is empty; it must name a file or folder: is a variable not set?")


def _sweep_out() -> None:
    """Remove temporary folders of processes that were killed: they may hold passwords."""
    if next(Path(tempfile.gettempdir()).glob("peelfleet-*"), None) is not None:
        from broker_config.temporary_folders import remove_orphaned_folders

        remove_orphaned_folders()


def _end_interrupted(otherwise: signal.Signals) -> NoReturn:
    number = signal.Signals(interrupts.received_signal() or otherwise)
    by = "" if number is signal.SIGINT else f" by {number.name}"
    _fail(f"interrupted{by}", 128 + number)


def _fail_by(error: Exception) -> NoReturn:
    """End with the line and the exit status that *error* deserves; an unknown kind is a fault of ours."""
    first = first_error(error)
    if isinstance(first, InputError):
        _fail("\npeelfleet: ".join(first.lines), WRONG_INPUT)
    if isinstance(first, PeelfleetError):
        _fail(str(first), RUN_FAILED)
    if isinstance(first, MemoryError) or any(words in str(first) for words in _OUT_OF_MEMORY):
        _fail("there is not enough memory for this", RUN_FAILED)
    if isinstance(first, OSError):
        _fail(*_of_the_system(first))
    raise first


def _of_the_system(error: OSError) -> tuple[str, int]:
    """Return the line and the exit status for a refusal of the system: names are the user's."""
    if error.errno == errno.ENOSPC:
        return "the disk is full", RUN_FAILED
    if error.errno == errno.ENOENT and error.filename is None and not _is_somewhere():
        return "the working folder is not there any more", WRONG_INPUT
    words = error.strerror or str(error)
    if error.filename is None:
        return words, RUN_FAILED
    return f"{os.fsdecode(error.filename)}: {words}", WRONG_INPUT if error.errno in _OF_NAMES else RUN_FAILED


def _is_somewhere() -> bool:
    try:
        return bool(os.getcwd())
    except OSError:
        return False


def _fail(message: str, status: int) -> NoReturn:
    typer.echo(printable_lines(f"peelfleet: {redact_passwords(message)}"), err=True)
    sys.exit(status)
