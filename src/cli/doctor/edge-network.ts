import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { lookup } from 'node:dns/promises';
import { connect, isIP } from 'node:net';
import { describeError } from '../../core/errors.ts';
import { explainConnectError } from './connect-error.ts';
import type { EdgeTarget } from './edge-target.ts';
import { type Finding, failure, ok, warning } from './finding.ts';

const TIMEOUT_MS = 4_000;
/** An Initial has to fill this much (RFC 9000 §14.1); shorter ones are dropped. */
const INITIAL_BYTES = 1_200;
/** Of the form that servers must answer with version negotiation (RFC 9000 §6.3, §15). */
const UNKNOWN_VERSION = 0x1a2a3a4a;

export interface Reach {
  readonly findings: readonly Finding[];
  /** Addresses that take connections on the HTTPS port. */
  readonly reachable: readonly string[];
}

/** DNS, then TCP to every address and port, then UDP. */
export async function checkReach(target: EdgeTarget): Promise<Reach> {
  const { host, httpsPort, websocketPort } = target;
  const names = await resolve(host);
  if ('finding' in names) return { findings: [names.finding], reachable: [] };
  const { addresses } = names;
  const tcp = await Promise.all(
    addresses.flatMap((address) =>
      [httpsPort, websocketPort].map(async (port) => ({
        address,
        port,
        problem: await tcpProblem(address, port),
      })),
    ),
  );
  const isOpen = (port: number) => tcp.some((one) => one.port === port && !one.problem);
  const findings: Finding[] = [
    ok('edge-dns', `${host} resolves`, addresses.join(', ')),
    ...tcp.map(({ address, port, problem }) => {
      const what = port === httpsPort ? 'HTTPS: enrolment' : 'WebSocket';
      if (!problem) return ok('edge-tcp', `TCP ${address} port ${port} is open (${what})`);
      const trouble = {
        detail: problem.why,
        hint: `let TCP port ${port} through the firewall, or give the port the hub uses (${problem.hint})`,
      };
      // One way is enough: clients try the other address.
      return (isOpen(port) ? warning : failure)(
        'edge-tcp',
        `TCP ${address} port ${port} is closed (${what})`,
        trouble,
      );
    }),
    await checkUdp(target, addresses[0]!),
  ];
  const reachable = tcp.filter(({ port, problem }) => port === httpsPort && !problem);
  return { findings, reachable: reachable.map(({ address }) => address) };
}

async function resolve(host: string): Promise<{ addresses: readonly string[] } | { finding: Finding }> {
  if (isIP(host)) return { addresses: [host] };
  try {
    const found = await lookup(host, { all: true });
    return { addresses: [...new Set(found.map(({ address }) => address))] };
  } catch (error) {
    const finding = failure('edge-dns', `${host} does not resolve`, {
      detail: describeError(error),
      hint: 'check the name, and the DNS server of this machine; an address of the hub certificate works without DNS',
    });
    return { finding };
  }
}

function tcpProblem(host: string, port: number): Promise<{ why: string; hint: string } | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const done = (problem?: { why: string; hint: string }) => {
      socket.destroy();
      resolve(problem);
    };
    socket.once('connect', () => done());
    socket.setTimeout(TIMEOUT_MS, () =>
      done(
        explainConnectError(Object.assign(new Error('no answer'), { code: 'ETIMEDOUT' }), `${host}:${port}`),
      ),
    );
    socket.once('error', (error) => done(explainConnectError(error, `${host}:${port}`)));
  });
}

async function checkUdp({ quicPort }: EdgeTarget, address: string): Promise<Finding> {
  const where = `UDP ${address} port ${quicPort}`;
  const answer = await askQuic(address, quicPort);
  if (answer === 'quic') return ok('edge-udp', `${where} answers QUIC`);
  return warning('edge-udp', `${where} does not answer QUIC`, {
    detail:
      answer === 'closed'
        ? 'the machine says that nothing listens: quic.enabled is off there, or the port is another'
        : 'no answer: a firewall drops UDP, or quic.enabled is off at the hub',
    hint: 'use WebSocket (transport: websocket, or auto), or let the UDP port through the firewall',
  });
}

/** A packet of a version nobody speaks: a server names those it does, without any state. */
async function askQuic(host: string, port: number): Promise<'quic' | 'closed' | 'silent'> {
  const packet = Buffer.alloc(INITIAL_BYTES);
  // Long header, fixed bit (RFC 8999 §5.1), then version, and two connection IDs of 8 bytes.
  packet[0] = 0xc0;
  packet.writeUInt32BE(UNKNOWN_VERSION, 1);
  packet[5] = 8;
  randomBytes(8).copy(packet, 6);
  packet[14] = 8;
  randomBytes(8).copy(packet, 15);
  const socket = createSocket(isIP(host) === 6 ? 'udp6' : 'udp4');
  return new Promise((resolve) => {
    const done = (answer: 'quic' | 'closed' | 'silent') => {
      clearInterval(again);
      clearTimeout(late);
      socket.close();
      resolve(answer);
    };
    // Datagrams get lost.
    const again = setInterval(() => socket.send(packet), TIMEOUT_MS / 4);
    const late = setTimeout(() => done('silent'), TIMEOUT_MS);
    socket.once('error', () => done('closed'));
    socket.on('message', (answer) => {
      // Version negotiation: long header, version 0 (RFC 8999 §6).
      if (answer.length >= 7 && (answer[0]! & 0x80) !== 0 && answer.readUInt32BE(1) === 0) done('quic');
    });
    socket.connect(port, host, () => socket.send(packet));
  });
}
