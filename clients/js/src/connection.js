// A device on a broker: the session of docs/protocol.md over an MQTT client that is handed in.
//
// MQTT.js (https://github.com/mqttjs/MQTT.js) fits as it is: pass its `connect`. In a browser the address is
// that of a WebSocket listener.

import { Device } from "./device.js";
import { readCloudStatus, readError, readNotice } from "./notice.js";
import { readRollout } from "./rollout.js";
import { ReportScheduler } from "./report_scheduler.js";
import { isSignedJson, isSignedPart } from "./signatures.js";

const LEAST_BACK_OFF_MS = 500;
const LONGEST_BACK_OFF_MS = 30_000;
const SHORT_CONNECTION_MS = 60_000;
const MOST_CLOUDS = 64;
const LOST = JSON.stringify({ online: false, reason: "connection lost" });

/** A device that is connected, or connects again. */
export class Connection {
  /**
   * @param {(url: string, options: Object) => Object} connect - of MQTT.js
   * @param {Object} options
   * @param {string} options.url - of the broker
   * @param {string} options.fleet
   * @param {string} options.name - the device's name
   * @param {string} options.password
   * @param {number|null} options.user - the user's number
   * @param {number|null} options.group - the user's group instead
   * @param {() => number} options.now - milliseconds; only differences count
   * @param {Object} options.schedule - options of `ReportScheduler`
   * @param {(event: Object) => void} options.on - receives what happens: `{type, ...}` with the types
   *   connected, disconnected, refused, notice, rollout, cloud, error, report, part, failed
   * @param {number} options.maxPart - bytes of the largest part that there is room for; 0: any
   * @param {CryptoKey[]|null} options.publicKeys - of `readPublicKeys`: what they have not signed is refused
   */
  constructor(connect, options) {
    const usual = { schedule: {}, user: null, group: null, maxPart: 0, publicKeys: null };
    this.options = { now: () => Date.now(), on: () => {}, ...usual, ...options };
    const { user, group, maxPart, publicKeys } = this.options;
    this.device = new Device({ user, group, maxPart, name: options.name, hasKeys: publicKeys !== null, seq: Date.now() });
    this.verified = Promise.resolve(); // the messages before the next one, in the order in which they came
    this.clouds = new Map(); // the services of the cloud, by name: their last status
    this.scheduler = new ReportScheduler(this.device, this.options.schedule);
    this.connect = connect;
    this.base = `peel/1/${options.fleet}/${options.name}`;
    this.modelTopic = `peel/1/${options.fleet}/model`;
    this.cloudTopic = `peel/1/${options.fleet}/cloud/+/status`;
    this.rolloutTopic = `peel/1/${options.fleet}/rollout`;
    this.toldModel = ""; // by the last status
    this.failures = 0;
    this.reason = "start";
    this.timer = null;
    this.client = null;
    this.closed = true;
  }

  /** Connect, and stay connected until `close`. */
  open() {
    this.closed = false;
    const { url, name, password } = this.options;
    const client = this.connect(url, {
      clientId: name,
      username: name,
      password,
      protocolVersion: 4,
      clean: true,
      keepalive: 60,
      reconnectPeriod: 0, // this file connects again: a new client and a new report
      will: { topic: `${this.base}/status`, payload: LOST, qos: 1, retain: true },
    });
    this.client = client;
    client.on("connect", () => this.subscribe(client));
    client.on("message", (topic, payload) => this.verify(client, topic, new Uint8Array(payload)));
    client.on("error", (error) => this.options.on({ type: "failed", error: String(error.message ?? error) }));
    client.on("close", () => this.onClose(client));
  }

  subscribe(client) {
    this.connectedMs = this.options.now();
    // A broker whose rules were made for protocol 1.0 may refuse these three: the device lives without them.
    client.subscribe([`${this.base}/error`, this.cloudTopic, this.rolloutTopic], { qos: 1 }, () => {});
    client.subscribe([`${this.base}/pee`, this.modelTopic], { qos: 1 }, (error, granted) => {
      const refused = error || granted.some(({ qos }) => qos === 128);
      if (refused) {
        this.options.on({ type: "refused", error: String(error ?? "a subscription was refused") });
        return;
      }
      this.say(true, this.reason);
      this.reason = "reconnect";
      this.options.on({ type: "connected" });
      this.scheduler.onConnected(this.options.now());
      this.reportIfDue();
    });
  }

  /** Hand a message to the device, after a check of its signature if there are keys; messages stay in order. */
  verify(client, topic, payload) {
    const { publicKeys } = this.options;
    if (publicKeys === null) {
      this.onMessage(topic, payload, false);
      return;
    }
    const check = topic === `${this.base}/pee` ? isSignedPart : isSignedJson;
    const isSigned = check(payload, topic, publicKeys);
    this.verified = Promise.all([isSigned, this.verified])
      .then(([signed]) => client === this.client && this.onMessage(topic, payload, signed))
      .catch((error) => this.options.on({ type: "failed", error: `signature: ${error.message}` }));
  }

