// The range decoder of the codec `coded`, and the plain bits of the codec `planes`.
//
// The range and the distance of the point from the interval's low end are 64-bit numbers, kept as two halves
// of 32 bits each: products stay below 2^53, so that numbers of JavaScript hold them exactly.

const HALF = 2 ** 32;

/** Plain bits, most significant first. */
export class BitReader {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = data;
    this.position = 0;
  }

  /** Return the next bit; its chance does not matter. */
  bit() {
    const byte = this.data[this.position >> 3];
    if (byte === undefined) throw new RangeError("the block ends too early");
    return (byte >> (7 - (this.position++ & 7))) & 1;
  }
}

/** The decoder of one block: 32-bit words, big-endian, with zeros behind them. */
export class RangeDecoder {
  /** @param {Uint8Array} data */
  constructor(data) {
    this.data = data;
    this.position = 0;
    this.rangeHigh = HALF - 1;
    this.rangeLow = HALF - 1;
    this.restHigh = this.word(); // of point - low
    this.restLow = this.word();
  }

  /** Return the next word. */
  word() {
    const { data, position } = this;
    this.position += 4;
    let word = 0;
    for (let at = position; at < position + 4; at++) word = word * 256 + (data[at] ?? 0);
    return word;
  }

  /**
   * Return the next bit.
   * @param {number} chance - of a 1, in 1/4096
   */
  bit(chance) {
    const left = Math.floor(((4096 - chance) * (2 ** 24 - 2)) / 4096) + 1;
    this.scale();
    if (this.reaches(left)) {
      this.take(left, 2 ** 24);
      return 1;
    }
    this.take(0, left);
    return 0;
  }

  /**
   * Return the next symbol.
   * @param {number[]} chances - of the symbols, in 1/4096; they add up to 4096
   */
  symbol(chances) {
    const free = 2 ** 24 - chances.length;
    this.scale();
    let found = 0;
    let left = 0;
    let sum = chances[0];
    let next = 2 ** 24;
    for (let at = 1; at < chances.length; at++) {
      next = Math.floor((sum * free) / 4096) + at;
      if (!this.reaches(next)) break;
      found = at;
      left = next;
      next = 2 ** 24;
      sum += chances[at];
    }
    this.take(left, next);
    return found;
  }

  /** Set the scale: the range in 2^24 parts. */
  scale() {
    this.scaleHigh = this.rangeHigh >>> 24;
    this.scaleLow = (((this.rangeHigh & 0xffffff) << 8) | (this.rangeLow >>> 24)) >>> 0;
  }

  /** Set the product of the scale and *count*, at most 2^24. */
  multiply(count) {
    const lower = count * (this.scaleLow & 0xffff);
    const upper = count * (this.scaleLow >>> 16);
    const low = (lower % HALF) + (upper % 0x10000) * 0x10000;
    this.productLow = low % HALF;
    this.productHigh =
      count * this.scaleHigh +
      Math.floor(lower / HALF) +
      Math.floor(upper / 0x10000) +
      Math.floor(low / HALF);
  }

  /** Tell whether the point lies at or beyond *left* parts of the range. */
  reaches(left) {
    this.multiply(left);
    if (this.productHigh !== this.restHigh) return this.productHigh < this.restHigh;
    return this.productLow <= this.restLow;
  }

  /** Narrow the interval to the parts from *left* to *right*. */
  take(left, right) {
    if (left) {
      this.multiply(left);
      let low = this.restLow - this.productLow;
      let high = this.restHigh - this.productHigh;
      if (low < 0) {
        low += HALF;
        high -= 1;
      }
      this.restLow = low;
      this.restHigh = high < 0 ? high + HALF : high;
    }
    this.multiply(right - left);
    this.rangeHigh = this.productHigh;
    this.rangeLow = this.productLow;
    if (this.rangeHigh === 0) {
      this.rangeHigh = this.rangeLow;
      this.rangeLow = 0;
      this.restHigh = this.restLow;
      this.restLow = this.word();
    }
  }
}
