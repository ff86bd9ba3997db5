import { X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { describeError, SallyportError } from '../../core/errors.ts';

export interface ProbeTarget {
  readonly host: string;
  readonly port: number;
  /** Name asked for (SNI); default: the host, unless it is an IP address. */
  readonly servername?: string | undefined;
  /** PEM, to present. */
  readonly identity?: { readonly cert: Buffer; readonly key: Buffer } | undefined;
}

/** What a server showed. */
export interface Probed {
  /** As sent, leaf first. */
  readonly chain: readonly [X509Certificate, ...X509Certificate[]];
  readonly protocol: string;
  readonly cipher: string;
  readonly servername: string | undefined;
}

const TIMEOUT_MS = 10_000;
/** Longer chains are loops or attacks. */
const MAX_CHAIN = 16;

/** A real TLS handshake with whatever listens there, believing nothing. @throws ENDPOINT_UNREACHABLE */
export function probeTls({ host, port, servername, identity }: ProbeTarget): Promise<Probed> {
  const name = servername ?? (isIP(host) ? undefined : host);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      ...(name === undefined ? {} : { servername: name }),
      ...identity,
      rejectUnauthorized: false,
      timeout: TIMEOUT_MS,
    });
    const fail = (problem: string, cause?: unknown) => {
      socket.destroy();
      reject(new SallyportError('ENDPOINT_UNREACHABLE', { address: `${host}:${port}`, problem }, cause));
    };
    socket.once('error', (error) => fail(describeError(error), error));
    socket.once('timeout', () => fail(`no answer within ${TIMEOUT_MS / 1000} s`));
    socket.once('secureConnect', () => {
      const chain = chainOf(socket);
      const [protocol, cipher] = [socket.getProtocol() ?? 'unknown', socket.getCipher().name];
      socket.destroy();
      if (chain) resolve({ chain, protocol, cipher, servername: name });
      else fail('it showed no certificate');
    });
  });
}

function chainOf(socket: TLSSocket): Probed['chain'] | undefined {
  const chain: X509Certificate[] = [];
  let at: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (at?.raw && chain.length < MAX_CHAIN && !chain.some(({ raw }) => raw.equals(at!.raw))) {
    chain.push(new X509Certificate(at.raw));
    at = at.issuerCertificate;
  }
  const [leaf, ...others] = chain;
  return leaf ? [leaf, ...others] : undefined;
}
