// The blocks that a device holds: the first ones of its group's ranking, as bytes.

import { BlockTable } from "./block_table.js";
import { PartError } from "./update_part.js";

/** The first blocks of one ranking. */
export class BlockPrefix {
  /**
   * @param {import("./geometry.js").Geometry} geometry
   * @param {number[]} layerBlocks - blocks of each layer, layer 0 (nothing) included
   * @param {number[]} layerBytes - stored bytes of each layer
   */
  constructor(geometry, layerBlocks, layerBytes) {
    this.geometry = geometry;
    this.layerBlocks = layerBlocks;
    this.layerBytes = layerBytes;
    /** Blocks in ranking order: {id, data, scale}. */
    this.blocks = [];
    /** Stored bytes of the first n blocks. */
    this.resident = [0];
    this.planes = new Map();
    this.table = new BlockTable(geometry);
  }

  /** Return the highest layer that fits into a number of bytes. */
  bestLayer(budgetBytes) {
    return lastAtMost(this.layerBytes, budgetBytes);
  }

  /** Return the highest layer that is complete with a number of blocks. */
  completeLayer(blocks) {
    return lastAtMost(this.layerBlocks, blocks);
  }

  /** Return the highest layer that fits and of which no block is missing. */
  fittingLayer(budgetBytes, held) {
    for (let layer = this.bestLayer(budgetBytes); layer > 0; layer--) {
      const blocks = this.layerBlocks[layer];
      if (blocks <= held && this.resident[blocks] <= budgetBytes) return layer;
    }
    return 0;
  }

  /**
   * Return the blocks of a part that are new; nothing is changed.
   * @throws {PartError} they skip blocks, contradict those held, or are no blocks of this geometry
   */
  check(part, held) {
    const blocks = readBlocks(this.geometry, part.tensors);
    if (part.first > held) throw new PartError("out_of_range", `block ${part.first} on ${held} held`);
    const brought = new Map();
    blocks.forEach((block, index) => {
      const place = part.first + index;
      if (place < held) {
        if (!equalBlocks(block, this.blocks[place])) {
          throw new PartError("content", `block ${place} differs from the one held`);
        }
        return;
      }
      const { number, plane } = this.geometry.cell(block.id);
      if ((brought.get(number) ?? this.planes.get(number) ?? -1) >= plane) {
        throw new PartError("content", `block ${block.id}: its cell has plane ${plane} already`);
      }
      brought.set(number, plane);
    });
    return blocks.slice(Math.max(held - part.first, 0));
  }

  /** Return the stored bytes of the first *count* blocks, if *blocks* are appended. */
  bytesOf(count, blocks) {
    let bytes = this.resident[Math.min(count, this.blocks.length)];
    for (const block of blocks.slice(0, Math.max(count - this.blocks.length, 0))) {
      bytes += block.data.length + this.geometry.overhead;
    }
    return bytes;
  }

  /** Append what `check` has returned. */
  append(blocks) {
    for (const block of blocks) {
      const { number, plane } = this.geometry.cell(block.id);
      this.planes.set(number, plane);
      this.blocks.push(block);
      this.resident.push(this.resident.at(-1) + block.data.length + this.geometry.overhead);
    }
  }

  /** Drop the blocks beyond the first *count*. */
  truncate(count) {
    if (count >= this.blocks.length) return;
    this.blocks.length = count;
    this.resident.length = count + 1;
    this.planes = new Map(
      this.blocks.map(({ id }) => [this.geometry.cell(id).number, this.geometry.cell(id).plane]),
    );
  }

  /** Return the table with the blocks of the complete layers; only new blocks are decoded. */
  decoded(layer) {
    const blocks = this.layerBlocks[layer];
    if (blocks < this.table.held) this.table.clear();
    while (this.table.held < blocks) {
      const { id, data, scale } = this.blocks[this.table.held];
      this.table.add(id, data, scale);
    }
    return this.table;
  }
}

function readBlocks(geometry, { ids = [], sizes, scales, data = new Uint8Array(0) }) {
  const count = ids.length;
  if ((geometry.embedded ? (sizes?.length ?? 0) : count) !== count) {
    throw new PartError("malformed", `${count} ids and ${sizes?.length} sizes`);
  }
  const scaled = geometry.codec === "int8" || geometry.codec === "int4";
  if ((scales?.length ?? 0) !== (scaled ? count : 0)) throw new PartError("malformed", "the scales do not fit");
  let position = 0;
  const blocks = Array.from(ids, (id, index) => {
    if (id >= geometry.blocks) throw new PartError("out_of_range", `block ${id} of ${geometry.blocks}`);
    const size = geometry.embedded ? sizes[index] : geometry.dataBytes(id);
    position += size;
    return { id, scale: scaled ? scales[index] : 1, data: data.subarray(position - size, position) };
  });
  if (position !== data.length) throw new PartError("malformed", `${data.length} bytes for ${count} blocks`);
  return blocks;
}

function equalBlocks(one, other) {
  if (one.id !== other.id || !Object.is(one.scale, other.scale)) return false;
  return one.data.length === other.data.length && one.data.every((byte, at) => byte === other.data[at]);
}

function lastAtMost(rising, most) {
  let found = 0;
  for (let at = 1; at < rising.length && rising[at] <= most; at++) found = at;
  return found;
}
