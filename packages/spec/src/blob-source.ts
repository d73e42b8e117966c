/** TLS material of a connection, PEM texts. */
export interface TlsOptions {
  readonly ca?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
  /** False accepts any certificate: only what the operator declared insecure. Default true. */
  readonly verify?: boolean;
}

/** A GET that answers with the blob's bytes and understands `Range`. */
export interface HttpBlobSource {
  readonly kind: "http";
  readonly url: string;
  /** Sent to the origin of `url` only; a redirect to another origin loses all but `accept` and `user-agent`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly tls?: TlsOptions;
  /** `http://[user:password@]host:port` of a forward proxy. */
  readonly proxy?: string;
  /** Called after a 401 or 403: returns fresh headers, or undefined when there is nothing else to try. */
  readonly renew?: (challenge: string | undefined) => Promise<Readonly<Record<string, string>> | undefined>;
}

/** Bytes in a local file. */
export interface FileBlobSource {
  readonly kind: "file";
  readonly path: string;
  /** First byte. Default 0. */
  readonly offset?: number;
}

/** Anything else: called with the first byte wanted, once for each attempt. */
export interface StreamBlobSource {
  readonly kind: "stream";
  readonly open: (offset: number, signal?: AbortSignal) => AsyncIterable<Uint8Array>;
}

/**
 * Where a blob's bytes come from, as a value: so that a worker thread can fetch them itself (http, file) and a layer
 * goes from the socket to the disk inside one thread.
 */
export type BlobSource = HttpBlobSource | FileBlobSource | StreamBlobSource;
