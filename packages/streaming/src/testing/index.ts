export { connectSpdy, type SpdyClient, type SpdyClientStream } from "./spdy-client.ts";
