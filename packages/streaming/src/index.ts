export { joinForward } from "./forward-client.ts";
export { OneTimeTokens, type TokenOptions } from "./one-time-tokens.ts";
export { joinSession, type SessionClientOptions } from "./session-client.ts";
export type {
  AttachRequest,
  ExecRequest,
  PortForwardRequest,
  SessionStreams,
  StreamingBackend,
  StreamingRequest,
  TerminalSize,
  WantedStreams,
} from "./streaming-backend.ts";
export {
  listenForStreams,
  type StreamingServer,
  type StreamingServerOptions,
} from "./streaming-server.ts";
