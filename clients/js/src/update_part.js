// Update parts: safetensors files with a checksum (docs/protocol.md, "An update").

const DTYPES = { U8: Uint8Array, U16: Uint16Array, U32: Uint32Array, F32: Float32Array };
const TENSORS = {
  user_vector: "F32",
  layer_blocks: "U32",
  layer_bytes: "U32",
  scales: "F32",
  ids: "U16",
  sizes: "U16",
  data: "U8",
};
const CHECKSUM_AT = 26; // in the header
const START = /^\{"__metadata__":\{"crc32":"[^]{8}","seq":"([0-9]{1,16})"/;
const SIGNATURE_FIELD = ',"signature":"';
const MOST_HEADER_BYTES = 4096;
const MOST_PART_BYTES = 64 * 2 ** 20;
const NUMBER_FIELDS = ["seq", "group", "first", "target", "part", "parts"];

/** A part that must be refused. */
export class PartError extends Error {
  /**
   * @param {string} reason - the counted reason, such as "checksum"
   * @param {string} detail - the exact problem, for a log
   */
  constructor(reason, detail) {
    super(`${reason}: ${detail}`);
    this.reason = reason;
  }
}

const CRC_TABLE = new Uint32Array(256).map((_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/**
 * Return the CRC-32 of bytes.
 * @param {Uint8Array} bytes
 * @param {number} before - the CRC-32 of the bytes in front of them
 */
export function crc32(bytes, before = 0) {
  let value = ~before;
  for (let at = 0; at < bytes.length; at++) value = CRC_TABLE[(value ^ bytes[at]) & 255] ^ (value >>> 8);
  return ~value >>> 0;
}

/**
 * Read an update part.
 * @param {Uint8Array} payload
 * @returns {{seq: number, model: string, group: number, first: number, target: number, part: number,
 *   parts: number, tensors: Object}} its fields, and its tensors by name
 * @throws {PartError} it is damaged
 */
export function readPart(payload) {
  const { header, data } = split(payload);
  checkChecksum(header, data);
  const { __metadata__: metadata, ...described } = parseHeader(header);
  return { ...readFields(metadata), tensors: readTensors(described, data) };
}

function split(payload) {
  if (payload.length > MOST_PART_BYTES) throw new PartError("too_large", `${payload.length} bytes`);
  if (payload.length < 8) throw new PartError("malformed", `${payload.length} bytes are no update part`);
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  payload = new Uint8Array(payload.buffer, payload.byteOffset, payload.length); // Node's Buffer slices otherwise
  const headerBytes = view.getUint32(0, true) + 2 ** 32 * view.getUint32(4, true);
  const start = 8 + headerBytes;
  if (headerBytes > MOST_HEADER_BYTES || headerBytes % 8 || start > payload.length) {
    throw new PartError("malformed", `a header of ${headerBytes} bytes`);
  }
  return { header: payload.subarray(8, start), data: payload.subarray(start) };
}

/**
 * Return the number of the report that a part answers, null where it cannot be read; nothing is verified.
 * @param {Uint8Array} payload
 */
export function peekSeq(payload) {
  const found = START.exec(new TextDecoder("latin1").decode(payload.subarray(8, 80)));
  return found === null ? null : Number(found[1]);
}

/**
 * Return the signature of a part, the bytes of its header that a signature covers, and its data section; null
 * where it is no part. Nothing is verified.
 * @param {Uint8Array} payload
 * @returns {{signature: string, zeroed: Uint8Array, data: Uint8Array}|null}
 */
export function takeApart(payload) {
  try {
    const { header, data } = split(payload);
    const text = new TextDecoder("latin1").decode(header);
    const found = START.exec(text);
    const begins = found !== null && text.startsWith(SIGNATURE_FIELD, found[0].length);
    if (!begins) return null;
    const at = found[0].length + SIGNATURE_FIELD.length;
    const end = text.indexOf('"', at);
    const zeroed = header.slice();
    zeroed.fill(48, CHECKSUM_AT, CHECKSUM_AT + 8).fill(48, at, end);
    return { signature: text.slice(at, end), zeroed, data };
  } catch (error) {
    if (!(error instanceof PartError)) throw error;
    return null;
  }
}

function checkChecksum(header, data) {
  const text = new TextDecoder("latin1").decode(header);
  if (!START.test(text)) throw new PartError("malformed", "no header of an update part");
  const digits = text.slice(CHECKSUM_AT, CHECKSUM_AT + 8);
  const zeroed = header.slice();
  zeroed.fill(48, CHECKSUM_AT, CHECKSUM_AT + 8);
  const checksum = crc32(zeroed, crc32(data)).toString(16).padStart(8, "0");
  if (checksum !== digits) throw new PartError("checksum", `${checksum} is not ${digits}`);
}

function parseHeader(header) {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(header));
  } catch (error) {
    throw new PartError("malformed", `header: ${error.message}`);
  }
}

function readFields(metadata) {
  if (typeof metadata !== "object" || metadata === null) throw new PartError("malformed", "no __metadata__");
  const fields = { model: metadata.model };
  if (typeof fields.model !== "string") throw new PartError("malformed", "no model");
  for (const name of NUMBER_FIELDS) {
    const text = metadata[name];
    if (typeof text !== "string" || !/^[0-9]{1,16}$/.test(text)) {
      throw new PartError("malformed", `${name} is no number`);
    }
    fields[name] = Number(text);
  }
  if (fields.part < 1 || fields.part > fields.parts) {
    throw new PartError("malformed", `part ${fields.part} of ${fields.parts}`);
  }
  return fields;
}

function readTensors(described, data) {
  const tensors = {};
  let position = 0;
  for (const [name, tensor] of Object.entries(described)) {
    if (TENSORS[name] === undefined || tensor?.dtype !== TENSORS[name]) {
      throw new PartError("malformed", `tensor ${name} of type ${tensor?.dtype}`);
    }
    const type = DTYPES[tensor.dtype];
    const [begin, end] = tensor.data_offsets ?? [];
    const count = tensor.shape?.[0];
    if (begin !== position || !(end <= data.length) || end - begin !== count * type.BYTES_PER_ELEMENT) {
      throw new PartError("malformed", `tensor ${name} from ${begin} to ${end}`);
    }
    tensors[name] = new type(data.slice(begin, end).buffer); // little-endian, as all that browsers run on
    position = end;
  }
  if (position !== data.length) throw new PartError("malformed", "the data section has a gap");
  return tensors;
}
