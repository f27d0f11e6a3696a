// Lists of items: which items an item group has, where each user group has an order of its own
// (docs/protocol.md, "Lists of items").

/** The items of each item group, as far as lists have come. */
export class ItemGroups {
  /** @param {import("./geometry.js").Geometry} geometry */
  constructor(geometry) {
    this.geometry = geometry;
    /** By item group: its items, ascending. */
    this.items = new Map();
    this.left = null;
    if (geometry.order === "own") {
      this.left = Array.from({ length: geometry.items }, (_, item) => item);
      return;
    }
    for (let group = 0; group < geometry.itemGroups; group++) {
      const { firstRow, endRow } = geometry.rows(group);
      this.items.set(group, Array.from({ length: endRow - firstRow }, (_, at) => firstRow + at));
    }
  }

  /**
   * Read the list at the start of a block's data if its item group is not known yet.
   * @param {number} group - the item group of the next block of the ranking
   * @param {Uint8Array} data - of the block
   * @returns {Uint8Array} the data behind the list
   */
  read(group, data) {
    if (this.items.has(group)) return data;
    const { firstRow, endRow } = this.geometry.rows(group);
    const { places, bytes } = decodeList(data, endRow - firstRow, this.left.length);
    this.items.set(group, places.map((place) => this.left[place]));
    const taken = new Set(places);
    this.left = this.left.filter((_, place) => !taken.has(place));
    return data.subarray(bytes);
  }
}

/** Return the places, ascending, of a list of `size` among `left` items, and the number of its bytes. */
function decodeList(data, size, left) {
  if (size === left) return { places: Array.from({ length: size }, (_, place) => place), bytes: 0 };
  const places = [];
  let at = 0;
  const bit = () => {
    if (at >= 8 * data.length) throw new RangeError(`${data.length} bytes have no list of ${size} items`);
    const found = (data[at >> 3] >> (7 - (at & 7))) & 1;
    at += 1;
    return found;
  };
  let total = 4;
  let count = 1;
  let before = -1;
  while (places.length < size) {
    let k = 0;
    while (count * 2 ** k < total) k += 1;
    let gap = 0;
    while (bit()) gap += 1;
    for (let low = 0; low < k; low++) gap = 2 * gap + bit();
    before += 1 + gap;
    if (before >= left) throw new RangeError(`${data.length} bytes have no list of ${size} items`);
    places.push(before);
    total += gap;
    count += 1;
    if (count === 16) {
      total = Math.floor(total / 2);
      count = 8;
    }
  }
  return { places, bytes: Math.ceil(at / 8) };
}
