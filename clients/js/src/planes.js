// Precision planes: the codecs `planes` and `coded` (docs/protocol.md, "Blocks").

import { BitReader, RangeDecoder } from "./range_decoder.js";

const SIGNIFICANT = Array.from({ length: 16 }, (_, code) => roundEven((4096 * 0.6) / 1.5 ** code));
const BOUNDS = Array.from({ length: 15 }, (_, code) => roundEven((4096 * 0.6) / 1.5 ** (code + 0.5)));
const REFINED = [0, 1536, 1728, 1728, 1920];
const ACTIVE = [1024, 3968];
const SIGN = 2048;
const EVEN_CODES = new Array(16).fill(256);

function roundEven(number) {
  const floor = Math.floor(number);
  const rest = number - floor;
  if (rest !== 0.5) return Math.round(number);
  return floor % 2 ? floor + 1 : floor;
}

/** The numbers of a cell as its planes bring them: q and signs, row by row. */
export class PlaneCell {
  /**
   * @param {number} rows
   * @param {number} columns
   */
  constructor(rows, columns) {
    this.rows = rows;
    this.columns = columns;
    this.planes = 0;
    this.q = new Uint16Array(rows * columns);
    this.negative = new Uint8Array(rows * columns);
  }

  /**
   * Bring the cell to a number of planes.
   * @param {Uint8Array} data - the bytes of a block
   * @param {number} planes - above the number that is there
   * @param {boolean} coded - codec `coded`, else `planes`
   */
  bring(data, planes, coded) {
    const reader = coded ? new RangeDecoder(data) : new BitReader(data);
    for (; this.planes < planes; this.planes++) {
      if (coded) this.bringCodedPlane(reader);
      else this.bringPlainPlane(reader);
    }
  }

  bringPlainPlane(reader) {
    const { q, negative } = this;
    const fresh = [];
    for (let at = 0; at < q.length; at++) {
      const before = q[at];
      q[at] = 2 * before + reader.bit();
      if (before === 0 && q[at] === 1) fresh.push(at);
    }
    for (const at of fresh) negative[at] = reader.bit();
  }

  bringCodedPlane(reader) {
    const { q, negative, rows, columns } = this;
    const known = new Int32Array(columns);
    for (let at = 0; at < q.length; at++) if (q[at] > 0) known[at % columns]++;
    const active = new Uint8Array(columns);
    for (let column = 0; column < columns; column++) {
      if (known[column] < rows) active[column] = reader.bit(ACTIVE[known[column] ? 1 : 0]);
    }
    const chances = new Int32Array(columns);
    for (let column = 0; column < columns; column++) {
      if (active[column]) chances[column] = SIGNIFICANT[reader.symbol(codeChances(known[column], rows))];
    }
    const fresh = [];
    for (let at = 0; at < q.length; at++) {
      const before = q[at];
      if (before > 0) q[at] = 2 * before + reader.bit(REFINED[Math.min(before, 4)]);
      else if (active[at % columns] && reader.bit(chances[at % columns])) {
        q[at] = 1;
        fresh.push(at);
      }
    }
    for (const at of fresh) negative[at] = reader.bit(SIGN);
  }

  /** Return number *at* of the cell, row by row. */
  value(at) {
    const q = this.q[at];
    if (q === 0) return 0;
    const size = (q + (q === 1 ? 0.4 : 0.45)) / 2 ** this.planes;
    return this.negative[at] ? -size : size;
  }
}

function codeChances(known, rows) {
  if (!known) return EVEN_CODES;
  const root = Math.sqrt(known / rows);
  const chance = (4096 * root) / (1 + root);
  const foreseen = BOUNDS.filter((bound) => chance < bound).length;
  const chances = new Array(16).fill(16);
  let sum = 16 * 16;
  const set = (code, value) => {
    if (code < 0 || code > 15) return;
    sum += value - chances[code];
    chances[code] = value;
  };
  set(foreseen - 1, 1440);
  set(foreseen + 1, 320);
  set(foreseen - 2, 128);
  set(foreseen + 2, 96);
  chances[foreseen] += 4096 - sum;
  return chances;
}
