import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/** Replicas a balancer knows: ports of the loopback, changed while it runs. */
export type Targets = () => readonly number[];

const pick = (ports: readonly number[], random: () => number) => ports[Math.floor(random() * ports.length)];

/** A balancer for TCP: each connection goes to a target by chance, and to another when that one refuses. */
export class RandomTcpBalancer implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  private constructor(targets: Targets, random: () => number) {
    this.#server = createServer((incoming) => {
      this.#keep(incoming);
      this.#join(incoming, [...targets()], random);
    });
  }

  static async start(targets: Targets, random: () => number): Promise<RandomTcpBalancer> {
    const balancer = new RandomTcpBalancer(targets, random);
    balancer.#server.listen(0, '127.0.0.1');
    await once(balancer.#server, 'listening');
    return balancer;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(incoming: Socket, left: readonly number[], random: () => number): void {
    const port = pick(left, random);
    if (port === undefined || incoming.destroyed) {
      incoming.destroy();
      return;
    }
    const outgoing = connect(port, '127.0.0.1');
    this.#keep(outgoing);
    let isJoined = false;
    outgoing.once('connect', () => {
      isJoined = true;
      incoming.pipe(outgoing).pipe(incoming);
    });
    incoming.once('close', () => outgoing.destroy());
    outgoing.once('close', () => {
      if (isJoined) incoming.destroy();
      else
        this.#join(
          incoming,
          left.filter((one) => one !== port),
          random,
        );
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
  }
}

/** A client's way to its target. Datagrams of the time before the socket is connected wait for it. */
class Flow {
  readonly target: number;
  readonly #socket = createSocket('udp4');
  #waiting: Buffer[] | undefined = [];

  constructor(target: number, onAnswer: (datagram: Buffer) => void) {
    this.target = target;
    // A target that is gone answers with ICMP: the ends notice by themselves.
    this.#socket.on('error', () => {});
    this.#socket.on('message', onAnswer);
    this.#socket.connect(target, '127.0.0.1', () => {
      for (const datagram of this.#waiting ?? []) this.#socket.send(datagram);
      this.#waiting = undefined;
    });
  }

  send(datagram: Buffer): void {
    if (this.#waiting) this.#waiting.push(datagram);
    else this.#socket.send(datagram, () => {});
  }

  close(): void {
    this.#socket.close();
  }
}

/**
 * A balancer for UDP: a flow (address and port of a client) stays with the target it began on, as long as the
 * balancer knows that target; new flows go by chance. It looks at nothing inside of a datagram.
 */
export class RandomUdpBalancer implements AsyncDisposable {
  readonly #near = createSocket('udp4');
  readonly #flows = new Map<string, Flow>();
  readonly #targets: Targets;
  readonly #random: () => number;

  private constructor(targets: Targets, random: () => number) {
    this.#targets = targets;
    this.#random = random;
    this.#near.on('error', () => {});
    this.#near.on('message', (datagram, { address, port }) => this.#flow(address, port)?.send(datagram));
  }

  static async start(targets: Targets, random: () => number): Promise<RandomUdpBalancer> {
    const balancer = new RandomUdpBalancer(targets, random);
    await new Promise<void>((resolve) => balancer.#near.bind(0, '127.0.0.1', resolve));
    return balancer;
  }

  get port(): number {
    return this.#near.address().port;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const flow of this.#flows.values()) flow.close();
    this.#flows.clear();
    this.#near.removeAllListeners('message');
    this.#near.close();
  }

  #flow(address: string, port: number): Flow | undefined {
    const key = `${address}:${port}`;
    const known = this.#flows.get(key);
    const targets = this.#targets();
    if (known && targets.includes(known.target)) return known;
    known?.close();
    this.#flows.delete(key);
    const target = pick(targets, this.#random);
    if (target === undefined) return undefined;
    const flow = new Flow(target, (datagram) => this.#near.send(datagram, port, address, () => {}));
    this.#flows.set(key, flow);
    return flow;
  }
}
