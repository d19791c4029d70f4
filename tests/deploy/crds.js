// Checks objects of the Prometheus Operator, a JSON list on stdin: node crds.js FOLDER-WITH-NODE_MODULES
// The package's validators know types, required fields and patterns; its TypeScript types also reject fields that do not
// exist. Prints a line for each fault.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const home = join(process.argv[2], "crds.ts");
const require = createRequire(pathToFileURL(home));
const ts = require("typescript");
const models = "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";
const objects = JSON.parse(readFileSync(0, "utf8"));
let program = "";

for (const [index, object] of objects.entries()) {
  const resolved = join(process.argv[2], "node_modules", models, `${object.kind}.js`);
  const { [object.kind]: Model } = await import(pathToFileURL(resolved));
  try {
    new Model(object).validate();
  } catch (error) {
    console.log(`${object.kind} ${object.metadata?.name}: ${error.message}`);
  }
  program += `import type { I${object.kind} as Kind${index} } from "${models}/${object.kind}";\n`;
  program += `export const object${index}: Kind${index} = ${JSON.stringify(object)};\n`;
}

const options = { noEmit: true, strict: true, skipLibCheck: true, types: [], module: ts.ModuleKind.NodeNext,
                  moduleResolution: ts.ModuleResolutionKind.NodeNext, target: ts.ScriptTarget.ESNext };
const host = ts.createCompilerHost(options);
const { getSourceFile, fileExists, readFile } = host;
host.getSourceFile = (name, ...rest) =>
  name === home ? ts.createSourceFile(name, program, ts.ScriptTarget.ESNext) : getSourceFile(name, ...rest);
host.fileExists = (name) => name === home || fileExists(name);
host.readFile = (name) => (name === home ? program : readFile(name));
for (const fault of ts.getPreEmitDiagnostics(ts.createProgram([home], options, host))) {
  console.log(ts.flattenDiagnosticMessageText(fault.messageText, " "));
}
