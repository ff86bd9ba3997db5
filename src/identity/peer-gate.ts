import { hash, type X509Certificate } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Clock } from '../core/clock.ts';
import { isNodeName } from '../protocol/node-name.ts';
import type { PeerFacts } from '../protocol/peer-facts.ts';
import { formProblem } from './certificate-form.ts';
import {
  findChain,
  prepareCa,
  type TrustedCa,
  type TrustedCaInput,
  usableIntermediates,
  VERIFICATIONS,
} from './chain.ts';
import type { NodeIdentity, PeerCertificate, Refusal, Verdict } from './node-identity.ts';
import type { ShutOut } from './revocation-reasons.ts';
import { ago, isoSeconds } from './since.ts';
import { readNodeSubject, type SubjectReading } from './subject.ts';

export interface PeerGateComponents {
  /** The CAs whose edges are accepted now, as in `CertificateBundle.clientCAs`. */
  readonly trust: () => readonly TrustedCaInput[];
  readonly clock: Pick<Clock, 'now'>;
  /** Why the certificate or its node is shut out; undefined when it is not. Asked each time, never cached. */
  readonly isRevoked?: (peer: PeerCertificate & { readonly nodeName: string }) => ShutOut | undefined;
}

export interface PeerGateOptions {
  /**
   * Certificates of old fleets that name no node are let in, and the name the caller gives is believed
   * (requirement D6).
   */
  readonly allowLegacy: boolean;
  /** Serial (hexadecimal, any case) of a certificate that names no node → the node it belongs to. */
  readonly legacyNodes: Readonly<Record<string, string>>;
}

/**
 * A certificate that verifies against a trusted CA, is in its time and may be used by clients; whose it is,
 * is not said yet.
 */
export interface CheckedCertificate {
  readonly ok: true;
  readonly certificate: PeerCertificate;
  /** Subject as `X509Certificate.subject` prints it. */
  readonly subject: string;
}

/**
 * What follows from the bytes of a leaf and of the CA it verified against: it never changes, so it may be
 * cached.
 */
interface Facts {
  readonly certificate: PeerCertificate;
  readonly subject: string;
  readonly reading: SubjectReading;
  readonly isCa: boolean;
  readonly clientAuth: boolean;
  /** Narrowest validity of the intermediates and the CA, milliseconds since the epoch. */
  readonly chainNotBefore: number;
  readonly chainNotAfter: number;
}

/** id-kp-clientAuth, RFC 5280 §4.2.1.12. */
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';
/** Leaves whose verification is remembered: the default node limit. About 700 bytes each. */
const MAX_CACHED = 20_000;

/**
 * The one fail-closed gate every listener and transport asks about a client certificate. TLS only proves that
 * the peer holds the key; everything else is decided here, with a reason. Whatever goes wrong inside is a
 * refusal.
 */
export class PeerGate {
  readonly #components: PeerGateComponents;
  readonly #options: () => PeerGateOptions;
  // `max` would take the memory of all of them at once.
  /** Only positive results, so that strangers cannot push out the fleet. */
  readonly #verified = new LRUCache<string, Facts>({ maxSize: MAX_CACHED, sizeCalculation: () => 1 });
  /** What was looked at in vain, as long as its connection lives. */
  readonly #strangers = new WeakMap<X509Certificate, { trusted: unknown; intermediates: unknown }>();
  #trustInput: readonly TrustedCaInput[] | undefined;
  #trust: readonly TrustedCa[] = [];
  /** Every CA seen, to recognise a CA that was re-issued with the same key and name. */
  readonly #knownCas = new LRUCache<string, TrustedCa>({ max: 64 });

  constructor(components: PeerGateComponents, options: () => PeerGateOptions) {
    this.#components = components;
    this.#options = options;
  }

  /**
   * @param leaf certificate of the peer, undefined when it presented none
   * @param intermediates further certificates it presented
   * @param claimedNode the node the peer says it is; only believed for certificates that name no node, and
   * only with `allowLegacy`
   */
  check(
    leaf: X509Certificate | undefined,
    intermediates: readonly X509Certificate[] = [],
    claimedNode?: string,
  ): Verdict {
    try {
      return this.#decide(leaf, intermediates, claimedNode);
    } catch {
      return refuse('malformed-certificate', 'the client certificate cannot be examined');
    }
  }

