// Signatures of the cloud on its messages (docs/protocol.md, "Signatures"): Ed25519, by WebCrypto, which answers
// by promises. So messages are verified first, and what comes of it is handed to the device, which is not
// asynchronous. Node 20 and current browsers have it; in a page only over https or on localhost.

import { takeApart } from "./update_part.js";

const MOST_KEYS = 8;
const DIGITS = 128;
const JSON_FIELD = ',"signature":"';
const JSON_END = '"}';
const ZERO = 48;

const latin1 = new TextDecoder("latin1");
const utf8 = new TextEncoder();

/**
 * Read public keys.
 * @param {string} pem - one key or several, one after the other
 * @returns {Promise<CryptoKey[]>}
 * @throws {Error} there is none, or too many, or one is no key of Ed25519
 */
export async function readPublicKeys(pem) {
  const blocks = [...pem.matchAll(/-----BEGIN PUBLIC KEY-----([^-]+)-----END PUBLIC KEY-----/g)];
  if (blocks.length < 1 || blocks.length > MOST_KEYS) {
    throw new Error(`1 to ${MOST_KEYS} public keys are needed, and there are ${blocks.length}`);
  }
  return Promise.all(
    blocks.map(([, base64]) => {
      const raw = Uint8Array.from(atob(base64.replace(/\s/g, "")), (each) => each.charCodeAt(0));
      return crypto.subtle.importKey("spki", raw, { name: "Ed25519" }, false, ["verify"]);
    }),
  );
}

/**
 * Tell whether a JSON message is signed for the topic on which it came.
 * @param {Uint8Array} payload
 * @param {string} topic
 * @param {CryptoKey[]} keys - one of them must fit
 * @returns {Promise<boolean>}
 */
export async function isSignedJson(payload, topic, keys) {
  const at = payload.length - JSON_END.length - DIGITS;
  const text = latin1.decode(payload);
  if (at < 0 || !text.slice(0, at).endsWith(JSON_FIELD) || !text.endsWith(JSON_END)) return false;
  const covered = payload.slice();
  covered.fill(ZERO, at, at + DIGITS);
  return verifies(text.slice(at, at + DIGITS), topic, [covered], keys);
}

/**
 * Tell whether an update part is signed for the topic on which it came.
 * @param {Uint8Array} payload
 * @param {string} topic
 * @param {CryptoKey[]} keys - one of them must fit
 * @returns {Promise<boolean>}
 */
export async function isSignedPart(payload, topic, keys) {
  const pieces = takeApart(payload);
  if (pieces === null || !pieces.signature) return false;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", pieces.data));
  return verifies(pieces.signature, topic, [pieces.zeroed, digest], keys);
}

async function verifies(digits, topic, covered, keys) {
  if (!/^[0-9a-f]{128}$/.test(digits)) return false;
  const signature = Uint8Array.from(digits.match(/../g), (pair) => parseInt(pair, 16));
  const text = joined([utf8.encode(topic), new Uint8Array(1), ...covered]);
  for (const key of keys) {
    if (await crypto.subtle.verify({ name: "Ed25519" }, key, signature, text)) return true;
  }
  return false;
}

function joined(pieces) {
  const whole = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
