// The JavaScript client behind a pipe: each line of the input is a call, each line of the output its result.
import { createInterface } from "node:readline";

import {
  BlockTable, Catalogue, Device, Geometry, ReportScheduler, groupOf, isSignedJson, isSignedPart, readCloudStatus, readError,
  readNotice, readPublicKeys, readRollout,
} from "../../clients/js/src/index.js";
import { PlaneCell } from "../../clients/js/src/planes.js";

const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"));
let device;
let scheduler;
let cell;
let keys = [];

const calls = {
  cell({ rows, columns }) {
    cell = new PlaneCell(rows, columns);
  },
  planes({ data, planes, coded }) {
    cell.bring(bytes(data), planes, coded);
    return Array.from(cell.q, (_, at) => Math.fround(cell.value(at)));
  },
  table({ geometry, blocks, user }) {
    const table = new BlockTable(new Geometry(geometry));
    return blocks.map(({ id, data, scale }) => {
      table.add(id, bytes(data), scale);
      return {
        values: Array.from(table.values),
        scores: Array.from(table.scores(user), (score) => (score === -Infinity ? null : score)),
        ranking: table.rank(user).map(({ item }) => item),
      };
    });
  },
  device(options) {
    device = new Device(options);
    scheduler = new ReportScheduler(device, { leastIntervalMs: 0, draw: () => 0.5 });
  },
  groups: ({ version, names, groups }) => names.map((name) => groupOf(version, name, groups)),
  async keys({ pem }) {
    keys = await readPublicKeys(pem);
  },
  signed_json: ({ payload, topic }) => isSignedJson(bytes(payload), topic, keys),
  signed_part: ({ payload, topic }) => isSignedPart(bytes(payload), topic, keys),
  device_seq({ seq }) {
    device.seq = seq;
  },
  cloud({ payload }) {
    device.namesCapabilities = readCloudStatus(bytes(payload)).knowsCapabilities;
  },
  notice: ({ payload }) => device.announce(readNotice(bytes(payload))),
  wants({ model }) {
    device.wants = model;
  },
  budget({ bytes: budgetBytes }) {
    device.setBudget(budgetBytes);
    return state();
  },
  report: () => device.report(),
  receive: ({ payload, isSigned }) => {
    const receipt = device.receive(bytes(payload), isSigned);
    return { receipt, reason: device.rejected, ...state() };
  },
  named: ({ text, count }) => new Catalogue(text).name(device, device.recommend(count)),
  recommend: ({ count }) => device.recommend(count).map(({ item }) => item),
  at({ event, nowMs, argument, isSigned }) {
    const events = {
      connected: () => scheduler.onConnected(nowMs),
      disconnected: () => scheduler.onDisconnected(),
      budget: () => scheduler.onBudget(argument, nowMs),
      user: () => scheduler.onUser(argument, nowMs),
      notice: () => scheduler.onNotice(readNotice(bytes(argument)), nowMs),
      rollout: () => scheduler.onRollout(readRollout(bytes(argument)), nowMs),
      part: () => scheduler.onPart(bytes(argument), nowMs, isSigned),
      error: () => scheduler.onError(readError(bytes(argument)), nowMs),
      time: () => {},
    };
    events[event]();
    const report = scheduler.poll(nowMs);
    return { report, nextMs: scheduler.nextMs === Infinity ? null : scheduler.nextMs };
  },
};

function state() {
  const { model, group, held, layer, residentBytes } = device;
  const ids = device.prefix ? device.prefix.blocks.map(({ id }) => id) : [];
  return { model, group, held, layer, residentBytes, ids };
}

for await (const line of createInterface({ input: process.stdin })) {
  const { call, ...options } = JSON.parse(line);
  let answer;
  try {
    answer = { result: (await calls[call](options)) ?? null };
  } catch (error) {
    answer = { error: String(error.stack) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
