// The catalogue of a model version: names and titles of its items (docs/protocol.md, "Names of items and users").

const FORMAT = "peelfleet-catalogue-1";

/** The names of the items of one model version. */
export class Catalogue {
  /**
   * @param {string} text - the content of a catalogue file: JSON lines
   * @throws {Error} it is none
   */
  constructor(text) {
    const [first, ...lines] = text.split("\n").filter((line) => line !== "");
    const heading = JSON.parse(first ?? "{}");
    if (heading.format !== FORMAT) throw new Error(`format ${heading.format} is not ${FORMAT}`);
    if (lines.length !== heading.items) throw new Error(`${lines.length} items, the heading says ${heading.items}`);
    this.model = heading.model;
    this.lines = lines; // parsed when an item is shown: few ever are
  }

  /**
   * Return a ranking with the ids and titles of its items; as it is, where the device holds another version.
   * @param {import("./device.js").Device} device
   * @param {{item: number, score: number}[]} ranking - as `recommend` of the device returns it
   */
  name(device, ranking) {
    if (device.model !== this.model) return ranking;
    return ranking.map((each) => ({ ...each, ...JSON.parse(this.lines[each.item]) }));
  }
}
