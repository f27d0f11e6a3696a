"""What a scenario may not say, and the line that says so: one line a case.

The texts of `VALUE_PROBLEMS` follow `SMALL`, so they start at line 7.
"""
# ruff: noqa: E501 - a table of cases: the YAML, and the exact message beside it

from devices.fleet import FleetGroup
from scenarios.schema import Scenario

SCENARIO_KEYS = ", ".join(Scenario.__struct_fields__)
GROUP_KEYS = ", ".join(FleetGroup.__struct_fields__)

SMALL = """\
version: 1
name: small
stop_time: 1 h
fleet:
  - name: phone
    count: 3
"""

YAML_PROBLEMS = [
    ("", "x.yaml: is empty; a scenario has at least version, name, stop_time and fleet"),
    ("# only a comment\n", "x.yaml: is empty; a scenario has at least version, name, stop_time and fleet"),
    ("- a\n- b\n", "x.yaml:1: a scenario must be a mapping of keys, not a list"),
    ("hello", "x.yaml:1: a scenario (='hello') must be a mapping of keys"),
    (SMALL + "---\n" + SMALL, "x.yaml:7: a second document starts here; a scenario is one"),
    (SMALL + "cloud:\n\tservice_time: 1 s\n", "x.yaml:8: a tab is not allowed here: indent and separate with spaces"),
    (SMALL + "seed: [1\n", "x.yaml:8: not valid YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence"),
    (SMALL + "broker: a: b\n", "x.yaml:7: not valid YAML: mapping values are not allowed here"),
    (SMALL + "broker: '\0'\n", "x.yaml:7: character 0x0 is not allowed in YAML"),
    (SMALL + "seed: 1\nseed: 2\n", "x.yaml:8: seed: key given twice, first at x.yaml:7"),
    (SMALL + "cloud: {'service_time': 1 s, service_time: 2 s}\n", "x.yaml:7: cloud.service_time: key given twice, first at x.yaml:7"),
    (SMALL + "seed: " + "[" * 40 + "]" * 40, "x.yaml:7: nests deeper than 32 levels"),
    (SMALL + "seed: !!python/object/apply:os.system ['true']", "x.yaml:7: seed: tag !!python/object/apply:os.system is not allowed: write the value plainly, text in quotes"),
    (SMALL + "seed: !!int '3'", "x.yaml:7: seed: tag !!int is not allowed: write the value plainly, text in quotes"),
    (SMALL + "cloud: !thing {}", "x.yaml:7: cloud: tag !thing is not allowed: write the value plainly, text in quotes"),
    (SMALL + "? [a, b]\n: 1\n", "x.yaml:7: a key must be one word of text"),
    (SMALL + "3: 1\n", "x.yaml:7: key (=3) must be text: quote it"),
    (SMALL + "networks: {1: {}}\n", "x.yaml:7: networks: key (=1) must be text: quote it"),
    (SMALL + "networks:\n  no: {}\n", "x.yaml:8: networks: key (=no) is true or false in YAML 1.1 and text in YAML 1.2: write false, or quote it as text"),
    (SMALL + "on: 1", "x.yaml:7: key (=on) is true or false in YAML 1.1 and text in YAML 1.2: write true, or quote it as text"),
]  # fmt: skip

SCALAR_TRAPS = [
    ("1:30", "is a number in YAML 1.1 and text in YAML 1.2: write a span of time as 1 h 30 min, or quote it as text"),
    ("12:30:45.5", "is a number in YAML 1.1 and text in YAML 1.2: write a span of time as 1 h 30 min, or quote it as text"),
    ("no", "is true or false in YAML 1.1 and text in YAML 1.2: write false, or quote it as text"),
    ("On", "is true or false in YAML 1.1 and text in YAML 1.2: write true, or quote it as text"),
    ("1e3", "is text in YAML 1.1 and a number in YAML 1.2: write 1000 or 1000.0, or quote it as text"),
    ("2.5e2", "is text in YAML 1.1 and a number in YAML 1.2: write 250 or 250.0, or quote it as text"),
    ("1e9999", "is text in YAML 1.1 and a number in YAML 1.2: write it in full, or quote it as text"),
    ("0777", "starts with 0, octal in YAML 1.1: write 777, or quote it as text"),
    ("08", "is text in YAML 1.1 and a number in YAML 1.2: write 8, or quote it as text"),
    ("0o17", "is text in YAML 1.1 and a number in YAML 1.2: write 15, or quote it as text"),
    ("0b101", "is a number in YAML 1.1 and text in YAML 1.2: write 5, or quote it as text"),
    ("0b_", "is a number in YAML 1.1 and text in YAML 1.2: write it in full, or quote it as text"),
    ("1_000", "is a number in YAML 1.1 and text in YAML 1.2: write 1000, or quote it as text"),
    ("2024-02-29", "is a date in YAML 1.1 and text in YAML 1.2: quote it as text"),
    (".inf", "must be a finite number"),
    ("9" * 41, "must have at most 40 digits"),
]  # fmt: skip

