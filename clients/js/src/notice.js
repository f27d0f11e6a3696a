// Model notices: which model the cloud serves, and how its table is cut.

import { Geometry } from "./geometry.js";

/**
 * Read a model notice.
 * @param {Uint8Array|string} payload
 * @returns {{version: string, geometry: Geometry, userGroups: number, users: number, layers: number}|null}
 *   null: the payload is empty, which clears what the broker keeps, and says nothing
 * @throws {Error} it is no notice, or one of a model that this client cannot hold
 */
export function readNotice(payload) {
  const text = typeof payload === "string" ? payload : new TextDecoder().decode(payload);
  if (text === "") return null;
  const notice = JSON.parse(text);
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
