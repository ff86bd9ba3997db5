import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';

export interface UdpRelayOptions {
  readonly targetPort: number;
  /** Where clients send to; a free one by default. */
  readonly port?: number;
  /** Part of the datagrams lost each way, 0 to 1. */
  readonly loss?: number;
  /** One-way delay, milliseconds. */
  readonly delayMs?: number;
  readonly random?: () => number;
}

/** A stretch of network: can lose, delay, look, and change the addresses of its clients as a NAT does. */
export class UdpRelay {
  readonly #options: UdpRelayOptions;
  readonly #near = createSocket('udp4');
  /** What the server sees, by address of the client. */
  readonly #fars = new Map<string, Socket>();
  #isOpen = true;
  toServer = { datagrams: 0, bytes: 0, largest: 0 };
  toClient = { datagrams: 0, bytes: 0, largest: 0 };
  /** True: nothing the client sends arrives any more. */
  isDeaf = false;
  /** True: nothing the server sends arrives any more. */
  isMute = false;
  /** Largest datagram that the path carries, bytes of UDP payload. */
  carries = 65_507;
  onToServer: (datagram: Buffer) => void = () => {};

  private constructor(options: UdpRelayOptions) {
    this.#options = options;
  }

  static async start(options: UdpRelayOptions): Promise<UdpRelay> {
    const relay = new UdpRelay(options);
    await new Promise<void>((resolve) => relay.#near.bind(options.port ?? 0, '127.0.0.1', resolve));
    relay.#near.on('message', (datagram, from) => {
      relay.onToServer(datagram);
      if (relay.isDeaf) return;
      relay.#pass(datagram, relay.toServer, () =>
        relay.#farOf(from).send(datagram, options.targetPort, '127.0.0.1'),
      );
    });
    return relay;
  }

  get port(): number {
    return this.#near.address().port;
  }

  /** From now on the server sees other source ports. */
  async rebind(): Promise<void> {
    for (const far of this.#fars.values()) far.close();
    this.#fars.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOpen = false;
    await this.rebind();
    this.#near.removeAllListeners('message');
    this.#near.close();
  }

  #farOf(client: RemoteInfo): Socket {
    const key = `${client.address} ${client.port}`;
    const known = this.#fars.get(key);
    if (known) return known;
    const far = createSocket('udp4');
    far.on('error', () => {});
    far.on('message', (datagram) => {
      if (this.isMute) return;
      this.#pass(datagram, this.toClient, () => this.#near.send(datagram, client.port, client.address));
    });
    this.#fars.set(key, far);
    return far;
  }

  #pass(
    datagram: Buffer,
    count: { datagrams: number; bytes: number; largest: number },
    send: () => void,
  ): void {
    const { loss = 0, delayMs = 0, random = Math.random } = this.#options;
    if (datagram.length > this.carries) return;
    count.largest = Math.max(count.largest, datagram.length);
    count.datagrams++;
    count.bytes += datagram.length;
    if (loss > 0 && random() < loss) return;
    if (delayMs === 0) {
      send();
      return;
    }
    setTimeout(() => {
      if (this.#isOpen) send();
    }, delayMs);
  }
}
