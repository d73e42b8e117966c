import { fromBinary } from "@bufbuild/protobuf";
import { ContainerState, ListContainersResponseSchema } from "@ocid/cri-api";
import { expect, test } from "vitest";
import { EncodedEntries } from "./encoded-entries.ts";

interface Thing {
  readonly id: string;
  state: ContainerState;
}

function entries() {
  const encoded: string[] = [];
  const all = new EncodedEntries(
    ListContainersResponseSchema,
    ({ state }: Thing) => [state],
    thing => {
      encoded.push(thing.id);
      return { containers: [{ id: thing.id, state: thing.state, labels: { of: thing.id } }] };
    },
  );
  const list = (things: readonly Thing[]) =>
    fromBinary(ListContainersResponseSchema, all.list(things).bytes).containers;
  return { encoded, list };
}

test("entries put together are the list, in order; none is an empty one", () => {
  const { list } = entries();
  const things = Array.from({ length: 300 }, (_, at) => ({ id: `c${at}`, state: at % 4 }));
  expect(list(things).map(({ id, state, labels }) => [id, state, labels["of"]])).toEqual(
    things.map(({ id, state }) => [id, state, id]),
  );
  expect(list([])).toEqual([]);
});

test("only what has changed is encoded again, and another thing with the same id", () => {
  const { encoded, list } = entries();
  const [first, second]: [Thing, Thing] = [
    { id: "a", state: ContainerState.CONTAINER_CREATED },
    { id: "b", state: ContainerState.CONTAINER_RUNNING },
  ];
  list([first, second]);
  first.state = ContainerState.CONTAINER_RUNNING;
  expect(list([first, second]).map(({ state }) => state)).toEqual([1, 1]);
  list([{ ...second, state: ContainerState.CONTAINER_EXITED }]);
  expect(encoded).toEqual(["a", "b", "a", "b"]);
});
