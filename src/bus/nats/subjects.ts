import { createHash } from 'node:crypto';
import type { MessageRoute } from '../../protocol/message.ts';

/**
 * The subjects of Sallyport in NATS: a stable interface, described for programs in any language in
 * docs/protocol.md.
 *
 * | subject | what |
 * |---|---|
 * | `<prefix>.up.<node>.<group>.<source>.<operation>.<resource…>` | messages of edges, in the stream
 * `<prefix>-up` |
 * | `<prefix>.presence.<node>` | connected and disconnected, in the same stream |
 * | `<prefix>.down.<node>` | messages for edges, in the stream `<prefix>-down` until they are delivered |
 * | `<prefix>.live.<node>` | internal: what `down` just took, for the replica that holds the node |
 * | `<prefix>.outcome.<who>.<id>` | what became of a message, to the replica that asked |
 * | `<prefix>.int.sent.<node>` | internal: a message that went to a node, while somebody follows that |
 * | `<prefix>.int.watch` | internal: which replica has somebody who follows, and which nodes |
 */
export class Subjects {
  readonly prefix: string;
  readonly upStream: string;
  readonly downStream: string;

  /** @param prefix letters, digits, dash and underscore, as `bus.nats.prefix` allows */
  constructor(prefix: string) {
    this.prefix = prefix;
    this.upStream = `${prefix}-up`;
    this.downStream = `${prefix}-down`;
  }

  up(node: string, route: MessageRoute): string {
    const { group = '', source = '', operation = '', resource = '' } = route;
    const plain = resource.startsWith(`node/${node}/`) ? resource.slice(`node/${node}/`.length) : resource;
    const parts = [node, group, source, operation].map(encodeToken);
    const path = plain.split('/').map(encodeToken);
    const short =
      path.length <= MAX_PATH && path.reduce((sum, part) => sum + part.length, 0) <= MAX_PATH_LENGTH;
    return `${this.prefix}.up.${[...parts, ...(short ? path : [digest(plain)])].join('.')}`;
  }

  presence(node: string): string {
    return `${this.prefix}.presence.${encodeToken(node)}`;
  }

  down(node: string): string {
    return `${this.prefix}.down.${encodeToken(node)}`;
  }

  live(node: string): string {
    return `${this.prefix}.live.${encodeToken(node)}`;
  }

  outcome(replica: string, id: string): string {
    return `${this.prefix}.outcome.${replica}.${id}`;
  }

  /** @param node undefined stands for every node, to subscribe */
  sent(node?: string): string {
    return `${this.prefix}.int.sent.${node === undefined ? '*' : encodeToken(node)}`;
  }

  watch(): string {
    return `${this.prefix}.int.watch`;
  }

  /**
   * The node of a subject under `up`, `presence`, `down`, `live` or `int.sent`; undefined when it is none of
   * ours.
   */
  nodeOf(subject: string): string | undefined {
    const [prefix, kind, ...rest] = subject.split('.');
    const node = kind === 'int' ? rest[1] : rest[0];
    return prefix === this.prefix && node ? decodeToken(node) : undefined;
  }

  /**
   * Whether an outcome may be sent there: the hub must not be made to speak on subjects its sender may not.
   */
  mayReceiveOutcomes(subject: string): boolean {
    return (
      (subject.startsWith('_INBOX.') || subject.startsWith(`${this.prefix}.outcome.`)) &&
      !/[\s*>]/.test(subject)
    );
  }
}

/** Longer ones are told by their digest: NATS takes 4 KiB for a whole line of its protocol. */
const MAX_TOKEN_LENGTH = 400;
const MAX_PATH = 16;
const MAX_PATH_LENGTH = 400;

/**
 * Any text as one token of a subject (also valid in keys of buckets): every byte of its UTF-8 that is not an
 * ASCII letter, digit, `-` or `_` becomes `=` and two upper-case hexadecimal digits; the empty text is a
 * single `=`. What would be longer than 400 characters is `==` and the base64url of its SHA-256: that alone
 * cannot be turned back.
 */
export function encodeToken(text: string): string {
  if (PLAIN.test(text)) return text.length <= MAX_TOKEN_LENGTH ? text : digest(text);
  if (text === '') return '=';
  let token = '';
  for (const byte of Buffer.from(text, 'utf8')) {
    const char = String.fromCharCode(byte);
    token += byte < 0x80 && PLAIN.test(char) ? char : `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  }
  return token.length <= MAX_TOKEN_LENGTH ? token : digest(text);
}

const PLAIN = /^[A-Za-z0-9_-]+$/;

/** @returns undefined for what {@link encodeToken} does not write, and for digests */
export function decodeToken(token: string): string | undefined {
  if (token === '=') return '';
  if (!/^(?:[A-Za-z0-9_-]|=[0-9A-F]{2})+$/.test(token)) return undefined;
  const bytes = token.replace(/=([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(bytes, 'latin1'));
  } catch {
    return undefined;
  }
}

function digest(text: string): string {
  return `==${createHash('sha256').update(text).digest('base64url')}`;
}
