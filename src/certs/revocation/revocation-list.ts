import type { RevocablePeer, RevocationTarget } from '../../contracts/revocations.ts';
import { SallyportError } from '../../core/errors.ts';
import type { RevocationReason } from '../../identity/revocation-reasons.ts';

/** One decision as it is kept. Times in milliseconds since the epoch, whole seconds. */
export interface RevocationEntry {
  /** Version of the list that brought it, as it is now, into force. */
  readonly version: number;
  readonly target: RevocationTarget;
  readonly reason: RevocationReason;
  readonly at: number;
  readonly by: string;
  readonly note?: string;
  /** Of a node: certificates it was seen with. */
  readonly certificates: readonly SeenCertificate[];
  /** Of a node that may join again: its certificates that began before this stay revoked. */
  readonly rejoinedBefore?: number;
}

export interface SeenCertificate {
  readonly serial: string;
  readonly issuerSha256: string;
}

export type RevocationDraft = Pick<RevocationEntry, 'target' | 'reason' | 'at' | 'by' | 'note'>;

/** Certificates remembered for one node; the newest stay. A node renews every year by default. */
const MAX_SEEN = 8;

/**
 * Who is shut out: an immutable list with a version that grows by one with each change. Pure: what is stored
 * where, and who is told, is the service's.
 */
export class RevocationList {
  // `this`, because TypeScript 7.0 emits the name as an alias that is never set.
  static readonly EMPTY: RevocationList = new this(0, []);
  readonly version: number;
  readonly entries: readonly RevocationEntry[];
  readonly #nodes = new Map<string, RevocationEntry>();
  readonly #serials = new Map<string, RevocationEntry[]>();

  /** @throws BAD_REQUEST when two entries mean the same, or an entry is newer than the list */
  constructor(version: number, entries: readonly RevocationEntry[]) {
    this.version = version;
    this.entries = entries;
    for (const entry of entries) {
      if (this.#same(entry.target) || entry.version > version)
        throw new SallyportError('BAD_REQUEST', { problem: `two entries for ${targetKey(entry.target)}` });
      if ('node' in entry.target) this.#nodes.set(entry.target.node, entry);
      else {
        const { serial } = entry.target;
        this.#serials.set(serial, [...(this.#serials.get(serial) ?? []), entry]);
      }
    }
  }

  /** The entry that shuts this peer out. */
  find(peer: RevocablePeer): RevocationEntry | undefined {
    const node = this.#nodes.get(peer.nodeName);
    if (node && nodeEntryHolds(node, peer)) return node;
    return this.#serials
      .get(plainSerial(peer.serial))
      ?.find(
        ({ target }) =>
          'serial' in target && (target.issuerSha256 ?? peer.issuerSha256) === peer.issuerSha256,
      );
  }

  /** The entry that keeps anything from being issued to this node. */
  findNode(node: string): RevocationEntry | undefined {
    const entry = this.#nodes.get(node);
    return entry?.rejoinedBefore === undefined ? entry : undefined;
  }

  /** The entry for exactly this target, whether or not it shuts anybody out now. */
  get(target: RevocationTarget): RevocationEntry | undefined {
    return this.#same(plainTarget(target));
  }

  /**
   * With the entry added, or replaced by a stronger or equal one: a quarantine does not weaken a revocation.
   * The same again is no change.
   * @param seen certificates the node has now
   */
  add(draft: RevocationDraft, seen: readonly SeenCertificate[] = []): RevocationList {
    const target = plainTarget(draft.target);
    const present = this.#same(target);
    const certificates = mergeSeen(present?.certificates ?? [], seen);
    const weaker =
      present?.rejoinedBefore === undefined &&
      draft.reason === 'certificateHold' &&
      present !== undefined &&
      present.reason !== 'certificateHold';
    const same =
      present?.rejoinedBefore === undefined &&
      present?.reason === draft.reason &&
      (draft.note === undefined || draft.note === present.note) &&
      certificates === present.certificates;
    if (weaker || same) return this;
    const { rejoinedBefore: _, ...before } = present ?? {};
    return this.#with({ ...before, ...draft, target, certificates, at: wholeSeconds(draft.at) });
  }

  /** With a certificate the node of a node entry was seen with. */
  addSeen(node: string, seen: SeenCertificate): RevocationList {
    const present = this.#nodes.get(node);
    if (!present) return this;
    const certificates = mergeSeen(present.certificates, [seen]);
    return certificates === present.certificates
      ? this
      : this.#with({ ...present, certificates }, present.version);
  }

  /** Without the entry. @throws REVOCATION_NOT_FOUND */
  lift(target: RevocationTarget): RevocationList {
    const present = this.#require(target);
    return new RevocationList(
      this.version + 1,
      this.entries.filter((entry) => entry !== present),
    );
  }

  /**
   * The node may join again, its certificates that began before `before` stay revoked.
   * @throws REVOCATION_NOT_FOUND, BAD_REQUEST for a serial
   */
  letRejoin(target: RevocationTarget, before: number): RevocationList {
    const present = this.#require(target);
    if ('serial' in target)
      throw new SallyportError('BAD_REQUEST', {
        problem: 'only a node can join again, a certificate cannot',
      });
    if (present.rejoinedBefore !== undefined) return this;
    return this.#with({ ...present, rejoinedBefore: wholeSeconds(before) });
  }

  #with(entry: Omit<RevocationEntry, 'version'>, version = this.version + 1): RevocationList {
    const present = this.#same(entry.target);
    return new RevocationList(this.version + 1, [
      ...this.entries.filter((one) => one !== present),
      { ...entry, version },
    ]);
  }

  #require(target: RevocationTarget): RevocationEntry {
    const present = this.get(target);
    if (!present) throw new SallyportError('REVOCATION_NOT_FOUND', { target: targetKey(target) });
    return present;
  }

  #same(target: RevocationTarget): RevocationEntry | undefined {
    if ('node' in target) return this.#nodes.get(target.node);
    return this.#serials
      .get(target.serial)
      ?.find((entry) => 'serial' in entry.target && entry.target.issuerSha256 === target.issuerSha256);
  }
}

function nodeEntryHolds({ rejoinedBefore, certificates }: RevocationEntry, peer: RevocablePeer): boolean {
  if (rejoinedBefore === undefined) return true;
  const serial = plainSerial(peer.serial);
  return peer.notBefore < rejoinedBefore || certificates.some((seen) => seen.serial === serial);
}

function mergeSeen(
  present: readonly SeenCertificate[],
  more: readonly SeenCertificate[],
): readonly SeenCertificate[] {
  const fresh = more
    .map((seen) => ({ ...seen, serial: plainSerial(seen.serial) }))
    .filter(({ serial }) => !present.some((known) => known.serial === serial));
  return fresh.length === 0 ? present : [...present, ...fresh].slice(-MAX_SEEN);
}

/**
 * Upper-case hexadecimal without separators and leading zeros, so that every way to write a serial means the
 * same.
 */
export function plainSerial(serial: string): string {
  return (
    serial
      .replace(/[^0-9a-f]/gi, '')
      .replace(/^0+/, '')
      .toUpperCase() || '0'
  );
}

function plainTarget(target: RevocationTarget): RevocationTarget {
  return 'node' in target ? target : { ...target, serial: plainSerial(target.serial) };
}

export function targetKey(target: RevocationTarget): string {
  return 'node' in target ? `node ${target.node}` : `serial ${target.serial}`;
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
