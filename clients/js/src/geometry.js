// The geometry of a model's item table: how it is cut into blocks (docs/protocol.md, "Blocks").

const NUMBERS = { fp32: 4, fp16: 2, int8: 1 };
export const CODECS = ["fp32", "fp16", "int8", "int4", "planes", "coded"];
const FIELDS = ["items", "dim", "item_groups", "slice_width", "codec", "planes", "score", "unheld", "order", "item_group_ends"];
const MOST_BLOCKS = 2 ** 16;

/** The shape of an item table and of its blocks. */
export class Geometry {
  /** @param {Object} notice - `geometry` of a model notice */
  constructor(notice) {
    const unknown = Object.keys(notice).find((field) => !FIELDS.includes(field));
    if (unknown !== undefined) throw new RangeError(`geometry has ${unknown}, which is not known here`);
    this.items = notice.items;
    this.dim = notice.dim;
    this.itemGroups = notice.item_groups;
    this.sliceWidth = notice.slice_width;
    this.codec = notice.codec;
    this.planes = notice.planes ?? 1;
    this.score = notice.score ?? "aligned";
    this.unheld = notice.unheld ?? "last";
    this.order = notice.order ?? "catalogue";
    this.itemGroupEnds = notice.item_group_ends;
    this.slices = Math.ceil(this.dim / this.sliceWidth);
    this.blocks = this.itemGroups * this.slices * this.planes;
    if (!CODECS.includes(this.codec)) throw new RangeError(`codec ${this.codec} is not known here`);
    if (!["aligned", "tiled"].includes(this.score)) throw new RangeError(`score ${this.score} is not known here`);
    if (!["last", "zero"].includes(this.unheld)) throw new RangeError(`unheld ${this.unheld} is not known here`);
    if (!["catalogue", "own"].includes(this.order)) throw new RangeError(`order ${this.order} is not known here`);
    if (this.order === "own" && !(this.embedded && this.unheld === "zero")) {
      throw new RangeError("order own needs unheld zero and blocks with sizes");
    }
    if (!(this.items >= 1 && this.items <= 2 ** 28 && this.dim >= 1 && this.dim <= 2 ** 16)) {
      throw new RangeError(`a table of ${this.items} x ${this.dim} is too large`);
    }
    if (!(this.itemGroups >= 1 && this.itemGroups <= this.items && this.blocks <= MOST_BLOCKS)) {
      throw new RangeError(`${this.blocks} blocks are too many`);
    }
    const ends = this.itemGroupEnds;
    if (ends !== undefined) {
      const rising = ends.every((end, m) => Number.isInteger(end) && end > (m ? ends[m - 1] : 0));
      if (ends.length !== this.itemGroups || !rising || ends.at(-1) !== this.items) {
        throw new RangeError("item_group_ends must rise item group by item group to the number of items");
      }
    }
  }

  /** True if a block adds precision planes to a cell. */
  get embedded() {
    return this.codec === "planes" || this.codec === "coded";
  }

  /** Bytes that a device stores for a block beside its bytes in `data`: its id, and its scale or size. */
  get overhead() {
    return { fp32: 2, fp16: 2, int8: 6, int4: 6, planes: 4, coded: 4 }[this.codec];
  }

  /** Return the cell of a block: item group, slice, plane, and its rows and columns. */
  cell(block) {
    const number = Math.floor(block / this.planes);
    const itemGroup = Math.floor(number / this.slices);
    const slice = number % this.slices;
    const rows = this.rows(itemGroup);
    const firstColumn = slice * this.sliceWidth;
    const endColumn = Math.min(firstColumn + this.sliceWidth, this.dim);
    return { number, itemGroup, slice, plane: block % this.planes, ...rows, firstColumn, endColumn };
  }

  /** Return the places of an item group's items in the order: from `firstRow` up to, without, `endRow`. */
  rows(itemGroup) {
    const ends = this.itemGroupEnds;
    if (ends !== undefined) return { firstRow: itemGroup ? ends[itemGroup - 1] : 0, endRow: ends[itemGroup] };
    return {
      firstRow: Math.floor((itemGroup * this.items) / this.itemGroups),
      endRow: Math.floor(((itemGroup + 1) * this.items) / this.itemGroups),
    };
  }

  /** Return the bytes in `data` of a block whose codec has no sizes of its own. */
  dataBytes(block) {
    const { firstRow, endRow, firstColumn, endColumn } = this.cell(block);
    const count = (endRow - firstRow) * (endColumn - firstColumn);
    return this.codec === "int4" ? Math.ceil(count / 2) : NUMBERS[this.codec] * count;
  }
}
