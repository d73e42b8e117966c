import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { apiReports } from "./api-reports.ts";
import { repository } from "./doors.ts";

// Writes `api.md` of each package, or with `--check` says which are not as the sources are.
const changed = [...apiReports()].filter(([path, text]) => {
  const file = join(repository, path);
  return !existsSync(file) || readFileSync(file, "utf8") !== text;
});
if (!process.argv.includes("--check"))
  for (const [path, text] of changed) writeFileSync(join(repository, path), text);
else if (changed.length > 0) {
  const paths = changed.map(([path]) => path).join(", ");
  console.error(
    `the public interface is not what ${paths} says: run \`npm run api\` and commit what it changes`,
  );
  process.exit(1);
}
