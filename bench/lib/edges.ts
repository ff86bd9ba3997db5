import 'reflect-metadata';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { WebSocket } from 'ws';
import { signCertificate } from '../../src/certs/x509/certificate-signer.ts';
import type { Pair } from '../../test/support/pki/pki.ts';

const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';

const DAY_MS = 86_400_000;

export interface BenchEdge {
  readonly node: string;
  /** PEM. */
  readonly cert: string;
  /** PKCS#8 PEM. */
  readonly key: string;
}

/** As the hub issues them, some 20 times as fast as the fixtures of the tests. */
export function mintEdges(ca: Pick<Pair, 'certificate' | 'privateKey'>, count: number): BenchEdge[] {
  const extensions = [
    new x509.BasicConstraintsExtension(false, undefined, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
  ];
  return Array.from({ length: count }, (_, index) => {
    const node = `bench-${index}`;
    const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { der } = signCertificate(
      {
        subject: [
          ['O', 'system:nodes'],
          ['CN', `system:node:${node}`],
        ],
        publicKey: publicKey.export({ type: 'spki', format: 'der' }),
        notBefore: new Date(Date.now() - DAY_MS),
        notAfter: new Date(Date.now() + 30 * DAY_MS),
        extensions,
      },
      { key: ca.privateKey, certificate: ca.certificate },
    );
    return {
      node,
      cert: new X509Certificate(der).toString(),
      key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    };
  });
}

/** Opens one WebSocket with a full handshake: no session is ever resumed. */
export function openSocket(port: number, ca: Pick<Pair, 'pem'>, edge: BenchEdge): Promise<WebSocket> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`wss://localhost:${port}/${PROJECT}/${edge.node}/events`, {
      cert: edge.cert,
      key: edge.key,
      ca: ca.pem,
      agent: false,
      perMessageDeflate: false,
      headers: { node_id: edge.node, project_id: PROJECT, ConnectionUse: 'msg' },
    });
    socket.once('open', () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Runs `task` over the items, at most `width` at once. */
export async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  task: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  await Promise.all(
    Array.from({ length: width }, async () => {
      for (let index = next++; index < items.length; index = next++)
        results[index] = await task(items[index]!, index);
    }),
  );
  return results;
}

/** A KubeEdge message of 256 bytes, as an edge reports a status. */
export function statusMessage(index: number): string {
  const message = {
    header: {
      msg_id: `00000000-0000-4000-8000-${String(index % 1e12).padStart(12, '0')}`,
      timestamp: 1_795_466_360_546,
    },
    route: { source: 'edged', group: 'resource', operation: 'update', resource: 'default/podstatus/pod-1' },
    content: '',
  };
  message.content = 'x'.repeat(256 - Buffer.byteLength(`${JSON.stringify(message)}\n`));
  return `${JSON.stringify(message)}\n`;
}
