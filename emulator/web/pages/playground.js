// The page of the playground: a device that lives in the browser, and a view of the fleet beside it.

import mqtt from "/pages/vendor/mqtt.esm.js";
import { Connection } from "/client/connection.js";

const LEAST_BYTES = 200;
const LOSS = 0.5; // of parts, while messages are lost
const SQUEEZE = 0.25; // of the budget
const LOG_LINES = 60;
const RETRY_MS = 5000; // sooner than a phone: somebody is watching

const part = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");

/** Return bytes as text for people. */
function bytesText(bytes) {
  return bytes < 1024 ? `${bytes} B` : `${(bytes / 1024).toFixed(1)} KiB`;
}

async function fetchJson(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.json();
}

/** The page: it shows what the device holds. */
class Page {
  constructor(world, account) {
    this.world = world;
    this.account = account;
    this.received = 0;
    this.full = 0;
    this.reports = 0;
    this.shown = [];
    this.loses = false;
    this.knownUsers = new Map();
  }

  async start() {
    const { fleet, name, password } = this.account;
    const user = this.world.users[Math.floor(Math.random() * this.world.users.length)];
    await this.learnUser(user);
    this.connection = new Connection(this.connect.bind(this), {
      url: `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/mqtt`,
      fleet, name, password, user,
      schedule: { retryMs: RETRY_MS },
      on: (event) => this.onEvent(event),
    });
    part("about").textContent =
      `Device ${name} of fleet ${fleet}; model ${this.world.model}, ${count.format(this.world.titles.length)} ` +
      "items. The titles are made up. Everything runs on this machine.";
    this.listen();
    this.setBudget();
    this.connection.open();
    this.show();
  }

  /** Connect with MQTT.js; while messages are lost, half of the parts do not arrive. */
  connect(url, options) {
    const client = mqtt.connect(url, options);
    const { on } = client;
    client.on = (event, listener) =>
      on.call(client, event, event !== "message" ? listener : (topic, payload) => {
        if (this.loses && topic.endsWith("/pee") && Math.random() < LOSS) this.log("a part is lost");
        else listener(topic, payload);
      });
    return client;
  }

  get device() {
    return this.connection.device;
  }

  async learnUser(user) {
    this.person = this.knownUsers.get(user) ?? (await fetchJson(`/users/${user}.json`));
    this.knownUsers.set(user, this.person);
    this.known = new Set(this.person.known);
    part("who").textContent = `user ${user}`;
  }

  listen() {
    part("memory").addEventListener("input", () => this.setBudget());
    part("squeeze").addEventListener("click", () => {
      const squeezed = Math.max(LEAST_BYTES, Math.round(this.budget * SQUEEZE));
      part("memory").value = String(this.positionOf(squeezed));
      this.log("memory squeezed to a quarter");
      this.setBudget();
    });
    part("cut").addEventListener("click", () => {
      const cut = this.toggle("cut", "Cut the link", "Mend the link");
      if (cut) this.connection.close("the link was cut");
      else this.connection.open();
      this.show();
    });
    part("lose").addEventListener("click", () => {
      this.loses = this.toggle("lose", "Lose messages", "Lose no messages");
    });
    part("kill").addEventListener("click", async () => {
      const dead = this.toggle("kill", "Kill the cloud", "Start the cloud");
      this.log(dead ? "the cloud is killed" : "the cloud starts again");
      const body = JSON.stringify({ running: !dead });
      await fetchJson("/cloud", { method: "POST", body, headers: { "content-type": "application/json" } });
    });
    part("user").addEventListener("click", async () => {
      const others = this.world.users.filter((user) => user !== this.person.user);
      const user = others[Math.floor(Math.random() * others.length)];
      await this.learnUser(user);
      this.shown = [];
      this.log(`a new user: ${user}`);
      this.connection.setUser(user);
      this.show();
    });
    const fleet = new EventSource("/fleet");
    fleet.addEventListener("message", (event) => this.showFleet(JSON.parse(event.data)));
    fleet.addEventListener("error", () => {
      part("fleet-text").textContent = "The server does not answer; waiting for it.";
    });
  }

