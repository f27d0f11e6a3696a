// When a device reports, reports again and backs off (docs/protocol.md, "A device's life"). Pure: times are
// arguments, in milliseconds.

import { Receipt } from "./device.js";
import { peekSeq } from "./update_part.js";

const MANY_REFUSALS = 8;
const LEAST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 60_000;
const LONGEST_SILENCE = 20; // in first waits
const LONGEST_ERROR_WAIT_MS = 3_600_000;
const CONTRADICTIONS = ["content", "out_of_range"];

/** The scheduler of one device's reports: call a method for each event, then `poll`. */
export class ReportScheduler {
  /**
   * @param {import("./device.js").Device} device
   * @param {Object} options
   * @param {number} options.retryMs - wait for an answer before the device reports again; it doubles with each
   *   report in a row that has none
   * @param {number} options.retryJitter - the share of that wait that is drawn on top of it
   * @param {number} options.settleMs - wait after a notice: those that were missed come in a burst
   * @param {number} options.leastIntervalMs - between two reports of changed budgets
   * @param {() => number} options.draw - returns a number from 0 to 1
   */
  constructor(device, options = {}) {
    const usual = { retryMs: 30_000, retryJitter: 0.5, settleMs: 100, leastIntervalMs: 50, draw: Math.random };
    this.device = device;
    this.options = { ...usual, ...options };
    this.online = false;
    this.awaitsAnswer = false;
    this.lastMs = -Infinity; // of the last report
    this.reportedModel = null; // the version that it asked for
    this.refusals = 0;
    this.refusedHeld = -1;
    this.silent = 0; // reports in a row without a complete answer in time
    this.errors = 0; // in a row, without a complete answer between them
    this.cancel();
  }

  /** Forget what is planned. */
  cancel() {
    this.blockedMs = -Infinity; // the end of the wait that an error has asked for
    this.dueMs = Infinity; // a report for a reason of its own
    this.againMs = Infinity; // after refused answers
    this.modelMs = Infinity; // for a new model version, when it is settled
    this.silenceMs = Infinity; // the end of the first wait for an answer
    this.resendMs = Infinity; // the end of a longer one
  }

  /** The next time at which `poll` may return a report. */
  get nextMs() {
    if (!this.online || this.device.announced === null) return Infinity;
    return Math.min(this.dueMs, this.againMs, this.modelMs, this.silenceMs, this.resendMs);
  }

  /** Plan a report; not before the first model version that is announced is settled. */
  plan(dueMs) {
    if (this.online && this.device.announced !== null) this.dueMs = Math.min(this.dueMs, dueMs);
  }

  /** Take a new budget. */
  onBudget(budgetBytes, nowMs) {
    this.device.setBudget(budgetBytes);
    if (nowMs < this.blockedMs) return;
    this.plan(Math.max(nowMs, this.lastMs + this.options.leastIntervalMs));
  }

  /** Recommend to another user from now on. */
  onUser(user, nowMs) {
    this.device.changeUser(user);
    this.plan(nowMs);
  }

  /** Learn of a model from a notice, as `readNotice` returns it. */
  onNotice(notice, nowMs) {
    const { device } = this;
    const isFirst = device.announced === null;
    device.announce(notice);
    if (isFirst) this.dueMs = Infinity; // the first report waits, too, until the version is settled
    this.follow(nowMs);
  }

  /** Learn of a rollout, as `readRollout` returns it. */
  onRollout(rollout, nowMs) {
    const isNews = this.device.learnRollout(rollout);
    if (isNews && this.device.announced !== null) this.follow(nowMs);
    return isNews;
  }

  /** Ask for the version that this device is to have, unless the last report has asked for it. */
  follow(nowMs) {
    if (this.device.wanted === this.reportedModel) this.modelMs = Infinity;
    else if (this.online) this.modelMs = nowMs + this.options.settleMs;
  }

  /** Report: what was under way on an earlier connection may be lost. */
  onConnected(nowMs) {
    this.online = true;
    this.plan(nowMs);
  }

  /** Plan nothing until the next connection. */
  onDisconnected() {
    this.online = this.awaitsAnswer = false;
    this.cancel();
  }

