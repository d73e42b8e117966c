import { Event } from "./gen/nri_pb.js";

/** The calls of the protocol that stand for events, in camelCase. */
export type EventMethod =
  | "runPodSandbox"
  | "stopPodSandbox"
  | "removePodSandbox"
  | "createContainer"
  | "postCreateContainer"
  | "startContainer"
  | "postStartContainer"
  | "updateContainer"
  | "postUpdateContainer"
  | "stopContainer"
  | "removeContainer"
  | "updatePodSandbox"
  | "postUpdatePodSandbox"
  | "validateContainerAdjustment";

interface EventKind {
  readonly event: Event;
  /** Whether a plugin that does not have the call is told by StateChange instead. */
  readonly stateChange: boolean;
}

export const eventMethods: Readonly<Record<EventMethod, EventKind>> = {
  runPodSandbox: { event: Event.RUN_POD_SANDBOX, stateChange: true },
  stopPodSandbox: { event: Event.STOP_POD_SANDBOX, stateChange: true },
  removePodSandbox: { event: Event.REMOVE_POD_SANDBOX, stateChange: true },
  createContainer: { event: Event.CREATE_CONTAINER, stateChange: false },
  postCreateContainer: { event: Event.POST_CREATE_CONTAINER, stateChange: true },
  startContainer: { event: Event.START_CONTAINER, stateChange: true },
  postStartContainer: { event: Event.POST_START_CONTAINER, stateChange: true },
  updateContainer: { event: Event.UPDATE_CONTAINER, stateChange: false },
  postUpdateContainer: { event: Event.POST_UPDATE_CONTAINER, stateChange: true },
  stopContainer: { event: Event.STOP_CONTAINER, stateChange: false },
  removeContainer: { event: Event.REMOVE_CONTAINER, stateChange: true },
  updatePodSandbox: { event: Event.UPDATE_POD_SANDBOX, stateChange: false },
  postUpdatePodSandbox: { event: Event.POST_UPDATE_POD_SANDBOX, stateChange: true },
  validateContainerAdjustment: { event: Event.VALIDATE_CONTAINER_ADJUSTMENT, stateChange: false },
};

/** All events, one bit each. */
export const everyEvent: number = 2 ** (Event.LAST - 1) - 1;

export function subscribes(mask: number, method: EventMethod): boolean {
  return (mask & (1 << (eventMethods[method].event - 1))) !== 0;
}
