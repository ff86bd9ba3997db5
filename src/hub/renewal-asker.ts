import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { SDK_AGENT } from '../protocol/agent.ts';
import { createRenewRequest } from '../protocol/renew-request.ts';
import type { SessionHub } from './session-hub.ts';

/** So many nodes a second begin to renew: half of what `limits.enrolmentsPerMinute` allows by default. */
const NODES_PER_SECOND = 50;
const SHORTEST_WITHIN_MS = 1_000;
/** A node that did not do it is asked again after this long, milliseconds. */
const PATIENCE_MS = 15 * 60_000;

/**
 * Asks connected nodes for a new certificate, without ending any connection. Only our SDK understands it;
 * EdgeCore renews by itself at 70–90 % of the life of its certificate (KubeEdge
 * `edge/pkg/edgehub/certificate`) and offers no way to be asked.
 */
export class RenewalAsker {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #hub: Pick<SessionHub, 'list' | 'identityOf' | 'send'>;
  /** Node → serial and when it was asked. */
  readonly #asked = new Map<string, { readonly serial: string; readonly at: number }>();

  constructor({
    clock,
    log,
    hub,
  }: { clock: Clock; log: Logger; hub: Pick<SessionHub, 'list' | 'identityOf' | 'send'> }) {
    this.#clock = clock;
    this.#log = log;
    this.#hub = hub;
  }

  /** @param issuerSha256 the CA whose certificates shall be replaced @returns how many nodes were asked */
  ask(issuerSha256: string, reason: string): number {
    const now = this.#clock.monotonic();
    const due = this.#hub.list().flatMap(({ node, agent }) => {
      const certificate = this.#hub.identityOf(node)?.certificate;
      if (!agent?.startsWith(SDK_AGENT) || certificate?.issuerSha256 !== issuerSha256) return [];
      const before = this.#asked.get(node);
      const isWaiting = before?.serial === certificate.serial && now - before.at < PATIENCE_MS;
      return isWaiting ? [] : [{ node, serial: certificate.serial }];
    });
    const withinMs = Math.max(SHORTEST_WITHIN_MS, Math.round((due.length / NODES_PER_SECOND) * 1_000));
    for (const [node, { at }] of this.#asked) if (now - at >= PATIENCE_MS) this.#asked.delete(node);
    for (const { node, serial } of due) {
      this.#asked.set(node, { serial, at: now });
      const message = createRenewRequest({ reason, serial, withinMs }, { now: this.#clock.now() });
      this.#hub.send({ node, message, wait: 'queued' }).catch((error) => {
        this.#asked.delete(node);
        this.#log.debug({ node, problem: describeError(error) }, 'a node could not be asked to renew');
      });
    }
    return due.length;
  }
}
