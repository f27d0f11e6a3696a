// The item table that blocks decode to, and the ranking of its items.

import { ItemGroups } from "./item_lists.js";
import { PlaneCell } from "./planes.js";

/** The decoded blocks of a PEE. */
export class BlockTable {
  /** @param {import("./geometry.js").Geometry} geometry */
  constructor(geometry) {
    this.geometry = geometry;
    this.clear();
  }

  /** Forget all blocks. */
  clear() {
    const { items, dim, itemGroups, slices } = this.geometry;
    /** Blocks held: the first ones of the ranking. */
    this.held = 0;
    /** The numbers of the items, row by row; 0 where no block is held. */
    this.values = new Float32Array(items * dim);
    /** For each cell (item group, slice): the number of its planes held. */
    this.planes = new Uint8Array(itemGroups * slices);
    this.cells = new Map();
    this.groups = new ItemGroups(this.geometry);
  }

  /**
   * Add the next block of the ranking.
   * @param {number} block - its id
   * @param {Uint8Array} data - its bytes
   * @param {number} scale - 1 where the codec has none
   */
  add(block, data, scale = 1) {
    const { geometry, values } = this;
    const { number, itemGroup, plane, firstRow, endRow, firstColumn, endColumn } = geometry.cell(block);
    const columns = endColumn - firstColumn;
    const rest = this.groups.read(itemGroup, data);
    const items = this.groups.items.get(itemGroup);
    const read = geometry.embedded
      ? this.bringPlanes(number, endRow - firstRow, columns, rest, plane)
      : numbers(geometry.codec, rest, scale);
    for (let row = 0, at = 0; row < items.length; row++) {
      const start = items[row] * geometry.dim + firstColumn;
      for (let column = 0; column < columns; column++, at++) values[start + column] = read(at);
    }
    this.planes[number] = plane + 1;
    this.held += 1;
  }

  bringPlanes(number, rows, columns, data, plane) {
    let cell = this.cells.get(number);
    if (cell === undefined) {
      cell = new PlaneCell(rows, columns);
      this.cells.set(number, cell);
    }
    cell.bring(data, plane + 1, this.geometry.codec === "coded");
    return (at) => cell.value(at);
  }

  /**
   * Return the score of every item as single-precision numbers; an item without a block has -Infinity, or 0
   * where the notice says so and any block is held.
   * @param {ArrayLike<number>} user - the user's vector
   */
  scores(user) {
    const { items, itemGroups, slices, unheld } = this.geometry;
    const without = unheld === "zero" && this.held ? 0 : -Infinity;
    const scores = new Float32Array(items).fill(without);
    for (let group = 0; group < itemGroups; group++) {
      const held = [];
      for (let slice = 0; slice < slices; slice++) {
        if (this.planes[group * slices + slice]) held.push(slice);
      }
      if (!held.length) continue;
      for (const item of this.groups.items.get(group)) scores[item] = this.score(user, item, held.length);
    }
    return scores;
  }

  score(user, item, slicesHeld) {
    const { dim, sliceWidth, slices, score } = this.geometry;
    const start = item * dim;
    let sum = 0;
    if (score === "aligned") {
      for (let column = 0; column < dim; column++) sum += user[column] * this.values[start + column];
      return sum;
    }
    for (let column = 0; column < sliceWidth; column++) {
      let left = 0;
      let right = 0;
      for (let at = column; at < dim; at += sliceWidth) {
        left += user[at];
        right += this.values[start + at];
      }
      sum += left * right;
    }
    return (sum * slices) / slicesHeld;
  }

  /**
   * Return the best items: of equal scores the lower item number comes first.
   * @param {ArrayLike<number>} user - the user's vector
   * @param {number} count - at most so many
   * @param {Set<number>} known - items that are left out
   * @returns {{item: number, score: number}[]}
   */
  rank(user, count = this.geometry.items, known = new Set()) {
    const scores = this.scores(user);
    const items = [];
    for (let item = 0; item < scores.length; item++) {
      if (scores[item] !== -Infinity && !known.has(item)) items.push(item);
    }
    items.sort((one, other) => scores[other] - scores[one] || one - other);
    return items.slice(0, count).map((item) => ({ item, score: scores[item] }));
  }
}

function numbers(codec, data, scale) {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  switch (codec) {
    case "fp32":
      return (at) => view.getFloat32(4 * at, true);
    case "fp16":
      return (at) => half(view.getUint16(2 * at, true));
    case "int8":
      return (at) => scale * view.getInt8(at);
    default: // int4
      return (at) => scale * (((at & 1 ? data[at >> 1] >> 4 : data[at >> 1]) & 15) - 8);
  }
}

function half(bits) {
  const sign = bits >> 15 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
