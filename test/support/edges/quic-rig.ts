import type { connectQuic, QuicConnectOptions } from '@currentspace/http3';
import type { Admission, EdgeAcceptor, EdgeConnection } from '../../../src/contracts/edge-connection.ts';
import { systemClock } from '../../../src/core/clock.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import { PeerGate } from '../../../src/identity/peer-gate.ts';
import type { EdgeListenerComponents } from '../../../src/listeners/edge-listener-components.ts';
import { QUIC_DEFAULTS, type QuicListenerOptions } from '../../../src/listeners/quic/options.ts';
import { QuicListener } from '../../../src/listeners/quic/quic-listener.ts';
import { RejectionLog } from '../../../src/listeners/rejection-log.ts';
import { type CloseReason, closeReason } from '../../../src/protocol/close-reasons.ts';
import { DEFAULT_JSON_LIMITS } from '../../../src/protocol/json-scan.ts';
import { createMessage, type Message } from '../../../src/protocol/message.ts';
import { encodeHello } from '../../../src/protocol/quic-control.ts';
import { QuicTransport } from '../../../src/sdk/transports/quic-transport.ts';
import type { EdgeLink } from '../../../src/sdk/transports/transport.ts';
import { freshSource } from '../pki/fixed-source.ts';
import { mintEdge, type Pair } from '../pki/pki.ts';

/** Limits that nothing reaches, on a free loopback port. */
export const GENEROUS: QuicListenerOptions = {
  ...QUIC_DEFAULTS,
  host: '127.0.0.1',
  port: 0,
  epoch: 'test',
  keepaliveTimeoutMs: 30_000,
  ...DEFAULT_JSON_LIMITS,
  maxMessageBytes: 16 * 1024 * 1024,
  maxPendingUpstream: 64,
  handshakeTimeoutMs: 10_000,
  requestTimeoutMs: 10_000,
  writeTimeoutMs: 30_000,
  connections: 1_000,
  connectionsPerIp: 1_000,
  handshakes: 256,
  connectionsPerServer: 64,
};

type QuicClientSession = ReturnType<typeof connectQuic>;

export interface Received {
  readonly node: string;
  readonly message: Message;
}

/** A hub reduced to what listeners need: remembers what arrives, echoes when told to. */
export class RecordingAcceptor implements EdgeAcceptor {
  readonly connections: EdgeConnection[] = [];
  readonly received: Received[] = [];
  readonly closed: { node: string; reason: CloseReason | undefined }[] = [];
  alive = 0;
  echo = true;
  admission: (node: string) => Admission = () => ({ ok: true });
  /** What `onMessage` waits for. */
  busy: Promise<void> | undefined;

  admit(peer: EdgeConnection['peer']): Admission {
    return this.admission(peer.nodeName);
  }

  accept(connection: EdgeConnection): void {
    this.connections.push(connection);
    const node = connection.peer.nodeName;
    connection.receive({
      onArrival: () => undefined,
      onMessage: (message) => {
        this.received.push({ node, message });
        if (this.echo) connection.send(message).catch(() => {});
        return this.busy;
      },
      onAlive: () => {
        this.alive++;
      },
      onClose: (reason) => {
        this.connections.splice(this.connections.indexOf(connection), 1);
        this.closed.push({ node, reason });
      },
    });
  }
}