VALUE_PROBLEMS = [
    # types and ranges
    ("seed: x", "seed (='x') must be a whole number from 0 to 2^63 - 1"),
    ("seed: -1", "seed (=-1) must be a whole number from 0 to 2^63 - 1"),
    ("seed: 1.5", "seed (=1.5) must be a whole number from 0 to 2^63 - 1"),
    ("seed: true", "seed (=true) must be a whole number from 0 to 2^63 - 1"),
    ("seed: '3'", "seed (='3') must be a whole number from 0 to 2^63 - 1"),
    ("seed:", "seed has no value: it must be a whole number from 0 to 2^63 - 1"),
    ("seed: [1]", "seed must be a whole number from 0 to 2^63 - 1, not a list"),
    ("cloud:", "cloud has no value: it must be a mapping of keys"),
    ("cloud: 5 ms", "cloud (='5 ms') must be a mapping of keys"),
    ("networks: [lte]", "networks must be a mapping of keys, not a list"),
    ("description: 5", "description (=5) must be text"),
    ("description: {}", "description must be text, not a mapping"),
    ("clock: virtul", "clock (='virtul') must be one of lockstep, virtual; did you mean 'virtual'?"),
    ("clock: realtime", "clock (='realtime') must be one of lockstep, virtual"),
    ("model: {codec: fp31}", "model.codec (='fp31') must be one of fp32, fp16, int8, int4, planes, coded; did you mean 'fp32'?"),
    ("model: {selection: pel}", "model.selection (='pel') must be one of peel, weight, weight_per_byte, popularity, prefix, random; did you mean 'peel'?"),
    ("model: {layers: 0}", "model.layers (=0) must be a whole number from 1 to 65536"),
    ("model: {training: {dropout: 1.0}}", "model.training.dropout (=1.0) must be a number >= 0 and < 1"),
    ("model: {training: {rotate: 'yes'}}", "model.training.rotate (='yes') must be true or false"),
    ("data: {type: lightgcn, path: ''}", "data.path (='') must be text that is not empty"),
    ("data: {type: table, path: x.csv, time: 3}", "data.time (=3) must be text that is not empty, or null"),
    # quantities
    ("cloud: {service_time: 5}", "cloud.service_time: cannot read 5 as a duration: write for example '250 ms' (units: ns, us, ms, s, min, h, d)"),
    ("cloud: {service_time: 5 m}", "cloud.service_time: cannot read '5 m' as a duration: write for example '250 ms' (units: ns, us, ms, s, min, h, d)"),
    ("cloud: {service_time: {}}", "cloud.service_time must be a span of time such as 250 ms or 1 h 30 min, not a mapping"),
    ("cloud: {service_time: 300000 d}", "cloud.service_time (='300000 d') must be less than 2^63 of the smallest unit"),
    ("networks: {lte: {uplink: {loss: 150 %}}}", "networks.lte.uplink.loss (=150 %) must be from 0 to 1, or 0 % to 100 %"),
    # keys
    ("networks: {lte: {uplink: {lattency: 1 s}}}", "networks.lte.uplink: unknown key 'lattency'; did you mean 'latency'?"),
    ("sead: 3", "unknown key 'sead'; did you mean 'seed'?"),
    ("limits: []", f"unknown key 'limits'; known keys: {SCENARIO_KEYS}"),
    ("data: {users: 3}", "data: missing key 'type': one of synthetic, lightgcn, recbole, movielens, table"),
    ("data: {type: 5}", "data.type (=5) must be one of synthetic, lightgcn, recbole, movielens, table"),
    ("data: {type: syntetic}", "data.type (='syntetic') must be one of synthetic, lightgcn, recbole, movielens, table; did you mean 'synthetic'?"),
    ("data: {type: lightgcn}", "data: missing key 'path'"),
    ("data: {type: lightgcn, path: x, split: {}}", "data: unknown key 'split'; known keys: path"),
    # rules between values
    ("updates: {max_payload: 1 KiB}", "updates.max_payload (=1 KiB) must be from 4 KiB to 64 MiB"),
    ("updates: {max_payload: 65 MiB}", "updates.max_payload (=65 MiB) must be from 4 KiB to 64 MiB"),
    ("updates: {retry_after: 0}", "updates.retry_after (=0 s) must be > 0"),
    ("networks: {lte: {uplink: {loss: 95 %}}}", "networks.lte.uplink.loss (=0.95) must be at most 0.9, or no update ever arrives"),
    ("networks: {'a b': {}}", "networks (='a b') must have names of letters, digits, '.', '_' or '-'"),
    ("model: {selection: weight_per_byte}", "model.selection (=weight_per_byte) must be peel where codec is coded: they rank the same"),
    ("model: {codec: int8, selection: weight}", "model.selection (=weight) must be peel where codec is int8: they rank the same"),
    ("data: {type: recbole, path: x, split: {type: time, valid_share: 0.5, test_share: 0.5}}", "data.split.valid_share (=0.5) + test_share (=0.5) must be < 1, so that some train"),
    ("data: {type: table, path: x.csv, user: u, item: u, split: {type: ratio}}", "data: user, item, rating and time (=u, u) must name different columns"),
    ("broker: rabbit", "broker (='rabbit') must be auto, mosquitto, amqtt or mqtt://[user:password@]host[:port]"),
    ("broker: mqtt://", "broker (='mqtt://') must be auto, mosquitto, amqtt or mqtt://[user:password@]host[:port]"),
    ("sweep: [1]", "sweep must be a mapping of keys, not a list"),
    ("sweep: {grids: {}}", "sweep: unknown key 'grids'; did you mean 'grid'?"),
    ("sweep: {grid: {stop_time: 1 h}}", "sweep.grid.stop_time (='1 h') must be a list"),
    ("sweep: {grid: {stop_time: []}}", "sweep.grid (='stop_time') must have at least one value"),
    ("sweep: {grid: {'a b': [1]}}", "sweep.grid (='a b') must have keys such as fleet[0].count"),
    ("sweep: {grid: {seed: [1, 2]}}", "sweep.grid (='seed') must not set seed: that is what sweep.seeds is for"),
    ("sweep: {cases: [{name: a, set: {version: 1}}]}", "sweep.cases[0].set (='version') must not set version: a sweep speaks one version of the language"),
    ("sweep: {cases: [{name: a/b}]}", "sweep.cases[0].name (='a/b') must be 1 to 40 letters, digits, '.', '_' or '-'"),
    ("sweep: {cases: [{set: {}}]}", "sweep.cases[0]: missing key 'name'"),
    ("sweep: {cases: [{name: a}, {name: a}]}", "sweep.cases[1].name (='a') must differ from that of cases[0]"),
    ("sweep: {seeds: [1, 2, 1]}", "sweep.seeds[2] (=1) must differ from that of seeds[0]"),
    ("sweep: {seeds: [-1]}", "sweep.seeds[0] (=-1) must be a whole number from 0 to 2^63 - 1"),
    ("broker: mqtt://me:secret@host:99999", "broker (=...) must be auto, mosquitto, amqtt or mqtt://[user:password@]host[:port]"),
]  # fmt: skip

