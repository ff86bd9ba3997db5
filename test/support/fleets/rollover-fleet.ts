import { CertificateAuthority } from '../../../src/certs/ca/certificate-authority.ts';
import type { RolloverStep } from '../../../src/contracts/ca-rollover.ts';
import type { SecretStore } from '../../../src/contracts/secret-store.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { MemorySecretStore } from '../../fakes/memory-secret-store.ts';
import { mintCa, type Pair } from '../pki/pki.ts';
import { whileAdvancing } from '../while-advancing.ts';
import { type RolloverReplica, startRollover } from './rollover.ts';

export const ROLLOVER_SECRET = 'sallyport-rollover';
export const FORWARD: readonly RolloverStep[] = ['prepare', 'activate', 'retire', 'revoke'];

/** The replicas of a CA rollover, with one store and one clock. */
export class RolloverFleet implements AsyncDisposable {
  readonly store = new MemorySecretStore();
  readonly clock = new ManualClock(Date.now());
  readonly #running: RolloverReplica[] = [];

  /** @param options.on the store as this replica sees it */
  async start({
    on = this.store,
    ...options
  }: Parameters<typeof startRollover>[1] & { readonly on?: SecretStore } = {}): Promise<RolloverReplica> {
    const replica = await startRollover({ store: on, clock: this.clock }, options);
    this.#running.push(replica);
    return replica;
  }

  /** All but the first `from`. Races are lost, and their pauses pass, in a stop too. */
  stop(from = 0): Promise<unknown> {
    const leaving = this.#running.splice(from);
    return whileAdvancing(this.clock, Promise.all(leaving.map((one) => one[Symbol.asyncDispose]())));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  putCa(ca: Pair): void {
    const cakeydata = ca.privateKey.export({ type: 'sec1', format: 'der' });
    this.store.put({ name: 'casecret', data: { cadata: ca.der, cakeydata } });
  }

  /** SHA-256 of the CA in its Secret. */
  storedCa(): string {
    return CertificateAuthority.fromSecret(this.store.peek('casecret')!).certificate.sha256;
  }

  storedPhase(): string {
    const stored = this.store.peek(ROLLOVER_SECRET)!.data['rollover.json']!;
    return (JSON.parse(Buffer.from(stored).toString()) as { phase: string }).phase;
  }
}

/** Whether all know the latest step, where the next one waits for that. */
export const allKnow = ({ service }: RolloverReplica) =>
  service.status().next.every(({ blockers }) => !blockers.join().includes('not known yet'));

/** SHA-256 of the CAs whose edges are accepted. */
export const trusted = ({ current }: RolloverReplica) =>
  current.current().clientCAs.map(({ sha256 }) => sha256);

/** As KubeEdge makes it. */
export const kubeEdgeCa = () => mintCa({ serial: '0400', keyIdentifiers: false, crlSign: false });
