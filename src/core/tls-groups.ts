import { createSecureContext } from 'node:tls';

/**
 * The groups for the key exchange that Sallyport offers, under their names in OpenSSL, with their numbers in
 * the registry "TLS Supported Groups" of IANA. Not among them: groups below 128 bits, and those over finite
 * fields, whose cost is for the server (CVE-2002-20001).
 */
const GROUPS = {
  // Post-quantum and classical together (draft-ietf-tls-ecdhe-mlkem): safe while one of the two is.
  X25519MLKEM768: { number: 0x11ec, isPostQuantum: true },
  SecP256r1MLKEM768: { number: 0x11eb, isPostQuantum: true },
  SecP384r1MLKEM1024: { number: 0x11ed, isPostQuantum: true },
  // Post-quantum alone (draft-ietf-tls-mlkem).
  MLKEM768: { number: 0x0201, isPostQuantum: true },
  MLKEM1024: { number: 0x0202, isPostQuantum: true },
  X25519: { number: 0x001d, isPostQuantum: false },
  X448: { number: 0x001e, isPostQuantum: false },
  'P-256': { number: 0x0017, isPostQuantum: false },
  'P-384': { number: 0x0018, isPostQuantum: false },
  'P-521': { number: 0x0019, isPostQuantum: false },
} as const;

type TlsGroup = keyof typeof GROUPS;
const NAMES = Object.keys(GROUPS) as readonly TlsGroup[];
const BY_NUMBER: ReadonlyMap<number, KeyExchange> = new Map(
  NAMES.map((group) => [GROUPS[group].number, { group, postQuantum: GROUPS[group].isPostQuantum }]),
);

/**
 * X25519MLKEM768 is what Node, Go and browsers begin with. X25519 is the cheapest of the others; P-256 and
 * P-384 are for clients that have nothing else.
 */
export const DEFAULT_TLS_GROUPS = 'X25519MLKEM768:X25519:P-256:P-384';

/** How the two sides of a TLS session agreed on its keys. */
export interface KeyExchange {
  /**
   * One of the names above; `other` for a group that has none there, `unknown` where the library does not
   * tell.
   */
  readonly group: TlsGroup | 'other' | 'unknown';
  /** Whether who records the traffic today cannot read it with a quantum computer later. */
  readonly postQuantum: boolean;
}

const OTHER: KeyExchange = { group: 'other', postQuantum: false };

/** @param number of the registry */
export function keyExchangeOf(number: number): KeyExchange {
  return BY_NUMBER.get(number) ?? OTHER;
}

/** What is wrong with a list of groups, and what may stand there; undefined when nothing is. */
export function problemOfGroups(list: string): string | undefined {
  const names = list.split(':');
  const odd = names.find((name) => !isUsable(name));
  if (odd !== undefined)
    return `it holds ${odd === '' ? 'an empty name' : odd.slice(0, 60)}; OpenSSL ${process.versions.openssl} of this Node and Sallyport know ${NAMES.filter(isUsable).join(', ')}, with a colon between two`;
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  return twice === undefined ? undefined : `it holds ${twice} twice`;
}

/** Node may be built with an OpenSSL that does not have all of them; 3.5 is the first with ML-KEM. */
function isUsable(name: string): boolean {
  if (!Object.hasOwn(GROUPS, name)) return false;
  try {
    createSecureContext({ ecdhCurve: name });
    return true;
  } catch {
    return false;
  }
}