  /**
   * All of {@link check} but whose certificate it is: for callers with another kind of subject
   * (administrators).
   */
  checkCertificate(
    leaf: X509Certificate | undefined,
    intermediates: readonly X509Certificate[] = [],
  ): CheckedCertificate | Refusal {
    try {
      const facts = this.#verify(leaf, intermediates);
      if ('ok' in facts) return facts;
      const problem = this.#revokedProblem(facts, undefined) ?? this.#problemOf(facts);
      if (problem) return problem;
      return { ok: true, certificate: facts.certificate, subject: facts.subject };
    } catch {
      return refuse('malformed-certificate', 'the client certificate cannot be examined');
    }
  }

  /**
   * Asks again about the certificate of an open session: after a change of trust, of revocations, and from
   * time to time.
   */
  stillTrusted(identity: NodeIdentity): Refusal | undefined {
    try {
      return this.#recheck(identity);
    } catch {
      return refuse('malformed-certificate', 'the certificate of this session cannot be examined');
    }
  }

  #decide(
    leaf: X509Certificate | undefined,
    intermediates: readonly X509Certificate[],
    claimedNode: string | undefined,
  ): Verdict {
    const facts = this.#verify(leaf, intermediates);
    if ('ok' in facts) return facts;
    const named = this.#nameOf(facts, claimedNode);
    // Revocation comes before the dates: of a certificate that is revoked and has expired too, the first is
    // what matters.
    const problem = this.#revokedProblem(facts, 'ok' in named ? undefined : named) ?? this.#problemOf(facts);
    if (problem) return problem;
    if ('ok' in named) return named;
    return { ok: true, identity: { ...named, certificate: facts.certificate } };
  }

  /** @param named undefined when the certificate names no node: then its serial alone may be revoked */
  #revokedProblem(
    { certificate }: Facts,
    named: { nodeName: string; legacy: boolean } | undefined,
  ): Refusal | undefined {
    const nodeName = named?.nodeName ?? '';
    const revoked = this.#components.isRevoked?.({ ...certificate, nodeName });
    if (revoked === undefined) return undefined;
    const { word, text } = revoked;
    if (!named) return refuse(word, text);
    const claim = named.legacy ? { claimedNode: nodeName } : verified(nodeName);
    return refuse(word, `node ${nodeName}, ${word}: ${text}`, claim);
  }

  #verify(leaf: X509Certificate | undefined, intermediates: readonly X509Certificate[]): Facts | Refusal {
    if (!leaf) return refuse('no-certificate', 'no client certificate was presented');
    const sha256 = hash('sha256', leaf.raw, 'hex');
    const trusted = this.#trusted();
    const known = trusted.flatMap((ca) => this.#verified.get(sha256 + ca.sha256) ?? []);
    // Two CAs may share a key; one of them being out of date must not hide the other.
    const current = known.find((facts) => this.#dateProblem(facts) === undefined);
    if (current) return current;
    const found = this.#verifyAnew(leaf, sha256, intermediates);
    if ('ok' in found) return known[0] ?? found;
    return found;
  }

  /** Costs at most {@link VERIFICATIONS} signatures, and for a peer that was refused before nothing. */
  #verifyAnew(
    leaf: X509Certificate,
    sha256: string,
    intermediates: readonly X509Certificate[],
  ): Facts | Refusal {
    const trusted = this.#trusted();
    const before = this.#strangers.get(leaf);
    if (before?.trusted === trusted && before.intermediates === intermediates)
      return this.#stranger(leaf, intermediates);
    const form = formProblem(leaf, { isLeaf: true });
    if (form) return refuse(form.reason, form.detail, claimOf(leaf));
    const usable = usableIntermediates(intermediates);
    const budget = { left: VERIFICATIONS };
    let candidate: Facts | undefined;
    for (const ca of trusted) {
      const chain = findChain(leaf, ca, { intermediates: usable, budget });
      if (!chain) continue;
      const facts = factsOf(leaf, sha256, ca, chain);
      this.#verified.set(sha256 + ca.sha256, facts);
      if (this.#dateProblem(facts) === undefined) return facts;
      candidate ??= facts;
    }
    if (candidate) return candidate;
    this.#strangers.set(leaf, { trusted, intermediates });
    return this.#stranger(leaf, intermediates);
  }

  #stranger(leaf: X509Certificate, intermediates: readonly X509Certificate[]): Refusal {
    return refuse(
      'unknown-ca',
      'the client certificate was not issued by a CA that this hub trusts (any longer)',
      { ...claimOf(leaf), facts: this.#strangerFacts(leaf, intermediates) },
    );
  }

  /** What both ends need to find out whose CA is meant. */
  #strangerFacts(leaf: X509Certificate, intermediates: readonly X509Certificate[]): PeerFacts {
    const sent = intermediates.find(({ subject }) => subject === leaf.issuer);
    return {
      hubTime: this.#components.clock.now(),
      serial: leaf.serialNumber,
      presentedIssuer: leaf.issuer.replaceAll('\n', ', '),
      ...(sent ? { presentedIssuerSha256: hash('sha256', sent.raw, 'hex') } : {}),
      expectedIssuersSha256: this.#trusted().map(({ sha256 }) => sha256),
    };
  }

  #problemOf(facts: Facts): Refusal | undefined {
    const claimed = verified(nodeOf(facts));
    if (facts.isCa)
      return refuse('wrong-usage', 'a CA certificate cannot be used as client certificate', claimed);
    if (!facts.clientAuth)
      return refuse(
        'wrong-usage',
        'the extended key usage of the certificate does not contain clientAuth',
        claimed,
      );
    return this.#dateProblem(facts);
  }

  #dateProblem(facts: Facts): Refusal | undefined {
    const now = this.#components.clock.now();
    const { certificate, chainNotAfter, chainNotBefore } = facts;
    const { notBefore, notAfter, serial } = certificate;
    const no = (reason: 'expired' | 'not-yet-valid', detail: string, dates: PeerFacts) => {
      const node = nodeOf(facts);
      const who = node === undefined ? 'the certificate' : `node ${node},`;
      return refuse(reason, `${who} ${detail}; the clock of this hub says ${isoSeconds(now)}`, {
        ...verified(node),
        facts: { hubTime: now, serial, ...dates },
      });
    };
    const dates = { notBefore, notAfter };
    if (now > notAfter)
      return no('expired', `expired ${ago(now - notAfter)} ago, at ${isoSeconds(notAfter)}`, dates);
    if (now < notBefore) return no('not-yet-valid', `valid only from ${isoSeconds(notBefore)}`, dates);
    const chain = { notBefore: chainNotBefore, notAfter: chainNotAfter };
    if (now > chainNotAfter)
      return no('expired', `the CA of its certificate expired ${ago(now - chainNotAfter)} ago`, chain);
    if (now < chainNotBefore) return no('not-yet-valid', 'the CA of its certificate is not valid yet', chain);
    return undefined;
  }

  #nameOf(facts: Facts, claimedNode: string | undefined): Refusal | { nodeName: string; legacy: boolean } {
    const { reading } = facts;
    if (reading.kind === 'node') return { nodeName: reading.nodeName, legacy: false };
    if (reading.kind === 'malformed')
      return refuse('malformed-certificate', `the client certificate is refused: ${reading.problem}`);
    if (reading.kind === 'other')
      return refuse('no-node-name', `the client certificate names no node: ${reading.problem}`);
    const mapped = this.#legacyNode(facts.certificate.serial);
    if (mapped !== undefined) return { nodeName: mapped, legacy: true };
    if (this.#options().allowLegacy && isNodeName(claimedNode))
      return { nodeName: claimedNode, legacy: true };
    return refuse(
      'legacy-certificate',
      `the certificate with serial ${facts.certificate.serial} (CN=kubeedge.io) names no node; join again, or map its serial in identity.legacyNodes`,
    );
  }

  #legacyNode(serial: string): string | undefined {
    const plain = (text: string) =>
      text
        .replace(/[^0-9a-f]/gi, '')
        .replace(/^0+/, '')
        .toUpperCase();
    const wanted = plain(serial);
    for (const [key, node] of Object.entries(this.#options().legacyNodes)) {
      if (plain(key) === wanted && isNodeName(node)) return node;
    }
    return undefined;
  }

  #recheck(identity: NodeIdentity): Refusal | undefined {
    const { certificate, nodeName } = identity;
    const now = this.#components.clock.now();
    const revoked = this.#components.isRevoked?.({ ...certificate, nodeName });
    if (revoked !== undefined)
      return refuse(revoked.word, `node ${nodeName}, ${revoked.word}: ${revoked.text}`, verified(nodeName));
    const issuer = this.#knownCas.get(certificate.issuerSha256);
    const trusted = this.#trusted();
    const ca =
      trusted.find((one) => one.sha256 === certificate.issuerSha256) ??
      trusted.find(
        (one) => issuer !== undefined && one.spki === issuer.spki && one.subject === issuer.subject,
      );
    if (!ca)
      return refuse(
        'unknown-ca',
        `node ${nodeName}, the CA of its certificate is trusted no longer`,
        verified(nodeName),
      );
    if (now > certificate.notAfter)
      return refuse(
        'expired',
        `node ${nodeName}, expired ${ago(now - certificate.notAfter)} ago; the clock of this hub says ${isoSeconds(now)}`,
        verified(nodeName),
      );
    if (now > ca.notAfter)
      return refuse(
        'expired',
        `node ${nodeName}, the CA of its certificate expired ${ago(now - ca.notAfter)} ago`,
        verified(nodeName),
      );
    if (identity.legacy && !this.#legacyStillAllowed(identity))
      return refuse(
        'legacy-certificate',
        `node ${nodeName}, certificates that name no node are not allowed any longer`,
        verified(nodeName),
      );
    return undefined;
  }

  #legacyStillAllowed({ certificate, nodeName }: NodeIdentity): boolean {
    const mapped = this.#legacyNode(certificate.serial);
    return mapped === undefined ? this.#options().allowLegacy : mapped === nodeName;
  }

  /** The trusted CAs, parsed once for each set. What cannot be parsed or is no CA is not trusted. */
  #trusted(): readonly TrustedCa[] {
    const input = this.#components.trust();
    if (input !== this.#trustInput) {
      this.#trust = input.flatMap((ca) => {
        const known = this.#knownCas.get(ca.sha256) ?? prepareCa(ca);
        if (known) this.#knownCas.set(known.sha256, known);
        return known ? [known] : [];
      });
      this.#trustInput = input;
    }
    return this.#trust;
  }
}

