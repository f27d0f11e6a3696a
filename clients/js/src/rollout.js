// A staged rollout (docs/protocol.md, "Rollouts"): the notice, a device's group, the version that it is to have.

import { readJson, readModel } from "./notice.js";

const STATES = ["running", "complete", "paused", "rolled_back"]; // within an order a later one says more
const MASK = (1n << 64n) - 1n;
const IV = [
  0x6a09e667f3bcc908n, 0xbb67ae8584caa73bn, 0x3c6ef372fe94f82bn, 0xa54ff53a5f1d36f1n,
  0x510e527fade682d1n, 0x9b05688c2b3e6c1fn, 0x1f83d9abfb41bd6bn, 0x5be0cd19137e2179n,
];
const SIGMA = [
  "0123456789abcdef", "ea489fd61c02b753", "b8c052fdae367194", "7931dcbe265a40f8",
  "905724afe1bc683d", "2c6a0b834d75fe19", "c51fed4a0763928b", "db7ec13950f4862a",
  "6fe9b308c2d714a5", "a2847615fb9e3cd0", "0123456789abcdef", "ea489fd61c02b753",
].map((row) => [...row].map((digit) => parseInt(digit, 16)));
const COLUMNS = [
  [0, 4, 8, 12], [1, 5, 9, 13], [2, 6, 10, 14], [3, 7, 11, 15], [0, 5, 10, 15], [1, 6, 11, 12], [2, 7, 8, 13], [3, 4, 9, 14],
];

/**
 * Read a rollout notice.
 * @param {Uint8Array|string} payload
 * @returns {{place: number[], state: string, version: string, groups: number, started: number, notice: Object|null}|null}
 *   null: the payload is empty; `place` tells which of two notices says more
 * @throws {Error} it is no notice, or one of a model that this client cannot hold
 */
export function readRollout(payload) {
  const found = readJson(payload);
  if (found === null) return null;
  const { rollout, order, state, version, groups, started = 0, notice = null } = found;
  for (const [name, value, least, most] of [
    ["rollout", rollout, 1, 2 ** 53], ["order", order, 1, 2 ** 53], ["groups", groups, 1, 1000], ["started", started, 0, 1000],
  ]) {
    if (!Number.isInteger(value) || value < least || value > most) {
      throw new Error(`${name} ${value} must be a whole number from ${least} to ${most}`);
    }
  }
  if (!STATES.includes(state)) throw new Error(`state ${state} must be one of ${STATES.join(", ")}`);
  if (typeof version !== "string" || !/^[A-Za-z0-9._-]{1,64}$/.test(version)) throw new Error(`version ${version} is no name`);
  const place = [rollout, order, STATES.indexOf(state), started];
  return { place, state, version, groups, started, notice: notice === null ? null : readModel(notice) };
}

/** Tell whether a rollout notice says less than another one. */
export function isOlder(one, other) {
  const at = one.place.findIndex((value, index) => value !== other.place[index]);
  return at >= 0 && one.place[at] < other.place[at];
}

/** Return the version that a device is to have, given the last rollout notice (or null) and the announced version. */
export function wantedVersion(rollout, device, announced) {
  if (rollout === null || rollout.notice === null || rollout.state === "rolled_back") return announced;
  if (rollout.state === "complete") return rollout.version;
  return groupOf(rollout.version, device, rollout.groups) < rollout.started ? rollout.version : announced;
}

/** Return the group of a device. */
export function groupOf(version, device, groups) {
  return Number((blake2b64(new TextEncoder().encode(`${version}\x1f${device}`)) * BigInt(groups)) >> 64n);
}

/** Return the BLAKE2b hash of 8 bytes (RFC 7693), of at most 256 bytes, as a little-endian number. */
function blake2b64(input) {
  const state = [...IV];
  state[0] ^= 0x01010008n; // no key, 8 bytes
  const blocks = Math.max(1, Math.ceil(input.length / 128));
  for (let block = 0; block < blocks; block += 1) {
    const chunk = new Uint8Array(128);
    chunk.set(input.subarray(128 * block, 128 * (block + 1)));
    const view = new DataView(chunk.buffer);
    const words = Array.from({ length: 16 }, (_, at) => view.getBigUint64(8 * at, true));
    const isLast = block === blocks - 1;
    compress(state, words, BigInt(isLast ? input.length : 128 * (block + 1)), isLast);
  }
  return state[0];
}

function compress(state, words, count, isLast) {
  const v = [...state, ...IV];
  v[12] ^= count;
  if (isLast) v[14] ^= MASK;
  for (const row of SIGMA) {
    COLUMNS.forEach(([a, b, c, d], at) => {
      mix(v, a, b, c, d, words[row[2 * at]], words[row[2 * at + 1]]);
    });
  }
  for (let at = 0; at < 8; at += 1) state[at] ^= v[at] ^ v[at + 8];
}

function mix(v, a, b, c, d, x, y) {
  v[a] = (v[a] + v[b] + x) & MASK;
  v[d] = turned(v[d] ^ v[a], 32n);
  v[c] = (v[c] + v[d]) & MASK;
  v[b] = turned(v[b] ^ v[c], 24n);
  v[a] = (v[a] + v[b] + y) & MASK;
  v[d] = turned(v[d] ^ v[a], 16n);
  v[c] = (v[c] + v[d]) & MASK;
  v[b] = turned(v[b] ^ v[c], 63n);
}

function turned(word, bits) {
  return ((word >> bits) | (word << (64n - bits))) & MASK;
}
