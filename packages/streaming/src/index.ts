export { OneTimeTokens, type TokenOptions } from "./one-time-tokens.ts";
export type { SessionStreams, StreamingBackend } from "./streaming-backend.ts";
