import { hash, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { connect } from 'node:tls';
import type { Clock } from '../../core/clock.ts';
import { shortDuration } from '../output.ts';
import { explainConnectError } from './connect-error.ts';
import type { EdgeTarget } from './edge-target.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { httpsGet } from './https-get.ts';

const TIMEOUT_MS = 5_000;
const SKEW_LOW_MS = 60_000;
const SKEW_BAD_MS = 10 * 60_000;

interface Handshake {
  readonly protocol: string | null;
  readonly leaf: X509Certificate;
  /** What was sent after the leaf. */
  readonly chain: readonly X509Certificate[];
}

/** TLS version, names, the CA and its hash, the chain, and the clock, as this node would meet them. */
export async function checkTls(target: EdgeTarget, address: string, clock: Clock): Promise<Finding[]> {
  const { host, httpsPort: port } = target;
  const where = `${host}:${port}`;
  let shaken: Handshake;
  try {
    shaken = await shakeHands(address, { port, host });
  } catch (error) {
    const { why } = explainConnectError(error, where);
    return [
      failure('edge-tls', `no TLS handshake with ${where}`, {
        detail: why,
        hint: 'check that this is the HTTPS port of the hub (10002), and that no proxy stands between',
      }),
    ];
  }
  return [
    ok('edge-tls', `TLS handshake with ${where}`, shaken.protocol ?? ''),
    checkNames(host, shaken.leaf),
    ...(await checkCa(target, address, { shaken, clock })),
  ];
}

function checkNames(host: string, leaf: X509Certificate): Finding {
  const matches = isIP(host) ? leaf.checkIP(host) : leaf.checkHost(host, { subject: 'never' });
  const names = leaf.subjectAltName ?? 'nothing';
  if (matches !== undefined) return ok('edge-names', `the hub certificate names ${host}`);
  return failure('edge-names', `the hub certificate does not name ${host}`, {
    detail: `it names ${names}`,
    hint: `use one of these names, or let the operator add ${host} to advertise.addresses`,
  });
}

async function checkCa(
  { host, httpsPort: port, caHash, credentials }: EdgeTarget,
  address: string,
  { shaken: { leaf, chain }, clock }: { shaken: Handshake; clock: Clock },
): Promise<Finding[]> {
  let ca: X509Certificate;
  let date: number;
  try {
    const { status, headers, body } = await httpsGet({
      host: address,
      port,
      path: '/ca.crt',
      ...(isIP(host) ? {} : { servername: host }),
    });
    if (status !== 200) throw new Error(`status ${status}`);
    date = Date.parse(headers.date ?? '');
    ca = new X509Certificate(body);
  } catch (error) {
    const { why } = explainConnectError(error, `${host}:${port}`);
    return [
      failure('edge-ca', 'the CA cannot be fetched from /ca.crt', {
        detail: why,
        hint: 'check that this is the HTTPS port of a Sallyport or CloudCore hub',
      }),
    ];
  }
  const now = clock.now();
  return [
    checkHash(ca, caHash ?? storedHash(credentials?.ca)),
    checkChain(leaf, { chain, ca, now }),
    ...(Number.isNaN(date) ? [] : [checkSkew(date - now)]),
  ];
}

function checkHash(ca: X509Certificate, wanted: string | undefined): Finding {
  const sha256 = hash('sha256', ca.raw, 'hex');
  if (wanted === undefined)
    return skipped(
      'edge-ca',
      `the CA of the hub has SHA-256 ${sha256}`,
      'give --ca-hash or a token to compare',
    );
  if (sha256 === wanted) return ok('edge-ca', 'the CA of the hub is the expected one', sha256);
  return failure('edge-ca', 'the hub has another CA than this node expects', {
    detail: `it has ${sha256}, expected is ${wanted}`,
    hint: 'the token or certificate belongs to another hub, its CA was replaced, or somebody stands between; ask for a new token',
  });
}

function checkChain(
  leaf: X509Certificate,
  { chain, ca, now }: { chain: readonly X509Certificate[]; ca: X509Certificate; now: number },
): Finding {
  const steps = [...chain, ca];
  let last = leaf;
  for (let left = steps.length; left > 0 && !issued(ca, last); left--) {
    const next = steps.find((one) => one !== last && issued(one, last));
    if (!next) break;
    last = next;
  }
  if (!issued(ca, last))
    return failure('edge-chain', 'the hub certificate does not chain to its CA', {
      detail: `it was issued by ${leaf.issuer.replaceAll('\n', ', ')}`,
      hint: 'the operator runs `sallyport doctor` at the hub: stored and served certificates differ',
    });
  const [begin, end] = [leaf.validFromDate.getTime(), leaf.validToDate.getTime()];
  if (now >= end)
    return failure(
      'edge-chain',
      `for this clock the hub certificate expired ${shortDuration(now - end)} ago`,
      {
        detail: `at ${leaf.validToDate.toISOString()}`,
        hint: 'compare the clock of this machine; else the operator runs `sallyport certs rotate hub`',
      },
    );
  if (now < begin)
    return failure(
      'edge-chain',
      `for this clock the hub certificate begins in ${shortDuration(begin - now)}`,
      {
        detail: `at ${leaf.validFromDate.toISOString()}`,
        hint: 'set the clock of this machine (NTP)',
      },
    );
  return ok('edge-chain', 'the hub certificate chains to its CA', `valid for ${shortDuration(end - now)}`);
}

/** @param skewMs how far the clock of the hub is ahead of ours; header Date has whole seconds */
function checkSkew(skewMs: number): Finding {
  const off = Math.abs(skewMs);
  const title = `the clock of this machine is ${shortDuration(off)} ${skewMs > 0 ? 'behind' : 'ahead of'} the hub's`;
  const trouble = {
    detail: 'certificates and tokens have dates: what is good may be refused here or there',
    hint: 'set the clock of this machine (NTP); a node without a battery needs it before it connects',
  };
  if (off >= SKEW_BAD_MS) return failure('edge-clock', title, trouble);
  return off >= SKEW_LOW_MS
    ? warning('edge-clock', title, trouble)
    : ok('edge-clock', 'the clocks of this machine and of the hub agree');
}

function storedHash(pem: string | undefined): string | undefined {
  try {
    return pem === undefined ? undefined : hash('sha256', new X509Certificate(pem).raw, 'hex');
  } catch {
    return undefined;
  }
}

function issued(issuer: X509Certificate, certificate: X509Certificate): boolean {
  try {
    return certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey);
  } catch {
    return false;
  }
}

function shakeHands(address: string, { port, host }: { port: number; host: string }): Promise<Handshake> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      // Nothing is believed before it was looked at below.
      { host: address, port, rejectUnauthorized: false, ...(isIP(host) ? {} : { servername: host }) },
      () => {
        const protocol = socket.getProtocol();
        const leaf = socket.getPeerX509Certificate();
        const chain: X509Certificate[] = [];
        for (let at = socket.getPeerCertificate(true); chain.length < 8; ) {
          const next = at?.issuerCertificate;
          if (!next?.raw || next === at) break;
          chain.push(new X509Certificate(next.raw));
          at = next;
        }
        socket.end();
        if (leaf) resolve({ protocol, leaf, chain });
        else reject(new Error('it presents no certificate'));
      },
    );
    socket.setTimeout(TIMEOUT_MS, () =>
      socket.destroy(Object.assign(new Error('no answer in time'), { code: 'ETIMEDOUT' })),
    );
    socket.once('error', reject);
  });
}
