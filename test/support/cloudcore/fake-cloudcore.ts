import { randomUUID, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import { type AddressInfo, createServer as createTcpServer, type Server as TcpServer } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import { type WebSocket, WebSocketServer } from 'ws';
import { type Clock, systemClock, type Timer } from '../../../src/core/clock.ts';
import { keyExchange } from '../../../src/listeners/key-exchange.ts';
import type { Message } from '../../../src/protocol/message.ts';
import type { Pair } from '../pki/pki.ts';
import { type Answer, answerTo } from './answers.ts';
import type { ApiObject, FakeApi } from './fake-api.ts';

type ServerPair = Pick<Pair, 'pem' | 'key'>;

export interface FakeCloudCoreOptions {
  readonly ca: Pick<Pair, 'certificate'>;
  readonly server: ServerPair;
  readonly api: FakeApi;
  readonly clock?: Clock;
  /** `authorization.enable`: the CN has to be the node's, and exactly one certificate may be sent. */
  readonly authorization?: boolean;
  /** Where it listens; default: this machine, free ports. */
  readonly host?: string;
  readonly ports?: { readonly events: number; readonly tunnel: number };
  /** It sleeps so long before it listens; the real one up to 10 s. */
  readonly startSleepMs?: number;
}

/** What a CloudCore that is ill does with messages. */
export type Illness = 'none' | 'zombie' | 'refuses';

const READ_TIMEOUT_MS = 30_000;
const RESEND_MS = 5_000;

interface Endpoint {
  readonly front: TcpServer;
  readonly tls: Server;
}

interface NodeSession {
  readonly node: string;
  readonly socket: WebSocket;
  /** Pushed, and not acknowledged yet: id → resource and version. */
  readonly unacknowledged: Map<string, { resource: string; version: number; text: string }>;
  readTimer: Timer;
  dead: boolean;
}

/** The hub and tunnel of a CloudCore (README.md says what is copied from where). */
export class FakeCloudCore {
  readonly #options: FakeCloudCoreOptions;
  readonly #clock: Clock;
  readonly #sessions = new Map<string, NodeSession>();
  readonly #streams = new Set<Duplex>();
  /** Watches of metaservers: content.ID → node and what is watched. They are lost with the process. */
  readonly watches = new Map<string, { node: string; key: string }>();
  /** Tunnel connections by node. */
  readonly tunnels = new Map<string, WebSocket>();
  /** Every message of a node, in order. */
  readonly heard: { node: string; message: Message; text: string }[] = [];
  /** Who connected, in order. */
  readonly connects: {
    node: string;
    serial: string;
    issuer: string;
    certificates: number;
    group: string | undefined;
  }[] = [];
  /** What nodes reported over HTTPS (here on the same port), and who they were. */
  readonly reports: { subject: string; path: string; body: string }[] = [];
  illness: Illness = 'none';
  /** Nodes whose connection is open while nothing is done with it. */
  readonly zombies = new Set<string>();
  #server: Endpoint | undefined;
  #tunnel: Endpoint | undefined;
  #ports = { events: 0, tunnel: 0 };
  #frozen = false;
  /** Connections that came while it was frozen: the kernel took them, nobody reads them. */
  #waiting: (() => void)[] = [];
  #ca: FakeCloudCoreOptions['ca'];
  #identity: ServerPair;
  #unsubscribe: () => void = () => {};
  #resend: Timer | undefined;

  constructor(options: FakeCloudCoreOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#ca = options.ca;
    this.#identity = options.server;
    if (options.ports) this.#ports = options.ports;
  }

  get address(): string {
    return `127.0.0.1:${this.#ports.events}`;
  }
  get tunnelAddress(): string {
    return `127.0.0.1:${this.#ports.tunnel}`;
  }
  get nodes(): string[] {
    return [...this.#sessions.keys()].sort();
  }

  /** Starts, or starts again on the same ports; sleeps first, as the real one does. */
  async start(): Promise<this> {
    const { startSleepMs = 0, api } = this.#options;
    if (startSleepMs > 0) await this.#clock.sleep(startSleepMs);
    this.#server = await this.#listen(this.#ports.events, (...upgrade) => this.#onEvents(...upgrade));
    this.#tunnel = await this.#listen(this.#ports.tunnel, (...upgrade) => this.#onTunnel(...upgrade));
    this.#ports = {
      events: (this.#server.front.address() as AddressInfo).port,
      tunnel: (this.#tunnel.front.address() as AddressInfo).port,
    };
    this.#unsubscribe = api.onChange((node, resource, object) => this.#push(node, resource, object));
    this.#resend = this.#clock.setInterval(() => this.#resendAll(), RESEND_MS);
    return this;
  }

  /** As `kill -9`: sockets are gone, and with them what only the process knew. */
  async kill(): Promise<void> {
    this.#unsubscribe();
    this.#resend?.cancel();
    const servers = [this.#server, this.#tunnel];
    this.#server = this.#tunnel = undefined;
    for (const session of this.#sessions.values()) session.readTimer.cancel();
    this.#sessions.clear();
    this.watches.clear();
    this.tunnels.clear();
    for (const stream of this.#streams) stream.destroy();
    this.#streams.clear();
    this.#frozen = false;
    await Promise.all(servers.map((server) => server && new Promise((done) => server.front.close(done))));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
  }

  /** As `kill -STOP`: sockets stay open, nothing is read or said. */
  freeze(frozen = true): void {
    this.#frozen = frozen;
    const sockets = [...this.#sessions.values()].map(({ socket }) => socket);
    for (const socket of [...sockets, ...this.tunnels.values()]) frozen ? socket.pause() : socket.resume();
    if (frozen) return;
    for (const goOn of this.#waiting) goOn();
    this.#waiting = [];
  }

  /** Serves another certificate to who connects from now on. */
  serve(server: ServerPair): void {
    this.#identity = server;
    this.#server?.tls.setSecureContext({ cert: server.pem, key: server.key });
    this.#tunnel?.tls.setSecureContext({ cert: server.pem, key: server.key });
  }

  /** What it loads at its next start. */
  load({ ca, server }: Pick<FakeCloudCoreOptions, 'ca' | 'server'>): void {
    this.#ca = ca;
    this.#identity = server;
  }

  /** CloudCore ends the session of a node (its Node object was deleted). */
  drop(node: string): void {
    this.#sessions.get(node)?.socket.close();
  }

  /** Says something to a node, byte for byte. */
  sendText(node: string, text: string): void {
    this.#sessions.get(node)?.socket.send(text);
  }

  /** Bytes for a node that nobody has taken yet. */
  unsentBytes(node: string): number {
    return this.#sessions.get(node)?.socket.bufferedAmount ?? 0;
  }

  /** A metaserver's watch is told of an object. */
  tellWatchers(resource: string, object: object): number {
    const [, kind = ''] = resource.split('/');
    const watchers = [...this.watches.values()].filter(({ key }) => key.includes(`/${kind}s/`));
    const route = { source: 'dynamiccontroller', group: 'resource', operation: 'insert', resource };
    for (const { node } of watchers) this.#send(node, { route, content: object });
    return watchers.length;
  }

  async #listen(
    port: number,
    onUpgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void,
  ): Promise<Endpoint> {
    // The store is empty, so that the chain is only what the peer sent.
    const { pem: cert, key } = this.#identity;
    const server = createServer({ cert, key, requestCert: true, rejectUnauthorized: false });
    const front = createTcpServer((socket) => {
      this.#streams.add(socket);
      socket.on('error', () => {}).on('close', () => this.#streams.delete(socket));
      const goOn = () => server.emit('connection', socket);
      if (this.#frozen) this.#waiting.push(goOn);
      else goOn();
    });
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      socket.on('error', () => {});
      if (this.#frozen) return;
      if (this.illness === 'refuses') return void socket.end('HTTP/1.1 503 Service Unavailable\r\n\r\n');
      onUpgrade(request, socket, head);
    });
    server.on('request', (request, response) => void this.#onRequest(request, response));
    server.on('tlsClientError', () => {});
    front.listen(port, this.#options.host ?? '127.0.0.1');
    await once(front, 'listening');
    return { front, tls: server };
  }

  #peer(request: IncomingMessage): { leaf: X509Certificate; certificates: number } | undefined {
    let link = (request.socket as TLSSocket).getPeerCertificate(true);
    if (!link?.raw) return undefined;
    const leaf = new X509Certificate(link.raw);
    let certificates = 1;
    while (link.issuerCertificate && link.issuerCertificate !== link) {
      link = link.issuerCertificate;
      certificates++;
    }
    const { certificate } = this.#ca;
    return leaf.checkIssued(certificate) && leaf.verify(certificate.publicKey)
      ? { leaf, certificates }
      : undefined;
  }

  async #onRequest(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method, url: path = '' } = request;
    const [, name] = /^\/node\/([^/]+)$/.exec(path) ?? [];
    if (name !== undefined) {
      const isKnown = this.#options.api.objects.has(`null/node/${name}`);
      return void response.writeHead(isKnown ? 200 : 404).end();
    }
    let body = '';
    for await (const chunk of request) body += chunk;
    if (method !== 'POST') return void response.writeHead(404).end();
    this.reports.push({ subject: this.#peer(request)?.leaf.subject ?? '', path, body });
    response.end('ok');
  }

  #onEvents(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const peer = this.#peer(request);
    const [, , node = ''] = (request.url ?? '').split('/');
    const { node_id: claimed } = request.headers;
    if (!peer || claimed !== node) return void stream.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    const { leaf, certificates } = peer;
    const group = keyExchange(request.socket as TLSSocket)?.group;
    this.connects.push({ node, serial: leaf.serialNumber, issuer: leaf.issuer, certificates, group });
    upgrader.handleUpgrade(request, stream, head, (socket) => {
      socket.on('error', () => {});
      const isRefused =
        this.#options.authorization === true &&
        (certificates !== 1 || !leaf.subject.split('\n').includes(`CN=system:node:${node}`));
      // "immediate certificates are not supported": it is logged there, and the connection stays as it is.
      if (isRefused) return;
      this.#begin(node, socket);
    });
  }

  #begin(node: string, socket: WebSocket): void {
    const old = this.#sessions.get(node);
    if (old) {
      old.readTimer.cancel();
      old.socket.terminate();
    }
    const session: NodeSession = {
      node,
      socket,
      unacknowledged: new Map(),
      readTimer: this.#readTimer(socket),
      dead: this.zombies.has(node),
    };
    this.#sessions.set(node, session);
    socket.on('message', (data) => {
      session.readTimer.cancel();
      session.readTimer = this.#readTimer(socket);
      this.#onMessage(session, String(data));
    });
    socket.on('close', () => {
      session.readTimer.cancel();
      if (this.#sessions.get(node) === session) this.#sessions.delete(node);
    });
    if (session.dead) return;
    for (const [resource, object] of this.#options.api.missing(node)) this.#push(node, resource, object);
  }

  #readTimer(socket: WebSocket): Timer {
    return this.#clock.setTimeout(() => socket.close(), READ_TIMEOUT_MS);
  }

  #onMessage(session: NodeSession, text: string): void {
    const { node } = session;
    const message = JSON.parse(text) as Message;
    this.heard.push({ node, message, text });
    if (session.dead || this.illness === 'zombie') return;
    const { header, route } = message;
    if (header.parent_msg_id) {
      const pushed = session.unacknowledged.get(header.parent_msg_id);
      if (!pushed) return;
      this.#options.api.acknowledge(node, pushed.resource, pushed.version);
      session.unacknowledged.delete(header.parent_msg_id);
      return;
    }
    if (route.source === 'metaserver') this.#watch(node, message);
    const answer = answerTo(message, this.#options.api);
    if (answer) this.#answer(message, answer, node);
  }

  #watch(node: string, { route, content }: Message): void {
    const asked = content as { ID?: string; Verb?: string; Key?: string } & Record<string, unknown>;
    if (asked.Verb === 'watch') this.watches.set(asked.ID!, { node, key: asked.Key! });
    if (route.resource !== 'watchapp/sync') return;
    for (const [id, watch] of this.watches)
      if (watch.node === node && !(id in asked)) this.watches.delete(id);
  }

  #answer({ header, route }: Message, answer: Answer, node: string): void {
    const { source = 'edgecontroller', operation = 'response', resource = route.resource, content } = answer;
    const of = { source, group: 'resource', operation, resource };
    this.#send(node, { route: of, content, parent: header.msg_id, version: answer.version });
  }

  #push(node: string, resource: string, object: ApiObject): void {
    const version = object.metadata.resourceVersion;
    const operation = this.#options.api.hasSeen(node, resource) ? 'update' : 'insert';
    const isNode = resource.startsWith('null/node/');
    const route = { source: 'edgecontroller', group: 'resource', resource };
    const sent = this.#send(node, {
      route: { ...route, operation: isNode ? 'update' : operation },
      content: object,
      version,
    });
    const session = this.#sessions.get(node);
    if (sent && session)
      session.unacknowledged.set(sent.id, { resource, version: Number(version), text: sent.text });
  }

  #send(
    node: string,
    message: { route: object; content: unknown; parent?: string; version?: string | undefined },
  ): { id: string; text: string } | undefined {
    const session = this.#sessions.get(node);
    if (!session || session.dead || this.#frozen || this.illness !== 'none') return undefined;
    const id = randomUUID();
    const { route, content, parent, version } = message;
    const header = {
      msg_id: id,
      ...(parent ? { parent_msg_id: parent } : {}),
      timestamp: this.#clock.now(),
      ...(version ? { resourceversion: version } : {}),
    };
    const text = `${JSON.stringify({ header, route, content })}\n`;
    session.socket.send(text);
    return { id, text };
  }

  #resendAll(): void {
    for (const { socket, unacknowledged, dead } of this.#sessions.values())
      if (!dead && !this.#frozen) for (const { text } of unacknowledged.values()) socket.send(text);
  }

  #onTunnel(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    const node = request.headers.sessionhostnameoverride;
    if (!this.#peer(request) || typeof node !== 'string' || request.url !== '/v1/kubeedge/connect')
      return void stream.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    upgrader.handleUpgrade(request, stream, head, (socket) => {
      socket.on('error', () => {});
      // It believes the header; that is why the gateway compares it with the certificate.
      this.tunnels.set(node, socket);
      socket.on('close', () => this.tunnels.get(node) === socket && this.tunnels.delete(node));
    });
  }
}

const upgrader = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  skipUTF8Validation: true,
});