  /** Take in a part; return its `Receipt`. */
  onPart(payload, nowMs, isSigned = false) {
    const receipt = this.device.receive(payload, isSigned);
    if (receipt === Receipt.APPLIED || receipt === Receipt.CONFIRMED) {
      this.awaitsAnswer = false;
      this.refusals = 0;
      this.refusedHeld = -1;
      this.errors = this.silent = 0;
      this.blockedMs = -Infinity;
      this.againMs = this.silenceMs = this.resendMs = Infinity;
    } else if (receipt === Receipt.MISFIT) this.plan(nowMs);
    else if (receipt === Receipt.REJECTED && this.mayAnswerLast(payload)) this.onRejected(nowMs);
    return receipt;
  }

  /** Tell whether a refused part may belong to the answer to the last report (R16: one report for an answer). */
  mayAnswerLast(payload) {
    const seq = peekSeq(payload);
    return seq === null || seq === this.device.seq;
  }

  /**
   * Wait as an error answer to the last report asks for; until then no change of the budget is reported.
   * @param {Object} error - as `readError` returns it
   * @returns {boolean} whether it is about the last report
   */
  onError(error, nowMs) {
    const { device, options } = this;
    // A signed error without a number could be an old one, passed on again.
    const numbers = device.hasKeys ? [device.seq] : [0, device.seq];
    if (!numbers.includes(error.seq) || !this.awaitsAnswer) return false;
    if (error.remedy === "wait") {
      this.silenceMs = nowMs + error.retryAfterMs + options.retryMs;
      return true;
    }
    if (error.remedy === "restart") device.forget();
    this.errors += 1;
    this.cancel();
    const least = Math.max(error.retryAfterMs, LEAST_WAIT_MS);
    const wait = Math.min(least * 2 ** Math.min(this.errors - 1, 16), Math.max(LONGEST_ERROR_WAIT_MS, least));
    this.againMs = this.blockedMs = nowMs + wait * (1 + 0.5 * options.draw());
    return true;
  }

  /** Ask again; later and later where answers are refused one after another and none brings a block. */
  onRejected(nowMs) {
    const { device } = this;
    if (!this.awaitsAnswer || this.againMs !== Infinity) return; // this answer is counted already
    if (device.rejected === "signature") return; // it is not the cloud's answer, which is still to come
    if (device.held > this.refusedHeld) this.refusals = 0;
    this.refusals += 1;
    this.refusedHeld = device.held;
    if (this.refusals < MANY_REFUSALS) {
      this.plan(nowMs);
      return;
    }
    if (device.model && CONTRADICTIONS.includes(device.rejected)) {
      device.forget(); // a block that is held must be wrong, not every answer
      this.refusedHeld = 0;
    }
    const waitMs = Math.min(LEAST_WAIT_MS * 2 ** (this.refusals - MANY_REFUSALS), LONGEST_WAIT_MS);
    this.againMs = nowMs + Math.max(waitMs * (0.5 + 0.5 * this.options.draw()), LEAST_WAIT_MS);
  }

  /** Plan the next report after one without a complete answer within the first wait. */
  onSilence(nowMs) {
    this.silenceMs = Infinity;
    if (this.againMs !== Infinity) return; // the device waits on purpose
    const { retryMs, retryJitter, draw } = this.options;
    this.silent += 1;
    const wait = Math.min(retryMs * 2 ** (this.silent - 1), LONGEST_SILENCE * retryMs);
    this.resendMs = nowMs + wait * (1 + retryJitter * draw()) - retryMs;
  }

  /** Return the report that is due, which must be sent; null if none is. */
  poll(nowMs) {
    if (this.nextMs > nowMs) return null;
    if (Math.min(this.dueMs, this.againMs, this.modelMs, this.resendMs) > nowMs) {
      this.onSilence(nowMs);
      if (this.resendMs > nowMs) return null;
    }
    this.cancel();
    this.awaitsAnswer = true;
    this.lastMs = nowMs;
    this.reportedModel = this.device.wanted;
    this.silenceMs = nowMs + this.options.retryMs;
    return this.device.report();
  }
}
