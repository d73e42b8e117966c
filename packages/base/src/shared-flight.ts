import { OcidError } from "./error.ts";

interface Flight<T> {
  readonly result: Promise<T>;
  readonly controller: AbortController;
  passengers: number;
}

/**
 * Lets callers who ask for the same thing at the same time share one piece of work. The work is cancelled only when
 * the last caller has gone, so that one impatient caller does not end it for the others.
 */
export class SharedFlight<T> {
  readonly #flights = new Map<string, Flight<T>>();

  async join(key: string, work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const flight = this.#flights.get(key) ?? this.#start(key, work);
    flight.passengers++;
    let leave: (() => void) | undefined;
    try {
      if (!signal) return await flight.result;
      const left = new Promise<never>((_, reject) => {
        leave = () => reject(signal.reason);
        signal.addEventListener("abort", leave, { once: true });
      });
      return await Promise.race([flight.result, left]);
    } finally {
      if (leave) signal?.removeEventListener("abort", leave);
      if (--flight.passengers === 0) {
        if (this.#flights.get(key) === flight) this.#flights.delete(key);
        flight.controller.abort(new OcidError("CANCELLED", `${key}: every caller has gone`));
      }
    }
  }

  #start(key: string, work: (signal: AbortSignal) => Promise<T>): Flight<T> {
    const controller = new AbortController();
    const flight: Flight<T> = { result: work(controller.signal), controller, passengers: 0 };
    this.#flights.set(key, flight);
    const landed = () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    };
    flight.result.then(landed, landed);
    return flight;
  }
}
