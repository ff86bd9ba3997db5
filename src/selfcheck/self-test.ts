import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { KnockRequest } from '../contracts/handshake.ts';
import type { Listener } from '../contracts/listener.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { createCertificateRequest } from '../sdk/certificate-request.ts';
import { PROBE_NODE as NODE, nearAddress } from './probe-clients.ts';

export interface SelfTestComponents {
  readonly clock: Clock;
  readonly log: Logger;
}

/** A client nobody may let in: no certificate, or one of a CA made up for this test. */
interface Stranger {
  readonly probe: 'no certificate' | 'certificate of an unknown CA';
  readonly shows: Pick<KnockRequest, 'client' | 'csr'>;
}

type Outcome = 'refused' | 'let in' | 'inconclusive';

const TIMEOUT_MS = 5_000;

/**
 * Before the gateway is ready it knocks at each of its own doors as a stranger would. A listener that opens
 * stops the start: whatever the reason, it must not serve like this.
 * @throws SELF_TEST_FAILED
 */
export async function selfTest(
  components: SelfTestComponents,
  listeners: readonly Listener[],
): Promise<void> {
  const { log } = components;
  const names = listeners.map(({ name }) => name);
  for (const { listener, probe, outcome } of await knockEverywhere(components, listeners)) {
    if (outcome === 'let in') throw new SallyportError('SELF_TEST_FAILED', { listener, probe });
    if (outcome === 'inconclusive') log.warn({ listener, probe }, 'the self-test could not reach a listener');
  }
  log.debug({ listeners: names }, 'self-test passed: strangers are refused');
}

interface Finding {
  readonly listener: ListenerName;
  readonly probe: Stranger['probe'];
  readonly outcome: Outcome;
}

async function knockEverywhere(
  { clock, log }: SelfTestComponents,
  listeners: readonly Listener[],
): Promise<Finding[]> {
  const { csr } = createCertificateRequest(NODE);
  const strangers: Stranger[] = [
    { probe: 'no certificate', shows: { csr } },
    { probe: 'certificate of an unknown CA', shows: { csr, client: await unknownClient(clock) } },
  ];
  const findings: Finding[] = [];
  for (const listener of listeners) {
    for (const stranger of strangers) {
      const outcome = await knock(log, listener, stranger);
      findings.push({ listener: listener.name, probe: stranger.probe, outcome });
    }
  }
  return findings;
}

async function knock(log: Logger, listener: Listener, stranger: Stranger): Promise<Outcome> {
  try {
    const status = await listener.knock({
      ...nearAddress(listener.address()),
      ...stranger.shows,
      node: NODE,
      timeoutMs: TIMEOUT_MS,
    });
    if (status === 401) return 'refused';
    return status < 400 ? 'let in' : 'inconclusive';
  } catch (error) {
    log.debug({ listener: listener.name, problem: describeError(error) }, 'a knock of the self-test failed');
    return 'inconclusive';
  }
}

async function unknownClient(clock: Clock): Promise<NonNullable<KnockRequest['client']>> {
  const unknown = await CertificateAuthority.create({ clock }, { days: 1, subject: 'CN=self-test' });
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const { der } = await unknown.issueEdge({
    publicKey: publicKey.export({ type: 'spki', format: 'der' }),
    nodeName: NODE,
    usages: ['clientAuth'],
    days: 1,
    backdateMs: 0,
  });
  return {
    certificate: new X509Certificate(der).toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
