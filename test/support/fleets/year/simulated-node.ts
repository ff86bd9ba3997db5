import { X509Certificate } from 'node:crypto';
import type { IssueRequest } from '../../../../src/contracts/certificate-issuer.ts';
import type { CertificateBundle } from '../../../../src/contracts/certificate-source.ts';
import { isSallyportError } from '../../../../src/core/errors.ts';
import { type KeyPair, makeCsr } from '../../pki/csr.ts';
import type { AbsencePattern } from './absence-patterns.ts';
import { DAY_MS, POLICY, type SimulatedReplica } from './simulated-replica.ts';

/**
 * What became of a contact. `delayed`: the store is away, and this renewal needs it; it is tried again.
 * `late`: certificate and grace are over, as the policy wants. `revoked`: as an administrator wants. `locked
 * out`: what must never be.
 */
export type Outcome = 'in' | 'renewed' | 'renewed in grace' | 'delayed' | 'late' | 'revoked' | 'locked out';

/** An edge node: its key, its certificate, the CAs it verifies the hub with, and its habits. */
export class SimulatedNode {
  readonly name: string;
  readonly pattern: AbsencePattern;
  /** SDKs learn of a new CA with a renewal; EdgeCore keeps the one it joined with. */
  readonly sdk: boolean;
  readonly #keys: KeyPair;
  readonly #random: () => number;
  #csr: Promise<Buffer> | undefined;
  #certificate: X509Certificate | undefined;
  #cas: X509Certificate[] = [];
  #renewAt = 0;
  online = false;
  changesAt: number;
  /** Why it cannot get in; for the report. */
  trouble: string | undefined;

  constructor(
    { name, pattern, sdk }: { name: string; pattern: AbsencePattern; sdk: boolean },
    { keys, random, now }: { keys: KeyPair; random: () => number; now: number },
  ) {
    this.name = name;
    this.pattern = pattern;
    this.sdk = sdk;
    this.#keys = keys;
    this.#random = random;
    this.changesAt = now + random() * 20 * DAY_MS;
  }

  get hasJoined(): boolean {
    return this.#certificate !== undefined;
  }

  isDue(now: number): boolean {
    return now >= this.#renewAt;
  }

  /** The hub asks for a new certificate. @returns false when its certificate is not of that CA */
  ask(issuer: X509Certificate): boolean {
    if (!this.online || !this.#certificate?.checkIssued(issuer)) return false;
    if (!this.#certificate.verify(issuer.publicKey)) return false;
    // EdgeCore cannot be asked.
    if (this.sdk) this.#renewAt = 0;
    return this.sdk;
  }

  async join(hub: SimulatedReplica, token: string): Promise<void> {
    this.#cas = [new X509Certificate(hub.certificates.current().ca.der)];
    await this.#request(hub, { token });
  }

  /** Comes to the hub, renews where that is due. */
  async contact(hub: SimulatedReplica, now: number): Promise<Outcome> {
    const certificate = this.#certificate!;
    const { server } = hub.certificates.current();
    if (!canVerify(server.cert, this.#cas, now)) return this.#lockedOut('the hub does not verify');
    const peer = hub.gate.check(certificate);
    if (peer.ok) {
      hub.history.nodeConnected(peer.identity, 'websocket');
      if (!this.isDue(now)) return 'in';
      await this.#request(hub, { peer });
      this.#learn(hub);
      return 'renewed';
    }
    if (peer.reason === 'revoked') return 'revoked';
    if (now > certificate.validToDate.getTime() + POLICY.graceDays * DAY_MS) return 'late';
    if (peer.reason !== 'expired') return this.#lockedOut(peer.detail);
    try {
      await this.#request(hub, { peer, peerCertificate: certificate.raw });
      this.#learn(hub);
      return 'renewed in grace';
    } catch (error) {
      if (isSallyportError(error, 'SECRET_STORE_UNAVAILABLE')) return 'delayed';
      return this.#lockedOut(String(error));
    }
  }

  verdict(hub: SimulatedReplica) {
    return hub.gate.check(this.#certificate);
  }

  #lockedOut(why: string): Outcome {
    this.trouble = why;
    return 'locked out';
  }

  async #request(hub: SimulatedReplica, proof: Partial<IssueRequest>): Promise<void> {
    this.#csr ??= makeCsr({ subject: `O=system:nodes, CN=system:node:${this.name}`, keys: this.#keys });
    const issued = await hub.issuer.issue({
      nodeName: this.name,
      csr: await this.#csr,
      token: undefined,
      peer: undefined,
      peerCertificate: undefined,
      extKeyUsages: undefined,
      remoteAddress: '192.0.2.1',
      ...proof,
    });
    this.#certificate = new X509Certificate(issued.der);
    const [from, to] = [this.#certificate.validFromDate.getTime(), this.#certificate.validToDate.getTime()];
    this.#renewAt = from + (to - from) * (0.6 + 0.1 * this.#random());
  }

  #learn(hub: SimulatedReplica): void {
    const ca = new X509Certificate(hub.certificates.current().ca.der);
    if (!this.sdk || this.#cas.some((one) => one.fingerprint256 === ca.fingerprint256)) return;
    this.#cas = [ca, ...this.#cas].slice(0, 2);
  }
}

const chains = new Map<string, readonly X509Certificate[]>();

/**
 * As a TLS client does that knows only these CAs: from the leaf over what the hub sends along to one of them.
 */
function canVerify(
  pem: CertificateBundle['server']['cert'],
  cas: readonly X509Certificate[],
  now: number,
): boolean {
  let chain = chains.get(pem);
  if (!chain) {
    const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
    chain = blocks.map((block) => new X509Certificate(block));
    chains.set(pem, chain);
  }
  const isValid = (one: X509Certificate) =>
    one.validFromDate.getTime() <= now && now < one.validToDate.getTime();
  const reaches = (one: X509Certificate, left: readonly X509Certificate[]): boolean =>
    isValid(one) &&
    (cas.some((ca) => isValid(ca) && isIssuedBy(one, ca)) ||
      left.some(
        (next) =>
          isIssuedBy(one, next) &&
          reaches(
            next,
            left.filter((other) => other !== next),
          ),
      ));
  return reaches(chain[0]!, chain.slice(1));
}

const verified = new WeakMap<X509Certificate, Map<string, boolean>>();

function isIssuedBy(one: X509Certificate, ca: X509Certificate): boolean {
  const known = verified.get(one) ?? new Map<string, boolean>();
  verified.set(one, known);
  let answer = known.get(ca.fingerprint256);
  if (answer === undefined) {
    answer = one.checkIssued(ca) && one.verify(ca.publicKey);
    known.set(ca.fingerprint256, answer);
  }
  return answer;
}