WHOLE_FILES = [
    (SMALL.replace("version: 1", "version: 2"), "x.yaml:1: version (=2) must be 1"),
    (SMALL.replace("version: 1", "version: '1'"), "x.yaml:1: version (='1') must be 1"),
    (SMALL.replace("version: 1\n", ""), "x.yaml:1: missing key 'version'"),
    (SMALL.replace("small", "a b"), "x.yaml:2: name (='a b') must be 1 to 40 letters, digits, '.', '_' or '-', a letter or digit first"),
    (SMALL.replace("small", "a" * 41), f"x.yaml:2: name (='{'a' * 41}') must be 1 to 40 letters, digits, '.', '_' or '-', a letter or digit first"),
    (SMALL.replace("1 h", "0"), "x.yaml:3: stop_time (=0 s) must be > 0, or left to stages"),
    (SMALL.replace("    count: 3\n", ""), "x.yaml:5: fleet[0]: missing key 'count'"),
    (SMALL.replace("phone", "'#1'"), "x.yaml:5: fleet[0].name (='#1') must be 1 to 48 letters, digits, '.', '_' or '-'"),
    (SMALL.split("  - ")[0], "x.yaml:4: fleet has no value: it must be a list"),
    (SMALL.split("  - ")[0].replace("fleet:", "fleet: []"), "x.yaml:4: fleet (=[]) must have at least one group"),
    (SMALL.split("  - ")[0] + "  - phone\n", "x.yaml:5: fleet[0] (='phone') must be a mapping of keys"),
    (SMALL + "  - name: phone\n    count: 1\n", "x.yaml:7: fleet[1].name (='phone') must differ from that of fleet[0]"),
    (SMALL + "    network: wify\nnetworks: {wifi: {}}", "x.yaml:7: fleet[0].network (='wify') must name one of networks: default, wifi"),
    (SMALL + "    start_within: 2 h\n", "x.yaml:7: fleet[0].start_within (=2 h) must not exceed stop_time (=1 h)"),
    (SMALL + "    memory:\n      type: bounded_walk\n      max: 8 GiB\n      min: 9 GiB\n", "x.yaml:10: fleet[0].memory.min (=9 GiB) must not exceed max (=8 GiB)"),
    (SMALL + "    memory:\n      type: bounded_walk\n      max: 8 MiB\n", "x.yaml:7: fleet[0].memory.min (=256 MiB) must not exceed max (=8 MiB)"),
    (SMALL + "    memory: {type: trace, file: x.pickle}\n", "x.yaml:7: fleet[0].memory.file (='x.pickle') must end in .csv or .parquet"),
    (SMALL + "    budget:\n      share: 0.0\n", "x.yaml:8: fleet[0].budget.share (=0 %) must be > 0"),
    (SMALL + "    budget: {min: 2 KiB, max: 1 KiB}\n", "x.yaml:7: fleet[0].budget.min (=2 KiB) must not exceed max (=1 KiB)"),
    (SMALL + "    memory: {type: bounded_walk, retain_probability: 0.7, reset_probability: 0.5}\n", "x.yaml:7: fleet[0].memory.retain_probability (=0.7) + reset_probability (=0.5) must be <= 1"),
    (SMALL + "    memory: {type: bounded_walk, reset_probability: 2}\n", "x.yaml:7: fleet[0].memory.reset_probability (=2) must be a number from 0 to 1"),
    (SMALL + "    memory: {type: sawtooth, low: 3 GiB}\n", "x.yaml:7: fleet[0].memory.low (=3 GiB) must not exceed high (=2 GiB)"),
    (SMALL + "    memory: {type: sawtooth, leak: 0}\n", "x.yaml:7: fleet[0].memory.leak (=0 B) must be > 0"),
    (SMALL + "    memory: {type: boundary, depth: 100 %}\n", "x.yaml:7: fleet[0].memory.depth (=100 %) must be < 100 %"),
    (SMALL + "    memory: {type: boundary, high_for: 0}\n", "x.yaml:7: fleet[0].memory.high_for (=0 s) must be > 0"),
    (SMALL + "    memory: {type: pressure_states, low: {next: {normal: 0.5}}}\n", "x.yaml:7: fleet[0].memory.low.next (={normal: 0.5}) must sum to 1"),
    (SMALL + "    memory: {type: pressure_states, low: {next: {moderate: 0.7, low: 0.3}}}\n", "x.yaml:7: fleet[0].memory.low.next (='low') must lead to other levels: to stay longer is `dwell`"),
    (SMALL + "    memory: {type: pressure_states, low: {next: {hot: 1}}}\n", "x.yaml:7: fleet[0].memory.low.next (='hot') must have keys of normal, moderate, low, critical"),
    (SMALL + "    memory: {type: pressure_states, low: {min: 2 GiB}}\n", "x.yaml:7: fleet[0].memory.low.min (=2 GiB) must not exceed max (=1 GiB)"),
    (SMALL + "    memory: {type: pressure_states, normal: {dwell: 0}}\n", "x.yaml:7: fleet[0].memory.normal.dwell (=0 s) must be > 0"),
    (SMALL + "    memory: {type: pressure_states, sigma: 0.0}\n", "x.yaml:7: fleet[0].memory.sigma (=0.0) must be a number > 0 and <= 5"),
    (SMALL + "    memory: {type: trace, file: x.csv, assign: random}\n", "x.yaml:7: fleet[0].memory.assign (='random') must be one of by_order, sample, sample_without_replacement"),
    (SMALL + "    memory: {type: trace, file: x.csv, scale: 0}\n", "x.yaml:7: fleet[0].memory.scale (=0) must be a number from 0.001 to 1000"),
    (SMALL + "    shocks: [{every: 10 min, lasting: 8 min, over: 2 min}]\n", "x.yaml:7: fleet[0].shocks[0].every (=10 min) must be at least lasting + 2 * over (=12 min), or it never ends"),
    (SMALL + "    shocks: [{lasting: 0}]\n", "x.yaml:7: fleet[0].shocks[0].lasting (=0 s) must be > 0"),
    (SMALL + "    shocks: [{share: 0}]\n", "x.yaml:7: fleet[0].shocks[0].share (=0 %) must be > 0"),
]  # fmt: skip

