import type { Probe } from '../contracts/handshake.ts';
import { plainAddress } from './address-limit.ts';

/** Both ends of a connection, as the server sees them. */
interface Ends {
  readonly remoteAddress?: string | undefined;
  readonly remotePort?: number | undefined;
  readonly localPort?: number | undefined;
}

/**
 * The connections by which a listener tries its own door at this moment, each known by its two ends. The
 * system gives them to nobody else while the socket is open, so that nothing that a stranger sends makes him
 * pass for one of these.
 */
export class OwnProbes {
  readonly #underWay = new Set<string>();

  /** @param make makes one connection, and tells `onBound` of it before anything is sent */
  async during<P extends Probe, T>(probe: P, make: (probe: P) => Promise<T>): Promise<T> {
    let key: string | undefined;
    let isOver = false;
    const onBound: Probe['onBound'] = ({ host, port }) => {
      // From then on, somebody else may have that end.
      if (isOver) return;
      key = keyOf({ remoteAddress: host, remotePort: port, localPort: probe.port });
      this.#underWay.add(key);
    };
    try {
      return await make({ ...probe, onBound });
    } finally {
      isOver = true;
      if (key !== undefined) this.#underWay.delete(key);
    }
  }

  has(ends: Ends): boolean {
    return this.#underWay.size > 0 && this.#underWay.has(keyOf(ends));
  }
}

function keyOf({ remoteAddress, remotePort, localPort }: Ends): string {
  return `${plainAddress(remoteAddress)} ${remotePort} ${localPort}`;
}
