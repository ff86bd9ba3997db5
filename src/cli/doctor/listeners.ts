import { createSocket } from 'node:dgram';
import { createServer, isIP } from 'node:net';
import { connect } from 'node:tls';
import type { ListenerInfo } from '../../contracts/gateway-info.ts';
import { describeError } from '../../core/errors.ts';
import { LISTENER_NAMES, LISTENERS } from '../../protocol/listener-names.ts';
import { reachable } from '../context.ts';
import { explainConnectError } from './connect-error.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import type { Patient } from './patient.ts';
import { probeQuic } from './quic-probe.ts';
import type { ServedAnswer } from './served-answer.ts';

const TIMEOUT_MS = 5_000;

/** Whether the gateway answers; what is checked after it depends on that. */
export function checkGateway({ gateway, adminAddress }: Patient): Finding[] {
  if (gateway.up) {
    const { version, replica, nodes } = gateway.info;
    return [
      ok(
        'gateway',
        `the gateway answers at ${adminAddress}`,
        `${replica}, ${version}, ${nodes} nodes connected`,
      ),
    ];
  }
  const trouble = { detail: gateway.why, hint: gateway.hint };
  switch (gateway.is) {
    case 'disabled':
      return [skipped('gateway', 'the gateway was not asked', gateway.why)];
    case 'refused':
      return [
        warning('gateway', 'the gateway answers, and does not tell this administrator anything', trouble),
      ];
    case 'down':
      return [failure('gateway', 'the gateway does not answer', trouble)];
  }
}

/** No other gateway that runs has the name of this one. */
export function checkReplicaName({ gateway }: Patient): Finding[] {
  if (!gateway.up) return [];
  const { replica, namesake } = gateway.info;
  if (namesake === undefined) return [];
  return [
    warning('replica-name', `another running gateway is named ${replica} too`, {
      detail: 'lists, logs, receipts and the audit cannot tell them apart',
      hint: 'give each gateway its own name in hub.replica, and restart it',
    }),
  ];
}

/**
 * Every check of `/readyz`. A gateway whose self-test fails never gets ready, so its answer tells of that
 * too.
 */
export async function checkReady({ gateway }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [];
  try {
    const { status, text } = await gateway.admin.text('/readyz?verbose');
    const failing = text.split('\n').filter((line) => line.startsWith('[-]'));
    if (status === 200)
      return [ok('ready', 'ready: every check passes, and the self-test of the listeners did at the start')];
    return [
      failure('ready', 'the gateway is not ready', {
        detail: failing.join('; ') || `status ${status}`,
        hint: 'each line names a part; see the log of the gateway',
      }),
    ];
  } catch (error) {
    return [skipped('ready', 'readiness', describeError(error))];
  }
}

/** A real handshake with each listener: does it serve the certificate that is wanted? */
export async function checkServed(patient: Patient): Promise<Finding[]> {
  const { gateway } = patient;
  if (!gateway.up) return [];
  const wanted = gateway.certificates.certificates.find(({ kind }) => kind === 'hub')?.sha256;
  const own = await Promise.all(gateway.info.listeners.map((one) => shakeHands(patient, one, wanted)));
  const { quicOff } = gateway.info;
  const quic = quicOff === undefined ? [] : [skipped('served', 'quic', quicOff)];
  return [...own, ...quic, ...(await otherReplicas(patient))];
}

async function shakeHands(
  patient: Patient,
  listener: ListenerInfo,
  wanted: string | undefined,
): Promise<Finding> {
  const { name, port } = listener;
  const where = `${name} at ${reachable(listener.host)}:${port}`;
  try {
    if (LISTENERS[name].tls === 'quic-library') {
      await probeQuic(patient, { host: nearHost(listener), port });
      return ok('served', `${where} serves a certificate of the CA`);
    }
    const served = await servedSha256(nearHost(listener), port);
    if (wanted === undefined || served === wanted)
      return ok('served', `${where} serves the wanted certificate`, `sha256 ${served.slice(0, 16)}…`);
    return failure('served', `${where} serves another certificate than the wanted`, {
      detail: `served ${served}, wanted ${wanted}`,
      hint: 'see the log for why the swap failed; a restart of the gateway serves the stored one',
    });
  } catch (error) {
    const { why, hint } = explainConnectError(error, `${nearHost(listener)}:${port}`);
    return failure('served', `no handshake with ${where}`, { detail: why, hint });
  }
}

/** What other replicas found out by themselves, where this version of the gateway tells. */
async function otherReplicas({ gateway }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [];
  const { items } = await gateway.admin
    .get<ServedAnswer>('/api/v1/certificates/served')
    .catch(() => ({ items: [] }));
  return items
    .filter(({ problem }) => problem !== undefined)
    .map(({ replica, listener, problem, checkedAt }) =>
      failure('served', `${listener} of replica ${replica} serves another certificate than the wanted`, {
        detail: `${problem} (looked at ${checkedAt})`,
        hint: 'see the log of that replica; a restart serves the stored one',
      }),
    );
}

/** A gateway that is down can only be helped when its ports are free. */
export async function checkPorts({ gateway, config }: Patient): Promise<Finding[]> {
  if (gateway.up || gateway.is !== 'down') return [];
  const wanted = LISTENER_NAMES.filter((name) => config[name].enabled && config[name].port !== 0);
  return Promise.all(
    wanted.map(async (name) => {
      const { host, port } = config[name];
      const where = `${host}:${port}/${LISTENERS[name].network}`;
      try {
        await (LISTENERS[name].network === 'udp' ? bindUdp(host, port) : bindTcp(host, port));
        return ok('port', `${where} is free for ${name}`);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (code === 'EADDRINUSE')
          return failure('port', `${where} is taken, ${name} cannot listen`, {
            detail:
              'another process has it: perhaps the gateway itself, whose admin listener does not answer',
            hint: `find it with \`ss -lnp 'sport = :${port}'\`, or set ${name}.port`,
          });
        return failure('port', `${where} cannot be bound for ${name}`, {
          detail: describeError(error),
          hint:
            code === 'EACCES'
              ? 'ports below 1024 need CAP_NET_BIND_SERVICE; take a higher one'
              : `${name}.host has to be an address of this machine`,
        });
      }
    }),
  );
}

export function servedSha256(host: string, port: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      {
        host,
        port,
        // It finds out what is served; whether that is right is decided by comparing.
        rejectUnauthorized: false,
        ...(isIP(host) ? {} : { servername: host }),
        ALPNProtocols: ['h2', 'http/1.1'],
      },
      () => {
        const leaf = socket.getPeerX509Certificate();
        socket.end();
        if (leaf) resolve(leaf.fingerprint256.replaceAll(':', '').toLowerCase());
        else reject(new Error('it presents no certificate'));
      },
    );
    socket.setTimeout(TIMEOUT_MS, () =>
      socket.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })),
    );
    socket.on('error', reject);
  });
}

function nearHost({ host }: { readonly host: string }): string {
  return reachable(host).replace(/[[\]]/g, '');
}

function bindTcp(host: string, port: number): Promise<void> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve()));
  });
}

function bindUdp(host: string, port: number): Promise<void> {
  const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
  return new Promise((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: host, port, exclusive: true }, () => socket.close(() => resolve()));
  });
}
