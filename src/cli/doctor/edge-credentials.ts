import { createPrivateKey, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { FACTS_HEADER, parseFacts } from '../../protocol/peer-facts.ts';
import { fixOf } from '../../protocol/rejection-reasons.ts';
import { shortDuration } from '../output.ts';
import type { EdgeTarget } from './edge-target.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { httpsGet } from './https-get.ts';

/** A node renews at 70 to 90 % of its certificate's life. */
const LEAST_LIFE = 1 / 20;

/** The node's certificate by itself, then what the hub says to it. */
export async function checkCredentials(
  target: EdgeTarget,
  address: string | undefined,
  clock: Clock,
): Promise<Finding[]> {
  const { credentials } = target;
  if (!credentials)
    return [
      skipped('edge-certificate', 'certificate of the node', 'give --state FOLDER, or --cert and --key'),
    ];
  const { from, certificate, key, problem } = credentials;
  if (certificate === undefined || key === undefined)
    return [
      failure('edge-certificate', `no certificate of a node in ${from}`, {
        detail: problem ?? 'key or certificate is missing',
        hint: 'join with a token from `sallyport token create`',
      }),
    ];
  const own = lookAt({ from, certificate, key }, clock);
  if (own.broken || address === undefined) return [own.finding];
  return [own.finding, await askHub(target, address, { certificate, key })];
}

function lookAt(
  { from, certificate, key }: { from: string; certificate: string; key: string },
  clock: Clock,
): { finding: Finding; broken: boolean } {
  const hint = 'join again with a token from `sallyport token create`';
  let own: X509Certificate;
  try {
    own = new X509Certificate(certificate);
    if (!own.checkPrivateKey(createPrivateKey(key)))
      throw new Error('the key does not belong to the certificate');
  } catch (error) {
    const detail = describeError(error);
    return {
      broken: true,
      finding: failure('edge-certificate', `the certificate in ${from} is not usable`, { detail, hint }),
    };
  }
  const name = own.subject.replaceAll('\n', ', ');
  const [begin, end] = [own.validFromDate.getTime(), own.validToDate.getTime()];
  const leftMs = end - clock.now();
  const detail = `${name}, until ${own.validToDate.toISOString()}`;
  if (leftMs <= 0)
    return {
      broken: false,
      finding: failure(
        'edge-certificate',
        `the certificate of the node expired ${shortDuration(-leftMs)} ago`,
        {
          detail,
          hint: 'within the grace (certificates.graceDays of the hub) it renews by itself once; else join again with a token',
        },
      ),
    };
  const left = `the certificate of the node is good for ${shortDuration(leftMs)}`;
  if (leftMs < (end - begin) * LEAST_LIFE)
    return {
      broken: false,
      finding: warning('edge-certificate', left, {
        detail,
        hint: 'it should have been renewed: see the log of the node, and whether the HTTPS port of the hub can be reached',
      }),
    };
  return { broken: false, finding: ok('edge-certificate', left, name) };
}

/**
 * A plain request on the WebSocket port changes nothing, and is answered with the verdict on the certificate.
 */
async function askHub(
  { host, websocketPort: port }: EdgeTarget,
  address: string,
  pair: { certificate: string; key: string },
): Promise<Finding> {
  try {
    const { status, headers, body } = await httpsGet({
      host: address,
      port,
      path: '/',
      cert: pair.certificate,
      key: pair.key,
      ...(isIP(host) ? {} : { servername: host }),
    });
    if (status === 426) return ok('edge-accepted', 'the hub accepts the certificate of the node');
    const reason = String(headers['sallyport-reason'] ?? `status ${status}`);
    const { expectedIssuersSha256 } = parseFacts(String(headers[FACTS_HEADER] ?? ''));
    const expected = expectedIssuersSha256 ? `; it expects ${expectedIssuersSha256.join(' or ')}` : '';
    return failure('edge-accepted', `the hub refuses the certificate of the node: ${reason}`, {
      detail: `${body.toString('utf8').trim().slice(0, 400)}${expected}`,
      hint: fixOf(reason) ?? 'see docs/errors.md, section rejection reasons',
    });
  } catch (error) {
    return skipped('edge-accepted', 'what the hub says to it', describeError(error));
  }
}