OVERRIDE_PROBLEMS = [
    ("seed", "--set seed: must be key=value, such as fleet[0].count=100"),
    ("=3", "--set =3: must be key=value, such as fleet[0].count=100"),
    ("fleet[=3", "--set fleet[=3: must be key=value, such as fleet[0].count=100"),
    ("seed=", "--set seed=: seed has no value: it must be a whole number from 0 to 2^63 - 1"),
    ("seed=1e3", "--set seed=1e3: seed (=1e3) is text in YAML 1.1 and a number in YAML 1.2: write 1000 or 1000.0, or quote it as text"),
    ("seed=[1", "--set seed=[1: not valid YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence"),
    ("seed=!!int 3", "--set seed=!!int 3: seed: tag !!int is not allowed: write the value plainly, text in quotes"),
    ("seed.x=1", "--set seed.x=1: seed is a single value, and holds no keys"),
    ("fleet[1].count=3", "--set fleet[1].count=3: fleet has 1 entries, the first is [0]"),
    ("fleet[tablet].count=3", "--set fleet[tablet].count=3: fleet has 0 entries named 'tablet': write a number or a name, [0] or [NAME]"),
    ("fleet[1111111111].count=3", "--set fleet[1111111111].count=3: fleet has 0 entries named '1111111111': write a number or a name, [0] or [NAME]"),
    ("fleet.count=3", "--set fleet.count=3: fleet has 0 entries named 'count': write a number or a name, [0] or [NAME]"),
    ("fleet[0].lattency=1", f"--set fleet[0].lattency=1: fleet[0]: unknown key 'lattency'; known keys: {GROUP_KEYS}"),
    ("data.user=1", "--set data.user=1: data: unknown key 'user'; did you mean 'users'?"),
    ("fleet[0].memory.min=9 GiB", "--set fleet[0].memory.min=9 GiB: fleet[0].memory.min (=9 GiB) must not exceed max (=4 GiB)"),
    ("x-a=1", f"--set x-a=1: unknown key 'x-a'; known keys: {SCENARIO_KEYS}"),
    ("broker=mqtt://me:se/cret@:1", "--set broker=mqtt://...@:1: broker (=...) must be auto, mosquitto, amqtt or mqtt://[user:password@]host[:port]"),
]  # fmt: skip
