// What a device does when its budget changes and when a message arrives (docs/protocol.md, "A device's life").
// Pure: it knows no network and no clock.

import { BlockPrefix } from "./block_prefix.js";
import { isOlder, wantedVersion } from "./rollout.js";
import { PartError, readPart } from "./update_part.js";

const MOST_NOTICES = 64;

/** What came of a part. */
export const Receipt = Object.freeze({
  APPLIED: "applied", // the PEE that was asked for is held now
  CONFIRMED: "confirmed", // it was held already
  PROGRESS: "progress", // more parts are to come
  STALE: "stale", // it answers an older report
  MISFIT: "misfit", // the budget has fallen since the report: report again
  REJECTED: "rejected", // damaged or contradictory: report again
});

/** The protocol logic of one device. */
export class Device {
  /**
   * @param {Object} options
   * @param {number|null} options.user - the user's number
   * @param {number|null} options.group - the user's group, for a device that keeps its user to itself
   * @param {number} options.seq - the number of the last report
   * @param {number} options.maxPart - bytes of the largest part that there is room for; 0: any
   * @param {string} options.name - the device's name, which says its group in a rollout
   * @param {boolean} options.hasKeys - whether public keys of the cloud are known: then only signed parts count
   */
  constructor({ user = null, group = null, seq = 0, maxPart = 0, name = "", hasKeys = false }) {
    this.user = user;
    this.reportedGroup = group;
    this.seq = seq;
    this.budgetBytes = 0;
    this.reportedBytes = 0;
    /** The model version to ask for, where it is not the announced one. */
    this.wants = "";
    this.name = name;
    /** The last rollout notice; null before any. */
    this.rollout = null;
    this.maxPart = maxPart;
    this.hasKeys = hasKeys;
    /** Whether the cloud knows `max_part`: one of protocol 1.0 refuses a report that has it. */
    this.namesCapabilities = false;
    this.rejected = null;
    this.notices = new Map();
    this.announced = null;
    this.evicted = false;
    this.moved = false;
    this.forget();
  }

  /** Drop all blocks. */
  forget() {
    this.model = "";
    this.group = 0;
    this.prefix = null;
    this.userVector = null;
    this.held = 0;
    this.residentBytes = 0;
    /** The layer in use: the highest that is complete; 0 recommends nothing. */
    this.layer = 0;
  }

  /** Learn of a model from a notice, as `readNotice` returns it. */
  announce(notice) {
    this.announced = notice;
    this.remember(notice);
  }

  /** Learn of a rollout, as `readRollout` returns it; return false if it says no more than is known. */
  learnRollout(rollout) {
    if (this.rollout !== null && !isOlder(this.rollout, rollout)) return false;
    this.rollout = rollout;
    if (rollout.notice !== null) this.remember(rollout.notice);
    return true;
  }

  /** The version that this device is to have; null while none is announced. */
  get wanted() {
    return this.announced && wantedVersion(this.rollout, this.name, this.announced.version);
  }

  remember(notice) {
    this.notices.delete(notice.version);
    this.notices.set(notice.version, notice);
    for (const version of this.notices.keys()) {
      if (this.notices.size <= MOST_NOTICES) break;
      if (version !== this.model && version !== notice.version) this.notices.delete(version);
    }
  }

  /** Take a new budget: blocks beyond it are gone when this returns. */
  setBudget(budgetBytes) {
    this.budgetBytes = budgetBytes;
    if (this.prefix === null || this.residentBytes <= budgetBytes) return;
    this.hold(this.prefix.layerBlocks[this.prefix.fittingLayer(budgetBytes, this.held)]);
    this.evicted = true;
  }

  /** Recommend to another user from now on. */
  changeUser(user) {
    this.user = user;
    this.forget();
  }

  /** Return the next budget report; answers to earlier ones are stale from now on. */
  report() {
    this.seq += 1;
    this.evicted = this.moved = false;
    this.reportedBytes = this.budgetBytes;
    const report = {
      seq: this.seq,
      budget_bytes: this.budgetBytes,
      user: this.reportedGroup === null ? this.user : null,
      group: this.reportedGroup,
      model: this.model,
      held: this.held,
    };
    const wants = this.rollout === null ? this.wants : this.wanted;
    if (wants) report.wants = wants;
    if (this.maxPart && this.namesCapabilities) report.max_part = this.maxPart;
    return report;
  }

  /** Return the quality report of the PEE in use. */
  qualityReport({ ndcgAt10, recallAt20, hitRateAt10 }) {
    return {
      model: this.model,
      layer: this.layer,
      held: this.held,
      ndcg_at_10: ndcgAt10,
      recall_at_20: recallAt20,
      hit_rate_at_10: hitRateAt10,
    };
  }

