import { once } from "node:events";
import { connect as connectHttp } from "node:http2";
import { connect } from "node:net";

/** A client that takes an answer in and does not look at it, so that what is measured is the daemon and not us. */
export interface RawClient extends Disposable {
  /** Makes a call with an empty request to its end; returns the bytes of the answer. */
  call(path: string): Promise<number>;
}

/** What gRPC puts before a message (gRPC over HTTP/2, "Length-Prefixed-Message"): not compressed, no bytes. */
const emptyRequest = Buffer.alloc(5);
/** As much as a client in Go comes to take at once; the 64 KiB of the protocol would measure trips between the two. */
const windowBytes = 16 * 1024 * 1024;

export async function openRawClient(socket: string): Promise<RawClient> {
  const session = connectHttp("http://localhost", {
    createConnection: () => connect(socket),
    settings: { initialWindowSize: windowBytes },
  });
  await once(session, "connect");
  session.setLocalWindowSize(windowBytes);
  return {
    async call(path) {
      const stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
      });
      let bytes = 0;
      let status: unknown;
      stream.on("data", (chunk: Buffer) => {
        bytes += chunk.byteLength;
      });
      stream.on("trailers", headers => {
        status = headers["grpc-status"];
      });
      stream.end(emptyRequest);
      await once(stream, "end");
      if (status !== undefined && Number(status) !== 0)
        throw new Error(`${path} failed with status ${status}`);
      return bytes;
    },
    [Symbol.dispose]: () => session.destroy(),
  };
}
