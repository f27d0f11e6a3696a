// The JavaScript client as a device on a real broker, for `peelfleet conformance`: its budget is a thousandth of
// MemAvailable in a file. With a small MQTT 3.1.1 client in place of MQTT.js, which is not installed here.
//
//   node broker_device.mjs HOST PORT PASSWORD MEMINFO PUBLIC-KEY
import { EventEmitter } from "node:events";
import { readFileSync } from "node:fs";
import { connect as openSocket } from "node:net";

import { Connection } from "../../clients/js/src/connection.js";
import { readPublicKeys } from "../../clients/js/src/index.js";

const [CONNACK, PUBLISH, PUBACK, SUBACK] = [2, 3, 4, 9];

const text = (value) => {
  const bytes = Buffer.from(value);
  return Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 255]), bytes]);
};
const number = (value) => Buffer.from([value >> 8, value & 255]);

/** What `connect` of MQTT.js returns, as far as the client uses it. */
class MqttClient extends EventEmitter {
  constructor(url, { clientId, username, password, keepalive, will }) {
    super();
    const { hostname, port } = new URL(url);
    this.input = Buffer.alloc(0);
    this.lastId = 0;
    this.subscriptions = new Map();
    this.socket = openSocket({ host: hostname, port: Number(port), noDelay: true });
    const flags = 0xc0 | 0x04 | 0x02 | (will.qos << 3) | (will.retain ? 0x20 : 0);
    this.socket.on("connect", () =>
      this.write(0x10, [
        text("MQTT"), Buffer.from([4, flags]), number(keepalive), text(clientId), text(will.topic), text(will.payload),
        text(username), text(password),
      ]),
    );
    this.socket.on("data", (bytes) => this.read(bytes));
    this.socket.on("error", (error) => this.emit("error", error));
    this.socket.on("close", () => this.emit("close"));
  }

  write(first, pieces) {
    const body = Buffer.concat(pieces);
    const length = [];
    for (let rest = body.length; ; rest >>= 7) {
      length.push((rest & 127) | (rest > 127 ? 128 : 0));
      if (rest <= 127) break;
    }
    this.socket.write(Buffer.concat([Buffer.from([first, ...length]), body]));
  }

  read(bytes) {
    this.input = Buffer.concat([this.input, bytes]);
    for (;;) {
      let length = 0;
      let at = 1;
      for (; at < this.input.length; at++) {
        length |= (this.input[at] & 127) << (7 * (at - 1));
        if (this.input[at] < 128) break;
      }
      const end = at + 1 + length;
      if (at >= this.input.length || end > this.input.length) return;
      const [first, body] = [this.input[0], this.input.subarray(at + 1, end)];
      this.input = this.input.subarray(end);
      this.onPacket(first, body);
    }
  }

  onPacket(first, body) {
    const kind = first >> 4;
    if (kind === CONNACK) this.emit(body[1] === 0 ? "connect" : "error", new Error(`return code ${body[1]}`));
    else if (kind === SUBACK) {
      const granted = [...body.subarray(2)].map((qos) => ({ qos }));
      this.subscriptions.get(body.readUInt16BE(0))?.(null, granted);
    } else if (kind === PUBLISH) {
      const end = 2 + body.readUInt16BE(0);
      const qos = (first >> 1) & 3;
      if (qos > 0) this.write(PUBACK << 4, [body.subarray(end, end + 2)]);
      this.emit("message", body.toString("utf8", 2, end), body.subarray(end + (qos > 0 ? 2 : 0)));
    }
  }

  subscribe(topics, { qos }, callback) {
    this.lastId += 1;
    this.subscriptions.set(this.lastId, callback);
    this.write(0x82, [number(this.lastId), ...topics.flatMap((topic) => [text(topic), Buffer.from([qos])])]);
  }

  publish(topic, message, { qos, retain = false }) {
    this.lastId += 1;
    const id = qos > 0 ? [number(this.lastId)] : [];
    this.write((PUBLISH << 4) | (qos << 1) | (retain ? 1 : 0), [text(topic), ...id, Buffer.from(message)]);
  }

  end() {
    this.socket.end();
  }
}

const [host, port, password, meminfo, publicKey] = process.argv.slice(2);
const budget = () => Math.floor((Number(/MemAvailable: (\d+)/.exec(readFileSync(meminfo))[1]) * 1024) / 1000);
const connection = new Connection((url, options) => new MqttClient(url, options), {
  url: `mqtt://${host}:${port}`,
  fleet: "conformance",
  name: "d1",
  password,
  user: 3,
  maxPart: 4096,
  publicKeys: await readPublicKeys(readFileSync(publicKey, "utf8")),
  schedule: { retryMs: 5000 },
  on: (event) => console.log(JSON.stringify(event)),
});
let last = budget();
connection.setBudget(last);
connection.open();
setInterval(() => {
  const now = budget();
  if (now !== last) connection.setBudget((last = now));
}, 100);
