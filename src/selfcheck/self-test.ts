import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { connect } from 'node:http2';
import { request } from 'node:https';
import { CertificateAuthority } from '../certs/ca/certificate-authority.ts';
import type { CertificateSource } from '../contracts/certificate-source.ts';
import type { Listener } from '../contracts/listener.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, isSallyportError, SallyportError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { closeReason } from '../protocol/close-reasons.ts';
import type { ListenerName } from '../protocol/listener-names.ts';
import { WEBTRANSPORT_PATH } from '../protocol/webtransport.ts';
import { createCertificateRequest } from '../sdk/certificate-request.ts';
import { QuicTransport } from '../sdk/transports/quic-transport.ts';
import { PROBE_NODE as NODE, nearAddress } from './probe-clients.ts';

export interface SelfTestComponents {
  readonly source: CertificateSource;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A client nobody may let in: no certificate, or one of a CA made up for this test. */
interface Stranger {
  readonly probe: 'no certificate' | 'certificate of an unknown CA';
  readonly cert: string;
  readonly key: string;
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
  for (const { listener, probe, outcome } of await quietly(log, () =>
    knockEverywhere(components, listeners),
  )) {
    if (outcome === 'let in') throw new SallyportError('SELF_TEST_FAILED', { listener, probe });
    if (outcome === 'inconclusive') log.warn({ listener, probe }, 'the self-test could not reach a listener');
  }
  log.info({ listeners: names }, 'self-test passed: strangers are refused');
}

interface Finding {
  readonly listener: ListenerName;
  readonly probe: Stranger['probe'];
  readonly outcome: Outcome;
}

async function knockEverywhere(
  components: SelfTestComponents,
  listeners: readonly Listener[],
): Promise<Finding[]> {
  const strangers = [
    { probe: 'no certificate', cert: '', key: '' } as const,
    await makeStranger(components.clock),
  ];
  const findings: Finding[] = [];
  for (const listener of listeners) {
    for (const stranger of strangers) {
      const outcome = await knock(components, listener, stranger);
      findings.push({ listener: listener.name, probe: stranger.probe, outcome });
    }
  }
  return findings;
}

/**
 * What listeners say of refusals that are meant to be is for those who debug, not for who starts a gateway
 * for the first time.
 */
async function quietly<T>(log: Logger, task: () => Promise<T>): Promise<T> {
  const { level } = log;
  if (level === 'info' || level === 'warn') log.level = 'error';
  try {
    return await task();
  } finally {
    log.level = level;
  }
}

async function knock(
  components: SelfTestComponents,
  listener: Listener,
  stranger: Stranger,
): Promise<Outcome> {
  try {
    return await KNOCKS[listener.name](components, listener, stranger);
  } catch (error) {
    components.log.debug(
      { listener: listener.name, problem: describeError(error) },
      'a knock of the self-test failed',
    );
    return 'inconclusive';
  }
}

type Knock = (components: SelfTestComponents, listener: Listener, stranger: Stranger) => Promise<Outcome>;

const UPGRADE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': Buffer.alloc(16).toString('base64'),
} as const;

const KNOCKS: Readonly<Record<ListenerName, Knock>> = {
  // With a request that is good in itself: what is missing is a reason to sign it.
  https: async (_, listener, stranger) => {
    const { csr } = await createCertificateRequest(NODE);
    return judge(
      await ask(listener, stranger, {
        method: 'POST',
        path: '/edge.crt',
        headers: { NodeName: NODE },
        body: csr,
      }),
      [401],
    );
  },
  admin: async (_, listener, stranger) =>
    judge(await ask(listener, stranger, { path: '/api/v1/nodes' }), [401]),
  websocket: async (_, listener, stranger) =>
    judge(
      await ask(listener, stranger, {
        path: `/self-test/${NODE}/events`,
        headers: {
          ...UPGRADE,
          node_id: NODE,
          project_id: 'self-test',
        },
      }),
      [401],
    ),
  tunnel: async (_, listener, stranger) =>
    judge(
      await ask(listener, stranger, {
        path: '/v1/kubeedge/connect',
        headers: { ...UPGRADE, sessionhostnameoverride: NODE },
      }),
      [401],
    ),
  webtransport: async (_, listener, stranger) => judge(await askWebTransport(listener, stranger), [401]),
  quic: knockQuic,
};

function judge(status: number, refusals: readonly number[]): Outcome {
  if (refusals.includes(status)) return 'refused';
  return status < 400 ? 'let in' : 'inconclusive';
}

/** @returns the status, 101 for an upgrade */
function ask(
  listener: Listener,
  { cert, key }: Stranger,
  options: { method?: string; path: string; headers?: Record<string, string>; body?: Uint8Array },
): Promise<number> {
  const { host, port } = nearAddress(listener.address());
  return new Promise((resolve, reject) => {
    const call = request(
      // It talks to itself: what it must find out is whom the listener lets in, not whom it talks to.
      {
        host,
        port,
        rejectUnauthorized: false,
        agent: false,
        timeout: TIMEOUT_MS,
        ...options,
        ...(cert ? { cert, key } : {}),
      },
      (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      },
    );
    call.on('upgrade', (_response, socket) => {
      socket.destroy();
      resolve(101);
    });
    call.on('timeout', () => call.destroy(new Error('no answer in time')));
    call.on('error', reject);
    call.end(options.body);
  });
}

/** Asks for a session over HTTP/2 (RFC 8441). @returns the status */
function askWebTransport(listener: Listener, { cert, key }: Stranger): Promise<number> {
  const { host, port } = nearAddress(listener.address());
  const connection = connect(`https://${host.includes(':') ? `[${host}]` : host}:${port}`, {
    rejectUnauthorized: false,
    ...(cert ? { cert, key } : {}),
  });
  return new Promise<number>((resolve, reject) => {
    connection.on('error', reject);
    connection.once('close', () => reject(new Error('the connection was closed')));
    connection.setTimeout(TIMEOUT_MS, () => reject(new Error('no answer in time')));
    connection.once('remoteSettings', () => {
      const stream = connection.request({
        ':method': 'CONNECT',
        ':protocol': 'webtransport',
        ':scheme': 'https',
        ':path': WEBTRANSPORT_PATH,
        node_id: NODE,
      });
      stream.on('error', reject);
      stream.once('response', (headers) => resolve(Number(headers[':status'])));
    });
  }).finally(() => connection.destroy());
}

async function knockQuic(
  { source, clock, log }: SelfTestComponents,
  listener: Listener,
  { cert, key }: Stranger,
): Promise<Outcome> {
  const { host, port } = nearAddress(listener.address());
  const { ca, server } = source.current();
  const serverName = server.names.find((name) => !/^[\d.]+$|:/.test(name));
  const address = `${host.includes(':') ? `[${host}]` : host}:${port}`;
  const transport = new QuicTransport(
    { clock, logger: log },
    { address, ...(serverName ? { serverName } : {}) },
  );
  try {
    const link = await transport.connect(
      { node: NODE, ca: ca.pem, certificate: cert, key },
      {
        projectId: 'self-test',
        agent: 'self-test',
        maxMessageBytes: 1024,
        connectTimeoutMs: TIMEOUT_MS,
        writeTimeoutMs: TIMEOUT_MS,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      },
    );
    link.close(closeReason('Normal'));
    return 'let in';
  } catch (error) {
    if (isSallyportError(error, 'CONNECT_REFUSED')) return 'refused';
    throw error;
  }
}

async function makeStranger(clock: Clock): Promise<Stranger> {
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
    probe: 'certificate of an unknown CA',
    cert: new X509Certificate(der).toString(),
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  };
}
