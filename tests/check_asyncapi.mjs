// Validates an AsyncAPI document with AsyncAPI's own parser; fails on errors and warnings, and says the rest, too.
//
//   node tests/check_asyncapi.mjs FOLDER_OF_NODE_MODULES FILE
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const { Parser } = createRequire(resolve(folder, "package.json"))("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"), { source: file });
const severities = ["error", "warning", "information", "hint"];
for (const { severity, code, message, path, range } of diagnostics) {
  console.error(`${file}:${range.start.line + 1}: ${severities[severity]} ${code}: ${message} (${path.join(".")})`);
}
const wrong = diagnostics.filter(({ severity }) => severity <= 1).length;
if (document === undefined || wrong > 0) {
  process.exit(1);
}
console.log(`${file}: AsyncAPI ${document.version()}, ${document.channels().length} channels, no error, no warning`);
