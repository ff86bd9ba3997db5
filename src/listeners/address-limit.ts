/** Counts open sockets for each address; nothing else is keyed by address (requirements I3, H7). */
export class AddressLimit {
  readonly #open = new Map<string, number>();

  /** @returns false, and counts nothing, when `address` already has `limit` */
  add(address: string, limit: number): boolean {
    const count = this.#open.get(address) ?? 0;
    if (count >= limit) return false;
    this.#open.set(address, count + 1);
    return true;
  }

  remove(address: string): void {
    const count = this.#open.get(address) ?? 0;
    if (count <= 1) this.#open.delete(address);
    else this.#open.set(address, count - 1);
  }

  get addresses(): number {
    return this.#open.size;
  }
}

/** An address without the IPv4-mapped prefix, so that one peer has one name on a dual-stack socket. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return '';
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address;
}
