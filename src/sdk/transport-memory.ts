import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Logger } from '../core/log.ts';

const FILE = 'transports.json';
/** A node has one hub, and changes its address seldom. */
const MAX_ADDRESSES = 8;
/** A host name has at most 253 characters (RFC 1035 §2.3.4). */
const MAX_ADDRESS_LENGTH = 300;

/**
 * Where a transport was seen to work that networks often block, in a file beside the certificate. Nothing
 * depends on it: what cannot be read was never seen, and what cannot be written is forgotten with the
 * process.
 */
export class TransportMemory {
  readonly #file: string;
  readonly #logger: Logger;
  /** Latest last. */
  #addresses: Promise<Set<string>> | undefined;

  constructor(directory: string, { logger }: { readonly logger: Logger }) {
    this.#file = join(directory, FILE);
    this.#logger = logger;
  }

  /** @param address such as `quic://hub.example:10001` */
  async has(address: string): Promise<boolean> {
    return (await this.#load()).has(address);
  }

  async add(address: string): Promise<void> {
    const addresses = await this.#load();
    if (addresses.has(address) || address.length > MAX_ADDRESS_LENGTH) return;
    addresses.add(address);
    for (const oldest of [...addresses].slice(0, -MAX_ADDRESSES)) addresses.delete(oldest);
    await this.#save(addresses);
  }

  async delete(address: string): Promise<void> {
    const addresses = await this.#load();
    if (addresses.delete(address)) await this.#save(addresses);
  }

  #load(): Promise<Set<string>> {
    this.#addresses ??= this.#read().catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') this.#logger.debug({ err: error, file: this.#file }, 'not readable');
      return new Set();
    });
    return this.#addresses;
  }

  async #read(): Promise<Set<string>> {
    const { seenToWork } = JSON.parse(await readFile(this.#file, 'utf8')) as { seenToWork: unknown[] };
    const usable = (one: unknown) => typeof one === 'string' && one.length <= MAX_ADDRESS_LENGTH;
    return new Set(seenToWork.filter(usable).slice(-MAX_ADDRESSES) as string[]);
  }

  async #save(addresses: Set<string>): Promise<void> {
    const half = `${this.#file}.new`;
    try {
      await writeFile(half, `${JSON.stringify({ seenToWork: [...addresses] })}\n`, { mode: 0o600 });
      await rename(half, this.#file);
    } catch (error) {
      this.#logger.debug({ err: error, file: this.#file }, 'not writable');
    }
  }
}
