import { createHash, X509Certificate } from 'node:crypto';
import type { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { CertificateBundle } from '../contracts/certificate-source.ts';
import type { Listener } from '../contracts/listener.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { prepareCa } from '../identity/chain.ts';
import { PeerGate } from '../identity/peer-gate.ts';
import { edgeName, edgeTrust, nearAddress, type ProbeClient, type ProbeClients } from './probe-clients.ts';

export interface PreflightComponents {
  readonly clock: Clock;
  readonly log: Logger;
  readonly clients: ProbeClients;
  /** Those that are enabled. */
  readonly listeners: () => readonly Listener[];
}

export interface PreflightOptions {
  /** `advertise.addresses` */
  readonly addresses: readonly string[];
  readonly timeoutMs: number;
}

const ATTEMPTS = 3;

interface ProbeNode {
  readonly client: ProbeClient;
  /** Of its certificate, lower-case hexadecimal. */
  readonly sha256: string;
}

/**
 * Tries a bundle before anybody gets it: the enabled listeners serve it off to the side, one for all that
 * serve alike, and an edge's handshake is made with it, with a client certificate of the own CA.
 */
export class Preflight {
  readonly #components: PreflightComponents;
  readonly #options: () => PreflightOptions;

  constructor(components: PreflightComponents, options: () => PreflightOptions) {
    this.#components = components;
    this.#options = options;
  }

  /**
   * @param authorities CAs whose key is at hand; for trusted CAs without one it is checked that their
   * certificates can be used
   * @throws BUNDLE_INVALID with reason `preflight`
   */
  async check(bundle: CertificateBundle, authorities: readonly CertificateAuthority[]): Promise<void> {
    const { clock, log, listeners } = this.#components;
    const startedAt = clock.monotonic();
    const unusable = bundle.clientCAs.find((ca) => prepareCa(ca) === undefined);
    if (unusable) throw refused(`the trusted CA ${unusable.subject} cannot be used`);
    const nodes: ProbeNode[] = [];
    for (const authority of authorities) nodes.push(await this.#nodeOf(authority, bundle));
    const alike = Map.groupBy(listeners(), ({ servesAs }) => servesAs);
    // At once: one after the other, a loop that is busy would hold each of them up anew.
    const problems = await Promise.all(
      [...alike.values()].map((some) => this.#problemOf(some, bundle, nodes)),
    );
    const problem = problems.find((problem) => problem !== undefined);
    if (problem !== undefined) throw refused(problem);
    log.debug(
      { fingerprint: bundle.fingerprint, durationMs: clock.monotonic() - startedAt },
      'the new bundle was tried on every listener',
    );
  }

  /** A node of the CA, which the gate would let in. @throws BUNDLE_INVALID */
  async #nodeOf(authority: CertificateAuthority, bundle: CertificateBundle): Promise<ProbeNode> {
    const { clients, clock } = this.#components;
    const client = await clients.of(authority).catch((error) => {
      throw refused(describeError(error));
    });
    const leaf = new X509Certificate(client.certificate);
    const gate = new PeerGate({ clock, trust: () => bundle.clientCAs }, () => ({
      allowLegacy: false,
      legacyNodes: {},
    }));
    const verdict = gate.check(leaf);
    if (!verdict.ok) throw refused(`a node of the CA would be refused: ${verdict.detail}`);
    return { client, sha256: sha256(leaf) };
  }

  /** @param alike listeners of which one stands for all */
  async #problemOf(
    alike: readonly Listener[],
    bundle: CertificateBundle,
    nodes: readonly ProbeNode[],
  ): Promise<string | undefined> {
    for (const node of nodes) {
      const problem = await this.#problem(alike[0]!, bundle, node);
      if (problem !== undefined) return `${alike.map(({ name }) => name).join(', ')}: ${problem}`;
    }
    return undefined;
  }

  /**
   * What a certificate is to blame for happens every time; a handshake that merely got lost on a busy machine
   * does not.
   */
  async #problem(
    listener: Listener,
    bundle: CertificateBundle,
    node: ProbeNode,
  ): Promise<string | undefined> {
    let problem: string | undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      try {
        await this.#try(listener, bundle, node);
        return undefined;
      } catch (error) {
        problem = describeError(error);
      }
    }
    return problem;
  }

  async #try(listener: Listener, bundle: CertificateBundle, node: ProbeNode): Promise<void> {
    const { addresses, timeoutMs } = this.#options();
    await listener.tryBundle(bundle, async (trial) => {
      const problems: string[] = [];
      for (const ca of edgeTrust(bundle)) {
        const name = edgeName(bundle, addresses);
        const problem = await listener
          .handshake({
            ...nearAddress(trial),
            name,
            ca,
            client: node.client,
            timeoutMs,
            awaitReply: true,
          })
          .then(
            ({ served, problem, reply }) => {
              if (served && sha256(served) !== bundle.server.sha256) return 'another certificate is served';
              if (reply !== node.sha256) return 'the client certificate was not asked for';
              return problem;
            },
            (error) => describeError(error),
          );
        if (problem === undefined) return;
        problems.push(problem);
      }
      throw new Error(problems[0]);
    });
  }
}

function sha256({ raw }: X509Certificate): string {
  return createHash('sha256').update(raw).digest('hex');
}

function refused(problem: string): SallyportError {
  return new SallyportError('BUNDLE_INVALID', {
    reason: 'preflight',
    problem: `it was tried before the swap, and failed: ${problem}`,
  });
}