function factsOf(
  leaf: X509Certificate,
  sha256: string,
  ca: TrustedCa,
  chain: readonly X509Certificate[],
): Facts {
  return {
    certificate: {
      serial: leaf.serialNumber,
      sha256,
      issuerSha256: ca.sha256,
      issuer: ca.subject,
      notBefore: leaf.validFromDate.getTime(),
      notAfter: leaf.validToDate.getTime(),
    },
    subject: leaf.subject,
    reading: readNodeSubject(leaf.subject),
    isCa: leaf.ca,
    // Node calls the extended key usage `keyUsage`.
    clientAuth: leaf.keyUsage?.includes(CLIENT_AUTH) ?? false,
    chainNotBefore: Math.max(ca.notBefore, ...chain.map((one) => one.validFromDate.getTime())),
    chainNotAfter: Math.min(ca.notAfter, ...chain.map((one) => one.validToDate.getTime())),
  };
}

type Claim = Pick<Refusal, 'claimedNode' | 'nodeVerified' | 'facts'>;

function refuse(reason: Refusal['reason'], detail: string, claim: Claim = {}): Refusal {
  return { ok: false, reason, detail, ...claim };
}

/** The name that a certificate gives itself. */
function claimOf(leaf: X509Certificate): Claim {
  const reading = readNodeSubject(leaf.subject);
  return reading.kind === 'node' ? { claimedNode: reading.nodeName } : {};
}

/** A trusted CA put the name into the certificate. */
function verified(node: string | undefined): Claim {
  return node === undefined ? {} : { claimedNode: node, nodeVerified: true };
}

function nodeOf({ reading }: Facts): string | undefined {
  return reading.kind === 'node' ? reading.nodeName : undefined;
}
