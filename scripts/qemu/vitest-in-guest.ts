import * as runner from "node:test";
import { format } from "node:util";

// What the tests of the lane use of vitest, run by Node's own runner. What is not here, they cannot import.
export { expect, vi } from "vitest";

/** A test that hangs ends; none takes a tenth of it on a calm machine. */
const limits = { timeout: 900_000 };

type Run = () => void | Promise<void>;
type Body = (...values: readonly unknown[]) => void | Promise<void>;

export const beforeAll = (run: Run) => runner.before(() => run(), limits);
export const afterAll = (run: Run) => runner.after(() => run(), limits);
export const beforeEach = (run: Run) => runner.beforeEach(() => run(), limits);
export const afterEach = (run: Run) => runner.afterEach(() => run(), limits);

export const describe = withEach((name, run) => runner.describe(name, () => run()));
export const test = withEach((name, run) => runner.test(name, limits, () => run()));

function withEach(declare: (name: string, run: Run) => unknown) {
  /** `name` has a %s for each value that it tells. */
  const each = (cases: readonly unknown[]) => (name: string, body: Body) => {
    for (const one of cases) {
      const values = Array.isArray(one) ? one : [one];
      const told = values.slice(0, name.match(/%[sjdio]/g)?.length ?? 0);
      declare(format(name, ...told), () => body(...values));
    }
  };
  return Object.assign(declare, { each });
}
