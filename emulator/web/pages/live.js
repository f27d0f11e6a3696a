// The live page of a run: draws each state that the server sends, and sends commands. It keeps no history, so its
// memory does not grow.
const run = document.querySelector("#run");
const name = run.dataset.name;
const at = (id) => document.getElementById(id);
const base = `/live/${encodeURIComponent(name)}`;

const number = (value, digits = 4) =>
  value === null || value === undefined
    ? "–"
    : Number(value.toPrecision(digits)).toLocaleString("en", { maximumSignificantDigits: Math.max(digits, 9) });
const whole = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));
const bytes = (value) => {
  if (value === null || value === undefined) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${number(value, 3)} ${units[unit]}`;
};
const seconds = (value) => (value === null || value === undefined ? "–" : `${number(value, 3)} s`);
const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
const milliseconds = (value) => `${number(value, 3)} ms`;

const CHARTS = [
  { title: "Devices online", lines: [["online", "online"]], text: whole, zero: true },
  { title: "Memory", lines: [["budget_bytes", "budget"], ["held_bytes", "held"]], text: bytes, zero: true },
  { title: "Quality: NDCG@10", lines: [["best_ndcg", "best for the budget"], ["ndcg", "now"]], text: number },
  { title: "Reports a second", lines: [["reports_per_s", "reports"]], text: number, zero: true },
  { title: "Update bytes a second", lines: [["update_bytes_per_s", "bytes"]], text: bytes, zero: true },
  { title: "Latency of updates", lines: [["p50_s", "p50"], ["p95_s", "p95"], ["p99_s", "p99"]], text: seconds, zero: true },
  { title: "Reports in flight", lines: [["in_flight", "in flight"]], text: whole, zero: true },
  { title: "Lag of the schedule", lines: [["lag_ms", "lag"]], text: milliseconds, zero: true },
];
const WIDTH = 400;
const HEIGHT = 120;

const element = (tag, attributes = {}, ...children) => {
  const made = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
};
const setText = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

const charts = CHARTS.map((chart) => {
  const bands = element("svg:g", { class: "bands" });
  const lines = chart.lines.map((_, place) =>
    element("svg:path", { class: `line line-${place}`, "vector-effect": "non-scaling-stroke" }),
  );
  const svg = element(
    "svg:svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" },
    bands,
    ...lines,
  );
  const caption = element("figcaption");
  const time = element("span");
  const range = element("span");
  const ranges = element("p", { class: "range" }, time, range);
  const card = element("figure", { class: "card chart" }, element("h2", {}, chart.title), ranges, svg, caption);
  at("charts").append(card);
  return { ...chart, bands, paths: lines, svg, caption, time, range, card };
});

const path = (times, values, x, y) => {
  let text = "";
  let pen = "M";
  for (let place = 0; place < times.length; place += 1) {
    if (values[place] === null) {
      pen = "M";
    } else {
      text += `${pen}${x(times[place]).toFixed(1)} ${y(values[place]).toFixed(1)}`;
      pen = "L";
    }
  }
  return text;
};

const draw = (state) => {
  const times = state.columns.t_s;
  const first = times[0];
  const last = Math.max(times.at(-1), first + 1e-9);
  const x = (t) => (WIDTH * (t - first)) / (last - first);
  for (const chart of charts) {
    const series = chart.lines.map(([column]) => state.columns[column]);
    const values = series.flat().filter((value) => value !== null);
    chart.card.hidden = !values.length;
    if (!values.length) continue;
    const most = Math.max(...values);
    const least = chart.zero ? 0 : Math.min(...values);
    const y = (value) => HEIGHT - 4 - ((HEIGHT - 8) * (value - least)) / (most - least || 1);
    series.forEach((column, place) => chart.paths[place].setAttribute("d", path(times, column, x, y)));
    setText(chart.time, `${whole(first)} to ${whole(last)} s`);
    setText(chart.range, `from ${chart.text(least)} to ${chart.text(most)}`);
    const newest = chart.lines.map(([, label], place) => `${label} ${chart.text(series[place].at(-1))}`);
    chart.caption.replaceChildren(
      ...newest.map((text, place) => element("span", { class: `key key-${place}` }, text)),
    );
    chart.svg.setAttribute("aria-label", `${chart.title}, ${chart.range.textContent}; newest: ${newest.join(", ")}`);
    const shown = state.spans.filter((span) => span.kind !== "stage" && span.start_s < last && span.end_s > first);
    chart.bands.replaceChildren(
      ...shown.map((span) => {
        const left = Math.max(x(span.start_s), 0);
        const width = Math.max(x(Math.min(span.end_s, last)) - left, 1);
        return element("svg:rect", { x: left, width, y: 0, height: HEIGHT, class: span.kind });
      }),
    );
  }
};

const active = (state, kind) => {
  const spans = state.spans.filter(
    (span) => span.kind === kind && span.start_s <= state.t_s && state.t_s < span.end_s,
  );
  return [...new Set(spans.map((span) => span.name))].join(", ");
};

const tiles = (state) => {
  const newest = (column) => state.columns[column].at(-1);
  const best = newest("best_ndcg");
  const simulated = state.clock === "realtime" ? "" : ", simulated";
  const listed = [
    [whole(newest("online")), `of ${whole(state.shown_devices)} online`],
    [bytes(newest("budget_bytes")), "budgets"],
    [bytes(newest("held_bytes")), "held"],
    [whole(newest("over_budget")), "over budget"],
    [number(newest("ndcg"), 4), `NDCG@10, ${best ? percent(newest("ndcg") / best) : "–"} of the best`],
    [number(newest("reports_per_s"), 3), `reports a second${simulated}`],
    [bytes(newest("update_bytes_per_s")), `of updates a second${simulated}`],
    [`${seconds(newest("p50_s"))}, ${seconds(newest("p95_s"))}`, "latency, p50 and p95, simulated"],
    [whole(newest("lost")), "answers lost"],
  ];
  if (!state.by_ranges) listed.push([active(state, "fault") || "none", "faults in force"]);
  if (newest("in_flight") !== null) listed.push([whole(newest("in_flight")), "reports in flight"]);
  if (newest("lag_ms") !== null) listed.push([milliseconds(newest("lag_ms")), "lag of the schedule"]);
  const box = at("tiles");
  while (box.children.length < listed.length) box.append(element("div", {}, element("b"), element("span")));
  while (box.children.length > listed.length) box.lastChild.remove();
  listed.forEach(([value, text], place) => {
    setText(box.children[place].firstChild, value);
    setText(box.children[place].lastChild, text);
  });
};

const groupCells = ([group, devices, online, budget, held, over, share]) => [
  group, whole(devices), whole(online), bytes(budget), bytes(held), whole(over), percent(share),
];

const tables = (state) => {
  const body = at("groups");
  while (body.children.length < state.groups.length) {
    const row = element("tr", {}, element("th", { scope: "row" }));
    for (let cell = 1; cell < 7; cell += 1) row.append(element("td"));
    body.append(row);
  }
  while (body.children.length > state.groups.length) body.lastChild.remove();
  state.groups.forEach((group, place) =>
    groupCells(group).forEach((text, cell) => setText(body.children[place].children[cell], text)),
  );
  const whom = at("whom");
  if (whom.options.length !== state.groups.length + 1) {
    whom.replaceChildren(
      element("option", { value: "" }, "all"),
      ...state.groups.map(([group]) => element("option", { value: group }, `group ${group}`)),
    );
  }
};

const oneDevice = (state) => {
  at("one-device").hidden = !state.groups.length;
  if (!state.groups.length) return;
  const part = state.by_ranges ? " It can be shown when its part of the fleet, 2,048 devices, is done." : "";
  setText(at("devices-shown"), `Ids are such as ${state.groups[0][0]}-00000.${part}`);
};

let paused = false;
const steering = (state) => {
  at("steering").hidden = state.phase === "report" || state.error !== null;
  for (const part of document.querySelectorAll("[data-real]")) part.hidden = !state.can_steer;
  at("pause").hidden = state.clock === "realtime" ? !state.can_steer : state.phase !== "simulation";
  paused = state.is_paused;
  setText(at("pause"), paused ? "Go on" : "Pause");
  setText(at("refusal"), state.refusal);
  if (state.speed !== null && !at("speed").dataset.typed) at("speed").value = state.speed;
  const deeds = at("deeds");
  if (deeds.children.length !== state.deeds.length || deeds.lastChild?.textContent !== state.deeds.at(-1)) {
    deeds.replaceChildren(...state.deeds.map((deed) => element("li", {}, deed)));
  }
};

const PHASES = {
  start: "It starts",
  training: "The model is trained",
  model: "The fleet is made ready",
  compiling: "The kernel is compiled",
  simulation: "It runs",
  report: "The results are measured",
};

const statusLine = (status, state) => {
  if (status === "failed") {
    return `It ended without results: ${state.error}. What it had logged is in ${name}.partial; "peelfleet report" makes a report of it.`;
  }
  if (status === "silent") return "It is silent: it was killed, or its machine sleeps. The figures are its last ones.";
  if (state.is_paused) return "Paused";
  return `${PHASES[state.phase] ?? state.phase}${state.note ? `: ${state.note}` : ""}`;
};

const timeLine = (state) => {
  const head = `${state.scenario}, ${state.clock} clock`;
  if (state.by_ranges) {
    return `${head}: one part of the fleet after the other is simulated from start to end. The curves are those of the whole time, for the ${whole(state.shown_devices)} of ${whole(state.devices)} devices that are done; figures and groups are those of its end.`;
  }
  const fast = state.speed === null ? "" : ` at ${number(state.speed)} times life`;
  const stage = active(state, "stage");
  return `${head}${fast}: ${whole(state.t_s)} of ${whole(state.stop_s)} s of simulated time${stage ? `, stage ${stage}` : ""}`;
};

const show = ({ status, state }) => {
  if (status === "finished") {
    location.replace(`/run/${encodeURIComponent(name)}`);
    return;
  }
  run.dataset.status = status;
  if (!state) {
    setText(at("status"), "There is no such run here: it was removed, or had another name.");
    return;
  }
  setText(at("status"), statusLine(status, state));
  at("status").className = `verdict ${status === "running" ? "" : "bad"}`;
  const share = Math.round(100 * state.progress);
  at("bar").setAttribute("aria-valuenow", share);
  at("bar").firstElementChild.style.width = `${share}%`;
  setText(at("time"), timeLine(state));
  const some = state.columns.t_s.length > 0;
  at("tiles").hidden = !some;
  at("charts").hidden = !some;
  if (some) {
    tiles(state);
    draw(state);
  }
  tables(state);
  oneDevice(state);
  steering(state);
};

const send = async (command) => {
  try {
    const answer = await fetch(`${base}/commands`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(command),
    });
    const told = await answer.json();
    setText(at("answer"), answer.ok ? "" : told.error);
  } catch {
    setText(at("answer"), "The server does not answer.");
  }
};
const devices = () => {
  const device = at("device").value.trim();
  if (device) return { device };
  return at("whom").value ? { group: at("whom").value } : {};
};
const valueOf = (id) => (at(id).value === "" ? null : Number(at(id).value));
at("pause").addEventListener("click", () => send({ kind: paused ? "resume" : "pause" }));
at("speed").addEventListener("input", () => {
  at("speed").dataset.typed = "yes";
});
at("set-speed").addEventListener("click", () => {
  delete at("speed").dataset.typed;
  send({ kind: "speed", speed: valueOf("speed") });
});
at("stop").addEventListener("click", () => {
  if (confirm("Stop the run?")) send({ kind: "stop" });
});
at("squeeze").addEventListener("click", () => {
  const share = valueOf("share");
  send({ kind: "squeeze", share: share === null ? null : share / 100, ...devices() });
});
at("release").addEventListener("click", () => send({ kind: "squeeze", share: 1, ...devices() }));
at("cut-off").addEventListener("click", () => send({ kind: "cut_off", seconds: valueOf("seconds"), ...devices() }));

// A server that is silent for long is gone, even where the connection is still open.
const SILENT_MS = 10_000;
let heard = performance.now();
let source = null;
const lose = () => {
  run.dataset.status = "lost";
  setText(at("status"), "The server does not answer. This page looks for it each second; the run may go on without it.");
  at("status").className = "verdict bad";
};
const listen = () => {
  source?.close();
  source = new EventSource(`${base}/events`);
  source.addEventListener("message", (message) => {
    heard = performance.now();
    const told = JSON.parse(message.data);
    if (told.status === "finished") source.close();
    show(told);
  });
  source.addEventListener("error", () => {
    source.close();
    lose();
    setTimeout(listen, 1000);
  });
};
setInterval(() => {
  if (performance.now() - heard > SILENT_MS && source.readyState === EventSource.OPEN) {
    heard = performance.now();
    lose();
    listen();
  }
}, 2000);
listen();