  toggle(id, off, on) {
    const button = part(id);
    const pressed = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(pressed));
    button.textContent = pressed ? on : off;
    return pressed;
  }

  /** The slider is logarithmic: small budgets are where most changes. */
  bytesAt(position) {
    const most = this.world.most_bytes * 1.02;
    return Math.round(LEAST_BYTES * (most / LEAST_BYTES) ** (position / 1000));
  }

  positionOf(bytes) {
    const most = this.world.most_bytes * 1.02;
    return Math.round((1000 * Math.log(bytes / LEAST_BYTES)) / Math.log(most / LEAST_BYTES));
  }

  setBudget() {
    this.budget = this.bytesAt(Number(part("memory").value));
    this.connection.setBudget(this.budget);
    this.show();
  }

  onEvent(event) {
    if (event.type === "report") {
      this.reports += 1;
      this.log(`report ${this.reports}: ${bytesText(event.report.budget_bytes)}, ${event.report.held} blocks held`);
    } else if (event.type === "part") {
      this.received += event.bytes;
      if (["applied", "confirmed"].includes(event.receipt)) this.full += this.device.residentBytes;
      const why = event.receipt === "rejected" ? `, ${event.reason}` : "";
      this.log(`part of ${bytesText(event.bytes)}: ${event.receipt}${why}`);
      if (event.receipt === "applied") this.reportQuality();
    } else if (event.type === "notice") this.log(`the cloud serves model ${event.notice.version}`);
    else if (event.type === "failed" || event.type === "refused") this.log(event.error);
    else this.log(event.type);
    this.isConnected = event.type === "disconnected" ? false : this.isConnected || event.type === "connected";
    this.show();
  }

  reportQuality() {
    const ndcgAt10 = this.person.ndcg_at_10[this.device.layer] ?? 0;
    const report = this.device.qualityReport({ ndcgAt10, recallAt20: 0, hitRateAt10: 0 });
    this.connection.publish("quality", report, { qos: 0 });
  }

  log(text) {
    const line = document.createElement("li");
    line.textContent = text;
    const list = part("log");
    list.prepend(line);
    while (list.children.length > LOG_LINES) list.lastChild.remove();
  }

  show() {
    const { device, person, world } = this;
    part("link").classList.toggle("on", Boolean(this.isConnected));
    const cut = part("cut").getAttribute("aria-pressed") === "true";
    setText("state", this.isConnected ? "connected to the broker" : cut ? "the link is cut" : "connecting");
    setText("budget", bytesText(this.budget));
    setText(
      "held-text",
      `Holds ${bytesText(device.residentBytes)} in ${device.held} blocks, layer ${device.layer} of ` +
        `${person.layer_bytes.length - 1}. Never above the budget.`,
    );
    const most = world.most_bytes * 1.02;
    part("held-bar").style.width = `${(100 * device.residentBytes) / most}%`;
    part("budget-line").style.left = `calc(${Math.min((100 * this.budget) / most, 100)}% - 2px)`;
    const ndcg = person.ndcg_at_10;
    const best = person.layer_bytes.findLastIndex((bytes) => bytes <= this.budget);
    setText("now", (ndcg[device.layer] ?? 0).toFixed(3));
    setText("best", (ndcg[best] ?? 0).toFixed(3));
    setText("whole", ndcg.at(-1).toFixed(3));
    setText("received", bytesText(this.received));
    setText("full", bytesText(this.full));
    setText("reports", String(this.reports));
    this.showMosaic();
    this.showTop();
  }

  showMosaic() {
    const { prefix, layer, held } = this.device;
    const mosaic = part("mosaic");
    const geometry = prefix?.geometry;
    if (!geometry) return;
    if (mosaic.children.length !== geometry.itemGroups * geometry.slices) {
      mosaic.style.gridTemplateColumns = `repeat(${geometry.slices}, 1fr)`;
      mosaic.replaceChildren(
        ...Array.from({ length: geometry.itemGroups * geometry.slices }, () => document.createElement("i")),
      );
    }
    const planes = new Uint8Array(mosaic.children.length);
    for (const { id } of prefix.blocks) {
      const cell = geometry.cell(id);
      planes[cell.number] = Math.max(planes[cell.number], cell.plane + 1);
    }
    planes.forEach((held, at) => {
      const shade = held ? 0.12 + 0.88 * Math.min(held / 8, 1) : 0;
      mosaic.children[at].style.background = held ? `rgba(var(--cell), ${shade.toFixed(2)})` : "";
    });
    const filled = planes.filter((held) => held > 0).length;
    mosaic.setAttribute(
      "aria-label",
      `${held} blocks are held, layer ${layer}; ${filled} of ${planes.length} cells have at least one.`,
    );
  }

  showTop() {
    const best = this.device.recommend(10, this.known);
    const items = best.map(({ item }) => item);
    if (items.join() === this.shown.join()) return;
    const before = new Set(this.shown);
    part("top").replaceChildren(...items.map((item) => this.line(item, before)));
    this.shown = items;
  }

  line(item, before) {
    const line = document.createElement("li");
    line.dataset.item = String(item);
    line.textContent = this.world.titles[item];
    if (this.world.kinds[item]) {
      const kind = document.createElement("span");
      kind.textContent = ` ${this.world.kinds[item]}`;
      line.append(kind);
    }
    if (before.size && !before.has(item)) line.className = "new";
    return line;
  }

  showFleet({ devices, reports, parts, part_bytes: partBytes }) {
    const names = Object.keys(devices).filter(
      (name) => devices[name].online || devices[name].budget_bytes > 0,
    );
    const view = part("fleet");
    while (view.children.length > names.length) view.lastChild.remove();
    while (view.children.length < names.length) {
      const square = document.createElement("i");
      square.append(document.createElement("b"));
      view.append(square);
    }
    let online = 0;
    names.forEach((name, at) => {
      const device = devices[name];
      const square = view.children[at];
      online += device.online ? 1 : 0;
      square.className = `${name === this.account.name ? "mine" : ""} ${device.online ? "" : "away"}`.trim();
      square.title = `${name}: ${bytesText(device.budget_bytes)}, NDCG@10 ${device.ndcg_at_10.toFixed(3)}`;
      const fill = square.firstChild;
      fill.style.height = `${Math.min(Math.max(this.positionOf(device.budget_bytes || 1) / 10, 6), 100)}%`;
      fill.style.background = `hsl(${Math.min(140, 330 * device.ndcg_at_10)} 60% 45%)`;
    });
    const text =
      `${online} of ${names.length} devices online; ${count.format(reports)} reports and ${count.format(parts)} ` +
      `update parts of ${bytesText(partBytes)} since the start.`;
    setText("fleet-text", text);
    view.setAttribute("aria-label", text);
  }
}

function setText(id, text) {
  const element = part(id);
  if (element.textContent !== text) element.textContent = text;
}

try {
  const [world, account] = await Promise.all([
    fetchJson("/world.json"),
    fetchJson("/devices", { method: "POST" }),
  ]);
  const page = new Page(world, account);
  window.playground = page; // for the curious, and for tests
  await page.start();
} catch (error) {
  setText("state", `the page could not start: ${error.message}`);
}
