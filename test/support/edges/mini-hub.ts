import 'reflect-metadata';
import { randomBytes, webcrypto, type X509Certificate } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import * as x509 from '@peculiar/x509';
import { type WebSocket, WebSocketServer } from 'ws';
import { type CloseReason, closeText } from '../../../src/protocol/close-reasons.ts';
import { decodeJson, encodeJson } from '../../../src/protocol/codec-json.ts';
import { createMessage, createResponse, type Message } from '../../../src/protocol/message.ts';
import { mintCa, mintServer, OID, type Pair } from '../pki/pki.ts';

/** What the hub says instead of doing what it was asked. */
export interface ScriptedRefusal {
  readonly status: number;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export interface MiniHubOptions {
  readonly ca?: Pair;
  /** Names of the server certificate. */
  readonly names?: readonly string[];
}

/** One edge that is connected. */
export interface MiniSession {
  readonly socket: WebSocket;
  readonly request: IncomingMessage;
  /** SHA-256 fingerprint of the client certificate. */
  readonly fingerprint: string;
}

/**
 * A hub of the tests' own, small enough to be read at once: enrols and speaks WebSocket on one port with
 * mutual TLS, and misbehaves as told. It knows nothing of `src/listeners` on purpose: the SDK is held against
 * docs/protocol.md, not against our other half.
 */
export class MiniHub {
  readonly ca: Pair;
  /** The JWT that is accepted; single-use. */
  jwt = `h.${randomBytes(8).toString('hex')}.s`;
  /** Set to refuse enrolment and renewal. */
  refuseEnrolment: ScriptedRefusal | undefined;
  /** Set to refuse WebSocket upgrades. */
  refuseConnect: ScriptedRefusal | undefined;
  /** How `sync` messages are answered; `error` is a negative acknowledgement. */
  acknowledge: 'OK' | 'error' | 'never' = 'OK';
  /** Answers `get`s with their own content when true. */
  answersGets = false;
  issuer: Pair | undefined;
  /** What `/ca.crt` hands out, when it is not the CA of this hub's own certificate. */
  servedCa: Pair | undefined;
  /** OIDs of the extended key usage of what is issued. */
  usages: readonly string[] = [OID.clientAuth];
  validity = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  readonly enrolments: { headers: IncomingMessage['headers']; peer: string | undefined }[] = [];
  readonly attempts: IncomingMessage[] = [];
  readonly sessions: MiniSession[] = [];
  /** Every message of an edge but keepalives, in order of arrival, repetitions included. */
  readonly received: Message[] = [];
  readonly keepalives: Message[] = [];
  readonly #server: Server;
  readonly #pair: Pair;
  readonly #sockets = new Set<Duplex>();
  readonly #webSockets = new WebSocketServer({ noServer: true, perMessageDeflate: false });

