/**
 * An edge node that speaks as KubeEdge's EdgeCore v1.15 does, byte by byte where it matters, without our SDK:
 * the Go HTTP client's `GET` with a body, Go's field order and newline in JSON frames.
 */
import 'reflect-metadata';
import {
  createHash,
  createPrivateKey,
  generateKeyPairSync,
  randomUUID,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import { type ConnectionOptions, connect } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { WebSocket } from 'ws';

x509.cryptoProvider.set(webcrypto as never);

/** Found in KubeEdge's defaults; every EdgeCore sends it unless configured otherwise. */
const PROJECT_ID = 'e632aba927ea4ac2b575ec1603d56f10';

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

export interface EdgeCoreCredentials {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** What Go's `net/http` writes for `http.NewRequest("GET", url, body)`. */
export function goGet(
  port: number,
  path: string,
  options: { headers?: Record<string, string>; body?: Buffer; tls?: ConnectionOptions } = {},
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: '127.0.0.1', port, servername: 'localhost', rejectUnauthorized: false, ...options.tls },
      () => {
        const head = [`GET ${path} HTTP/1.1`, `Host: 127.0.0.1:${port}`, 'User-Agent: Go-http-client/1.1'];
        if (options.body) head.push(`Content-Length: ${options.body.length}`);
        for (const [name, value] of Object.entries(options.headers ?? {})) head.push(`${name}: ${value}`);
        head.push('Accept-Encoding: gzip', 'Connection: close');
        socket.write(`${head.join('\r\n')}\r\n\r\n`);
        if (options.body) socket.write(options.body);
      },
    );
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('end', () => {
      const all = Buffer.concat(chunks);
      const split = all.indexOf('\r\n\r\n');
      const [statusLine, ...lines] = all.subarray(0, split).toString('latin1').split('\r\n');
      const headers = Object.fromEntries(
        lines.map((line) => [
          line.slice(0, line.indexOf(':')).toLowerCase(),
          line.slice(line.indexOf(':') + 1).trim(),
        ]),
      );
      resolve({ status: Number(statusLine!.split(' ')[1]), headers, body: all.subarray(split + 4) });
    });
  });
}

/**
 * Joins as EdgeCore does: `/ca.crt` unverified, its hash against the token, then `/edge.crt` with the JWT and
 * a CSR in DER.
 */
export async function joinAsEdgeCore(
  port: number,
  {
    node,
    token,
    subject = `C=CN, O=system:nodes, L=Hangzhou, ST=Zhejiang, CN=system:node:${node}`,
  }: { node: string; token: string; subject?: string },
) {
  const [hash, ...jwt] = token.split('.');
  const caAnswer = await goGet(port, '/ca.crt');
  const sha256 = createHash('sha256').update(caAnswer.body).digest('hex');
  if (sha256 !== hash) throw new Error('the CA is not the one the token names');
  const ca = new X509Certificate(caAnswer.body).toString();
  const { key, csr } = await makeRequest(subject);
  const answer = await goGet(port, '/edge.crt', {
    headers: { Authorization: `Bearer ${jwt.join('.')}`, NodeName: node },
    body: csr,
    tls: { ca, rejectUnauthorized: true },
  });
  return {
    answer,
    credentials: { ca, key, cert: answer.status === 200 ? new X509Certificate(answer.body).toString() : '' },
  };
}

/** Renews as EdgeCore does: over mutual TLS with the present certificate, without `Authorization`. */
export async function renewAsEdgeCore(port: number, node: string, credentials: EdgeCoreCredentials) {
  const { key, csr } = await makeRequest(`O=kubeEdge, CN=kubeedge.io`);
  const answer = await goGet(port, '/edge.crt', {
    headers: { NodeName: node },
    body: csr,
    tls: { ...credentials, rejectUnauthorized: true },
  });
  return {
    answer,
    credentials: {
      ...credentials,
      key,
      cert: answer.status === 200 ? new X509Certificate(answer.body).toString() : '',
    },
  };
}

export async function makeRequest(subject: string): Promise<{ key: string; csr: Buffer }> {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };
  const pkcs8 = privateKey.export({ type: 'pkcs8', format: 'der' });
  const signing = await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, true, ['sign']);
  const jwk = await webcrypto.subtle.exportKey('jwk', signing);
  const publicKey = await webcrypto.subtle.importKey(
    'jwk',
    { kty: jwk.kty!, crv: jwk.crv!, x: jwk.x!, y: jwk.y! },
    algorithm,
    true,
    ['verify'],
  );
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: subject,
    keys: { privateKey: signing, publicKey },
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  return {
    key: createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' })
      .export({ type: 'pkcs8', format: 'pem' })
      .toString(),
    csr: Buffer.from(request.rawData),
  };
}

/** EdgeCore's WebSocket: its URL, headers and frames. */
export class EdgeCoreSocket {
  readonly socket: WebSocket;
  readonly received: {
    header: { msg_id: string; parent_msg_id?: string; sync?: boolean; resourceversion?: string };
    route: Record<string, string>;
    content: unknown;
  }[] = [];
  readonly raw: string[] = [];

  private constructor(socket: WebSocket) {
    this.socket = socket;
    socket.on('message', (data) => {
      this.raw.push(String(data));
      this.received.push(JSON.parse(String(data)));
    });
  }

  static open(port: number, node: string, credentials: EdgeCoreCredentials): Promise<EdgeCoreSocket> {
    const socket = new WebSocket(`wss://127.0.0.1:${port}/${PROJECT_ID}/${node}/events`, {
      ...credentials,
      headers: {
        node_id: node,
        project_id: PROJECT_ID,
        ConnectionUse: 'msg',
        'User-Agent': 'Go-http-client/1.1',
      },
      perMessageDeflate: false,
    });
    const edge = new EdgeCoreSocket(socket);
    return new Promise((resolve, reject) => {
      socket.once('open', () => resolve(edge));
      socket.once('error', reject);
    });
  }

  /** Go's `json.Encoder`: struct order, empty fields omitted, a newline. */
  send(
    route: { source: string; group: string; operation: string; resource: string },
    content: unknown,
    parentId?: string,
    { sync = false }: { sync?: boolean } = {},
  ): string {
    const id = randomUUID();
    const header = {
      msg_id: id,
      ...(parentId ? { parent_msg_id: parentId } : {}),
      timestamp: Date.now(),
      ...(sync ? { sync } : {}),
    };
    const { source, group, operation, resource } = route;
    this.socket.send(
      `${JSON.stringify({ header, route: { source, group, operation, resource }, content })}\n`,
    );
    return id;
  }

  keepalive(): string {
    return this.send(
      { source: 'websocket', group: 'resource', operation: 'keepalive', resource: 'node' },
      'ping',
    );
  }

  /** The acknowledgement EdgeCore sends for a downstream message. */
  acknowledge(message: EdgeCoreSocket['received'][number]): string {
    const { source = '', group = '', resource = '' } = message.route;
    return this.send({ source, group, operation: 'response', resource }, 'OK', message.header.msg_id);
  }
}
