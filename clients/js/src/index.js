// The library without its connection: everything here is pure, bytes go in and bytes come out.
export { Catalogue } from "./catalogue.js";
export { BlockTable } from "./block_table.js";
export { Device, Receipt } from "./device.js";
export { Geometry } from "./geometry.js";
export { readCloudStatus, readError, readNotice } from "./notice.js";
export { PartError, readPart } from "./update_part.js";
export { groupOf, readRollout } from "./rollout.js";
export { ReportScheduler } from "./report_scheduler.js";
export { isSignedJson, isSignedPart, readPublicKeys } from "./signatures.js";