  static async start(options: MiniHubOptions = {}): Promise<MiniHub> {
    const ca = options.ca ?? (await mintCa());
    const server = await mintServer(ca, options.names ? { names: options.names } : {});
    const hub = new MiniHub(ca, server);
    await new Promise<void>((resolve) => hub.#server.listen(0, '127.0.0.1', resolve));
    return hub;
  }

  private constructor(ca: Pair, server: Pair) {
    this.ca = ca;
    this.#pair = server;
    this.#server = createServer(
      { cert: server.pem, key: server.key, ca: ca.pem, requestCert: true, rejectUnauthorized: false },
      (request, response) => void this.#answer(request, response),
    );
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Accepts edges of another CA as well. */
  alsoTrust(other: Pair): void {
    const { pem: cert, key } = this.#pair;
    this.#server.setSecureContext({ cert, key, ca: [this.ca.pem, other.pem] });
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  get token(): string {
    return `${this.ca.sha256}.${this.jwt}`;
  }

  /** The newest session. */
  get session(): MiniSession {
    return this.sessions.at(-1)!;
  }

  /** Messages by id, each once, in order of first arrival: what a hub that knows its duplicates has. */
  get contents(): unknown[] {
    return [...new Map(this.received.map((message) => [message.header.msg_id, message.content])).values()];
  }

  push(resource: string, content: unknown, operation = 'update'): Message {
    const message = createMessage(
      { source: 'edgecontroller', group: 'resource', operation, resource },
      content,
      {
        now: Date.now(),
      },
    );
    this.write(message);
    return message;
  }

  write(message: Message): void {
    sendText(this.session.socket, message);
  }

  closeWith(reason: CloseReason): void {
    for (const { socket } of this.sessions) socket.close(reason.code, closeText(reason));
  }

  /** The network fails: no close frame, no goodbye. */
  drop(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.drop();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    if (request.url === '/ca.crt') return void response.end((this.servedCa ?? this.ca).der);
    const peer = peerOf(request);
    this.enrolments.push({ headers: request.headers, peer: peer?.subject });
    const refusal = this.refuseEnrolment ?? this.#judge(request, peer);
    if (refusal)
      return void response.writeHead(refusal.status, refusal.headers).end(`${refusal.text ?? ''}\n`);
    const issued = await this.#issue(Buffer.concat(chunks), String(request.headers.nodename));
    response.end(issued);
  }

  #judge(request: IncomingMessage, peer: X509Certificate | undefined): ScriptedRefusal | undefined {
    if (request.headers.authorization === `Bearer ${this.jwt}`) {
      this.jwt = 'used';
      return undefined;
    }
    if (request.headers.authorization) return { status: 401, text: 'the token is not acceptable' };
    return peer ? undefined : { status: 401, text: 'neither a client certificate nor a token was presented' };
  }

  async #issue(csr: Buffer, node: string): Promise<Buffer> {
    const request = new x509.Pkcs10CertificateRequest(csr);
    if (!(await request.verify(webcrypto as never))) throw new Error('the CSR is not signed by its key');
    const issuer = this.issuer ?? this.ca;
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: `01${randomBytes(8).toString('hex')}`,
      subject: `O=system:nodes,CN=system:node:${node}`,
      issuer: new x509.X509Certificate(issuer.der).subject,
      ...this.validity,
      publicKey: request.publicKey,
      signingKey: await webcrypto.subtle.importKey(
        'pkcs8',
        issuer.privateKey.export({ type: 'pkcs8', format: 'der' }),
        { name: 'ECDSA', namedCurve: 'P-256' },
        false,
        ['sign'],
      ),
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
      extensions: [new x509.ExtendedKeyUsageExtension([...this.usages])],
    });
    return Buffer.from(certificate.rawData);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.attempts.push(request);
    const peer = peerOf(request);
    const refusal = this.refuseConnect ?? (peer ? undefined : { status: 401, text: 'no certificate' });
    if (refusal) {
      const headers = Object.entries({ Connection: 'close', ...refusal.headers }).map(
        ([name, value]) => `${name}: ${value}\r\n`,
      );
      socket.end(`HTTP/1.1 ${refusal.status} Refused\r\n${headers.join('')}\r\n${refusal.text ?? ''}\n`);
      return;
    }
    this.#webSockets.handleUpgrade(request, socket, head, (webSocket) => {
      webSocket.on('error', () => {});
      webSocket.on('message', (data) => this.#read(decodeJson(data as Buffer), webSocket));
      this.sessions.push({ socket: webSocket, request, fingerprint: peer!.fingerprint256 });
    });
  }

  #read(message: Message, socket: WebSocket): void {
    if (message.route.operation === 'keepalive') return void this.keepalives.push(message);
    this.received.push(message);
    const now = Date.now();
    if (message.header.sync && this.acknowledge !== 'never') {
      const isError = this.acknowledge === 'error';
      sendText(
        socket,
        createResponse(message, isError ? 'this resource belongs to another node' : 'OK', {
          now,
          operation: isError ? 'error' : 'response',
        }),
      );
    }
    if (this.answersGets && message.route.operation === 'get')
      sendText(socket, createResponse(message, { echo: message.content }, { now }));
  }
}

function sendText(socket: WebSocket, message: Message): void {
  socket.send(encodeJson(message), { binary: false });
}

function peerOf(request: IncomingMessage): X509Certificate | undefined {
  const socket = request.socket as TLSSocket;
  return socket.authorized ? socket.getPeerX509Certificate() : undefined;
}
