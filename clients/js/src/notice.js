// What the cloud says in JSON: model notices, statuses and errors. Fields that are not known here are ignored.

import { Geometry } from "./geometry.js";

/**
 * Read a model notice.
 * @param {Uint8Array|string} payload
 * @returns {{version: string, geometry: Geometry, userGroups: number, users: number, layers: number}|null}
 *   null: the payload is empty, which clears what the broker keeps, and says nothing
 * @throws {Error} it is no notice, or one of a model that this client cannot hold
 */
export function readNotice(payload) {
  const notice = readJson(payload);
  return notice === null ? null : readModel(notice);
}

/**
 * Read the JSON object of a model notice.
 * @throws {Error} it is none, or one of a model that this client cannot hold
 */
export function readModel(notice) {
  if (typeof notice.version !== "string" || !/^[A-Za-z0-9._-]{1,64}$/.test(notice.version)) {
    throw new Error(`version ${notice.version} is no name`);
  }
  for (const [name, most] of [["user_groups", 2 ** 24], ["users", 2 ** 53], ["layers", 65536]]) {
    if (!Number.isInteger(notice[name]) || notice[name] < 0 || notice[name] > most) {
      throw new Error(`${name} ${notice[name]} must be a whole number of at most ${most}`);
    }
  }
  return {
    version: notice.version,
    geometry: new Geometry(notice.geometry),
    userGroups: notice.user_groups,
    users: notice.users,
    layers: notice.layers,
  };
}

/**
 * Read an error answer.
 * @param {Uint8Array|string} payload
 * @returns {{seq: number, reason: string, text: string, remedy: string, retryAfterMs: number}}
 * @throws {Error} it is none
 */
export function readError(payload) {
  const { seq, reason, text, remedy, retry_after_s: retryAfter } = readJson(payload);
  if (!Number.isInteger(seq) || seq < 0) throw new Error(`seq ${seq} must be a whole number`);
  if (![reason, text, remedy].every((each) => typeof each === "string")) throw new Error("a text is missing");
  if (!(retryAfter >= 0 && retryAfter <= 86_400)) throw new Error(`retry_after_s ${retryAfter} must be to 86400`);
  return { seq, reason, text, remedy, retryAfterMs: 1000 * retryAfter };
}

/**
 * Read the status of a service of the cloud.
 * @param {Uint8Array|string} payload
 * @returns {{online: boolean, reason: string, knowsCapabilities: boolean, layers: boolean}|null}
 *   null: the payload is empty, which clears what the broker keeps
 * @throws {Error} it is no status
 */
export function readCloudStatus(payload) {
  const status = readJson(payload);
  if (status === null) return null;
  const { online, reason, protocol, layers = false } = status;
  if (typeof online !== "boolean" || typeof reason !== "string") throw new Error("online or reason is missing");
  const version = /^1\.([0-9]{1,4})$/.exec(protocol);
  return { online, reason, knowsCapabilities: version !== null && Number(version[1]) >= 1, layers };
}

/** Return the JSON of a payload; null: it is empty. */
export function readJson(payload) {
  const text = typeof payload === "string" ? payload : new TextDecoder().decode(payload);
  return text === "" ? null : JSON.parse(text);
}