/** A QUIC listener with everything it needs, on a free loopback port. Real time and sockets. */
export async function startQuic(
  options: Partial<QuicListenerOptions> = {},
  more: Partial<EdgeListenerComponents> = {},
) {
  const { ca, source } = await freshSource();
  const acceptor = new RecordingAcceptor();
  const metrics = createMetrics({ process: false });
  const rejections = new RejectionLog({ clock: systemClock });
  const gate = new PeerGate({ trust: () => source.current().clientCAs, clock: systemClock }, () => ({
    allowLegacy: false,
    legacyNodes: {},
  }));
  const listener = new QuicListener(
    { source, gate, acceptor, clock: systemClock, log: silentLogger, metrics, rejections, ...more },
    () => ({ ...GENEROUS, ...options }),
  );
  await listener.start();
  const links: EdgeLink[] = [];
  return {
    ca,
    source,
    acceptor,
    metrics,
    rejections,
    listener,
    port: listener.address().port,
    /** Connects as a node, with its own certificate unless another is given. */
    async connect(
      node: string,
      {
        pair,
        trusted = ca,
        port = listener.address().port,
        host = '127.0.0.1',
        maxMessageBytes = 16 * 1024 * 1024,
        connectTimeoutMs = 5_000,
        pingIntervalMs = 15_000,
      }: {
        pair?: Pair;
        trusted?: Pair;
        port?: number;
        host?: string;
        maxMessageBytes?: number;
        connectTimeoutMs?: number;
        pingIntervalMs?: number;
      } = {},
    ) {
      const edge = pair ?? (await mintEdge(ca, node));
      const transport = new QuicTransport(
        { clock: systemClock, logger: silentLogger },
        { address: `${host}:${port}`, pingIntervalMs },
      );
      const link = await transport.connect(
        { node, ca: trusted.pem, certificate: edge.pem, key: edge.key },
        {
          projectId: 'p',
          agent: 'test/1',
          maxMessageBytes,
          connectTimeoutMs,
          writeTimeoutMs: 30_000,
          signal: new AbortController().signal,
        },
      );
      links.push(link);
      return new TestEdge(link);
    },
    async [Symbol.asyncDispose]() {
      for (const link of links) link.close(closeReason('Normal'));
      await listener.stop(closeReason('Draining'), AbortSignal.abort());
    },
  };
}

/** An edge that can be asked for its next message or its end. */
export class TestEdge {
  readonly link: EdgeLink;
  readonly messages: Message[] = [];
  readonly closed: Promise<CloseReason | undefined>;
  #waiting: (() => void)[] = [];

  constructor(link: EdgeLink) {
    this.link = link;
    this.closed = new Promise((resolve) => {
      link.receive({
        onMessage: (message) => {
          this.messages.push(message);
          for (const wake of this.#waiting.splice(0)) wake();
        },
        onClose: resolve,
      });
    });
  }

  /** Sends and waits until a message with the same id comes back. */
  async echo(content: unknown, resource = ''): Promise<Message> {
    const message = createMessage({ source: 'edged', operation: 'update', resource }, content, {
      now: Date.now(),
    });
    await this.link.send(message);
    return this.reply(message.header.msg_id);
  }

  async reply(id: string): Promise<Message> {
    for (;;) {
      const found = this.messages.find((one) => one.header.msg_id === id);
      if (found) return found;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

/**
 * A client of the library itself, for what no well-behaved edge does. Ends with `close(code, reason)`
 * recorded in `ended`.
 */
export async function rawQuic(
  port: number,
  { ca, pair, ...options }: { ca: Pair; pair: Pair | undefined } & Omit<QuicConnectOptions, 'ca'>,
) {
  const { connectQuic } = await import('@currentspace/http3');
  const session = connectQuic(
    { host: '127.0.0.1', port, servername: 'localhost' },
    {
      ca: ca.pem,
      ...(pair ? { cert: pair.pem, key: pair.key } : {}),
      alpn: ['sallyport/1'],
      maxUdpPayloadSize: 1350,
      connectTimeoutMs: 3_000,
      ...options,
    },
  );
  session.on('error', () => {});
  const ended = new Promise<{ errorCode: number; reason: string }>((resolve) =>
    session.on('close', (info) => resolve({ errorCode: info.errorCode, reason: info.reason })),
  );
  return { session, ended };
}

/** Opens the control stream of a raw client, says hello and waits for the first frame. */
export async function sayHello(session: QuicClientSession, node: string) {
  await session.ready();
  const control = session.openStream();
  control.on('error', () => {});
  const answer = new Promise<Buffer>((resolve) => control.once('data', resolve));
  control.write(encodeHello({ node_id: node, project_id: 'p' }));
  return { control, answer: await answer };
}

export function openRaw(session: QuicClientSession) {
  const stream = session.openStream();
  stream.on('error', () => {});
  stream.resume();
  return stream;
}