  /**
   * Take in an update part.
   * @param {Uint8Array} payload
   * @param {boolean} isSigned - whether `isSignedPart` says so; without keys it does not count
   * @returns {string} a `Receipt`; of a rejected part, `rejected` is the reason
   */
  receive(payload, isSigned = false) {
    try {
      if (this.maxPart && payload.length > this.maxPart) {
        throw new PartError("too_large", `${payload.length} bytes, this device takes ${this.maxPart}`);
      }
      const part = readPart(payload);
      if (part.seq !== this.seq) return Receipt.STALE;
      if (this.hasKeys && !isSigned) throw new PartError("signature", "no signature of the cloud that is known");
      return this.take(part);
    } catch (error) {
      if (!(error instanceof PartError)) throw error;
      this.rejected = error.reason;
      return Receipt.REJECTED;
    }
  }

  /** Take in a part of the answer to the last report; one that is refused leaves no trace. */
  take(part) {
    const begins = this.prefix === null || part.model !== this.model;
    const prefix = begins ? this.introduced(part) : this.prefix;
    const held = begins ? 0 : this.held;
    if (!begins && part.group !== this.group) {
      throw new PartError("content", `group ${part.group} on blocks of ${this.group}`);
    }
    if (part.first > held && this.evicted) return Receipt.MISFIT;
    const added = prefix.check(part, held);
    const end = part.first + (part.tensors.ids?.length ?? 0);
    if (end > part.target || part.target > prefix.layerBlocks.at(-1)) {
      throw new PartError("out_of_range", `blocks ${part.first} to ${end} of ${part.target}`);
    }
    const blocks = Math.min(Math.max(end, held), part.target);
    if (blocks > held && prefix.bytesOf(blocks, added) > this.budgetBytes) {
      if (this.budgetBytes < this.reportedBytes) return Receipt.MISFIT;
      throw new PartError("out_of_range", `${blocks} blocks exceed the budget of ${this.budgetBytes} bytes`);
    }
    if (part.part === part.parts && blocks !== part.target) {
      throw new PartError("out_of_range", `${blocks} blocks of ${part.target} after the last part`);
    }
    if (begins) this.begin(part, prefix);
    prefix.append(added);
    if (blocks !== this.held) {
      this.hold(blocks);
      this.moved = true;
    }
    if (part.part < part.parts) return Receipt.PROGRESS;
    return this.moved ? Receipt.APPLIED : Receipt.CONFIRMED;
  }

  /** Return the empty prefix of the model version that a part introduces; nothing is changed. */
  introduced(part) {
    const { layer_blocks: blocks, layer_bytes: bytes, user_vector: vector } = part.tensors;
    const notice = this.notices.get(part.model);
    if (!blocks && !bytes) throw new PartError("unknown_model", `an update of model ${part.model} unasked`);
    if (!notice || part.group >= notice.userGroups) {
      throw new PartError("unknown_model", `model ${part.model}, group ${part.group} was not announced`);
    }
    const { geometry } = notice;
    const table = [[0, ...(blocks ?? [])], [0, ...(bytes ?? [])]];
    const rises = table.every((column) => column.every((value, at) => at === 0 || value > column[at - 1]));
    if (!rises || table[0].length !== table[1].length || table[0].length - 1 > notice.layers) {
      throw new PartError("malformed", "the layer table does not rise, or has too many layers");
    }
    if (table[0].at(-1) > geometry.blocks) throw new PartError("malformed", "the layer table has too many blocks");
    if (vector && vector.length !== geometry.dim) {
      throw new PartError("malformed", `a user's vector of ${vector.length} numbers for ${geometry.dim}`);
    }
    return new BlockPrefix(geometry, ...table);
  }

  begin(part, prefix) {
    this.moved = this.held > 0;
    this.model = part.model;
    this.group = part.group;
    this.userVector = part.tensors.user_vector ?? null;
    this.prefix = prefix;
    this.held = this.residentBytes = this.layer = 0;
  }

  hold(blocks) {
    this.prefix.truncate(blocks);
    this.held = blocks;
    this.residentBytes = this.prefix.resident[blocks];
    this.layer = this.prefix.completeLayer(blocks);
  }

  /**
   * Return the best items with the layers that are complete.
   * @param {number} count
   * @param {Set<number>} known - items that are left out
   * @param {ArrayLike<number>|null} vector - the user's vector, where the cloud does not know it
   */
  recommend(count = 10, known = new Set(), vector = this.userVector) {
    if (this.prefix === null || this.layer === 0 || vector === null) return [];
    return this.prefix.decoded(this.layer).rank(vector, count, known);
  }
}