  onMessage(topic, payload, isSigned) {
    const nowMs = this.options.now();
    const cloud = /\/cloud\/([^/]+)\/status$/.exec(topic);
    if (topic === `${this.base}/pee`) {
      const receipt = this.scheduler.onPart(payload, nowMs, isSigned);
      this.options.on({ type: "part", receipt, bytes: payload.length, reason: this.device.rejected });
      if (!this.scheduler.awaitsAnswer && this.device.model !== this.toldModel) this.say(true, "model");
    } else if (cloud) this.onCloudStatus(cloud[1], payload);
    else if (payload.length && this.device.hasKeys && !isSigned) {
      this.options.on({ type: "failed", error: `signature: a message on ${topic} has none that is known` });
    } else if (topic === this.modelTopic) this.onNotice(payload, nowMs);
    else if (topic === this.rolloutTopic) this.onRollout(payload, nowMs);
    else if (topic === `${this.base}/error`) this.onError(payload, nowMs);
    this.reportIfDue();
  }

  onNotice(payload, nowMs) {
    try {
      const notice = readNotice(payload);
      if (notice === null) return;
      this.scheduler.onNotice(notice, nowMs);
      this.options.on({ type: "notice", notice });
    } catch (error) {
      this.options.on({ type: "failed", error: `model notice: ${error.message}` });
    }
  }

  onRollout(payload, nowMs) {
    try {
      const rollout = readRollout(payload);
      if (rollout !== null && this.scheduler.onRollout(rollout, nowMs)) this.options.on({ type: "rollout", rollout });
    } catch (error) {
      this.options.on({ type: "failed", error: `rollout notice: ${error.message}` });
    }
  }

  /** Say whether this device is there, and which model it holds. */
  say(online, reason) {
    if (!this.scheduler.awaitsAnswer) this.toldModel = this.device.model;
    this.publish("status", { online, reason, model: this.toldModel }, { qos: 1, retain: true });
  }

  onError(payload, nowMs) {
    try {
      const error = readError(payload);
      if (this.scheduler.onError(error, nowMs)) this.options.on({ type: "error", ...error });
    } catch (error) {
      this.options.on({ type: "failed", error: `error answer: ${error.message}` });
    }
  }

  onCloudStatus(name, payload) {
    try {
      const status = readCloudStatus(payload);
      if (status === null) this.clouds.delete(name);
      else if (this.clouds.has(name) || this.clouds.size < MOST_CLOUDS) this.clouds.set(name, status);
      const online = [...this.clouds.values()].filter((each) => each.online);
      this.device.namesCapabilities = online.length > 0 && online.every((each) => each.knowsCapabilities);
      this.options.on({ type: "cloud", name, ...status });
    } catch (error) {
      this.options.on({ type: "failed", error: `cloud status: ${error.message}` });
    }
  }

  onClose(client) {
    if (client !== this.client) return;
    this.client = null;
    this.scheduler.onDisconnected();
    clearTimeout(this.timer);
    this.options.on({ type: "disconnected" });
    if (this.closed) return;
    const lasted = this.connectedMs === undefined ? 0 : this.options.now() - this.connectedMs;
    this.connectedMs = undefined;
    this.failures = lasted < SHORT_CONNECTION_MS ? this.failures + 1 : 1;
    const whole = Math.min(LEAST_BACK_OFF_MS * 2 ** (this.failures - 1), LONGEST_BACK_OFF_MS);
    this.timer = setTimeout(() => this.open(), whole * (0.5 + 0.5 * Math.random()));
  }

  /** Take a new budget, in bytes; what exceeds it is dropped at once. */
  setBudget(budgetBytes) {
    this.scheduler.onBudget(budgetBytes, this.options.now());
    this.reportIfDue();
  }

  /** Recommend to another user. */
  setUser(user) {
    this.scheduler.onUser(user, this.options.now());
    this.reportIfDue();
  }

  reportIfDue() {
    const nowMs = this.options.now();
    const report = this.scheduler.poll(nowMs);
    if (report) {
      this.publish("budget", report, { qos: 1 });
      this.options.on({ type: "report", report });
    }
    clearTimeout(this.timer);
    const waitMs = this.scheduler.nextMs - nowMs;
    if (waitMs < Infinity) this.timer = setTimeout(() => this.reportIfDue(), Math.max(waitMs, 1));
  }

  publish(kind, message, options) {
    this.client?.publish(`${this.base}/${kind}`, JSON.stringify(message), options);
  }

  /** Say goodbye and disconnect. */
  close(reason = "stop") {
    this.closed = true;
    clearTimeout(this.timer);
    this.say(false, reason);
    this.client?.end();
  }
}
