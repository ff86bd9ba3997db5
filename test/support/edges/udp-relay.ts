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

/**
 * A stretch of network for one client: can lose, delay, look, and change the client's address as a NAT does.
 */
export class UdpRelay {
  readonly #options: UdpRelayOptions;
  readonly #near = createSocket('udp4');
  #far: Socket | undefined;
  #client: RemoteInfo | undefined;
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
      relay.#client = from;
      relay.onToServer(datagram);
      if (!relay.isDeaf) relay.#pass(datagram, relay.toServer, () => relay.#far?.send(datagram));
    });
    await relay.rebind();
    return relay;
  }

  get port(): number {
    return this.#near.address().port;
  }

  /** From now on the server sees another source port. */
  async rebind(): Promise<void> {
    const old = this.#far;
    const far = createSocket('udp4');
    await new Promise<void>((resolve) => far.connect(this.#options.targetPort, '127.0.0.1', resolve));
    far.on('error', () => {});
    far.on('message', (datagram) => {
      if (this.isMute) return;
      this.#pass(datagram, this.toClient, () =>
        this.#near.send(datagram, this.#client!.port, this.#client!.address),
      );
    });
    this.#far = far;
    old?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#far?.close();
    this.#far = undefined;
    this.#near.removeAllListeners('message');
    this.#near.close();
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
      if (this.#far) send();
    }, delayMs);
  }
}
