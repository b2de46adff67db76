// Copies the player library from node_modules into dist/, which the crate embeds.
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";

const from = new URL("./node_modules/hls.js/", import.meta.url);
const to = new URL("./dist/", import.meta.url);
mkdirSync(to, { recursive: true });

const strip = (text) => text.replace(/\n?\/\/# sourceMappingURL=.*\s*$/, "\n");
for (const name of ["hls.light.min.js", "hls.worker.js"]) {
  const text = readFileSync(new URL(`dist/${name}`, from), "utf8");
  writeFileSync(new URL(name, to), strip(text));
}
copyFileSync(new URL("LICENSE", from), new URL("hls.js.LICENSE.txt", to));
