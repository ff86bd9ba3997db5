import { CertificateAuthority } from '../../certs/ca/certificate-authority.ts';
import type { UpstreamAuthority } from '../../contracts/upstream-relay.ts';
import { describeError, isSallyportError } from '../../core/errors.ts';
import { asUpstreamAuthority } from '../../gateway/relay.ts';
import { decodeJson, encodeJson } from '../../protocol/codec-json.ts';
import { createMessage } from '../../protocol/message.ts';
import { type CloudCore, CloudCores } from '../../relay/cloudcores.ts';
import { connectAs, type Dialled, type DialParts, dial } from '../../relay/dial.ts';
import { NodeCertificates } from '../../relay/node-certificates.ts';
import { type Finding, failure, ok, skipped, warning } from './finding.ts';
import { type Patient, secretOf } from './patient.ts';

/** A node that nobody has: CloudCore keeps one connection a node, and a real node shall not lose its own. */
const NODE = 'sallyport-doctor';
/** The one that EdgeCore names when it is not told another. */
const PROJECT = 'e632aba927ea4ac2b575ec1603d56f10';
/** Time for the answer to one question, and for a handshake with a tunnel, milliseconds. */
const PATIENCE_MS = 10_000;

/** Each CloudCore of the configuration lets a node in, and answers it. */
export async function checkUpstream(
  patient: Pick<Patient, 'config' | 'clock' | 'secrets'>,
): Promise<Finding[]> {
  const { upstream, certificates } = patient.config;
  if (upstream.kind === 'none')
    return [skipped('upstream', 'no CloudCore behind the gateway', 'upstream.kind is none')];
  const caSecret = upstream.caSecret ?? certificates.caSecret;
  const authority = authorityOf(patient, caSecret);
  if (authority === undefined)
    return [skipped('upstream', 'no CloudCore can be asked', `the CA in Secret ${caSecret} cannot be read`)];
  const { clock } = patient;
  const parts = { clock, certificates: new NodeCertificates({ clock }), authorities: () => [authority] };
  const all = new CloudCores({ clock }, () => upstream).list();
  return (await Promise.all(all.map((one) => checkOne(parts, one)))).flat();
}

function authorityOf(
  { secrets, clock }: Pick<Patient, 'clock' | 'secrets'>,
  name: string,
): UpstreamAuthority | undefined {
  const secret = secretOf({ secrets }, name);
  try {
    return secret && asUpstreamAuthority(CertificateAuthority.fromSecret(secret, { clock }));
  } catch {
    // The check of the Secrets says what is wrong with it.
    return undefined;
  }
}

async function checkOne(parts: DialParts, cloudcore: CloudCore): Promise<Finding[]> {
  const { address, tunnelAddress } = cloudcore;
  const findings: Finding[] = [];
  try {
    const dialled = await dial(parts, {
      node: NODE,
      cloudcore,
      to: 'hub',
      path: `/${PROJECT}/${NODE}/events`,
      headers: { node_id: NODE, project_id: PROJECT, ConnectionUse: 'msg' },
      signal: new AbortController().signal,
    });
    const tookMs = await answerMs(parts, dialled);
    findings.push(
      tookMs === undefined
        ? warning('upstream', `CloudCore at ${address} lets a node in and does not answer it`, {
            detail: `no answer to a question within ${PATIENCE_MS / 1000} s`,
            hint: 'read the log of this CloudCore: it may not reach the API, or refuse the certificate without closing; restart it if it is stuck',
          })
        : ok('upstream', `CloudCore at ${address} answers a node`, `in ${Math.round(tookMs)} ms`),
    );
  } catch (error) {
    return [trouble(`CloudCore at ${address}`, error)];
  }
  if (tunnelAddress === undefined) return findings;
  try {
    // No further than TLS: CloudCore would look for the node of a tunnel.
    const signal = AbortSignal.timeout(PATIENCE_MS);
    const request = { node: NODE, cloudcore, to: 'tunnel', path: '', headers: {}, signal } as const;
    const stream = await connectAs(parts, request, parts.authorities()[0]!);
    stream.destroy();
    findings.push(ok('upstream', `the tunnel of CloudCore at ${tunnelAddress} can be reached`));
  } catch (error) {
    findings.push(trouble(`the tunnel of CloudCore at ${tunnelAddress}`, error));
  }
  return findings;
}

/** How long a question takes that every CloudCore answers; undefined without an answer. Ends it all. */
async function answerMs({ clock }: DialParts, { socket }: Dialled): Promise<number | undefined> {
  const route = { source: 'edged', group: 'meta', operation: 'query' };
  const question = createMessage({ ...route, resource: `kube-node-lease/lease/${NODE}` }, null, {
    now: clock.now(),
  });
  const startedAt = clock.monotonic();
  const answered = Promise.withResolvers<number | undefined>();
  const timer = clock.setTimeout(() => answered.resolve(undefined), PATIENCE_MS);
  socket.on('close', () => answered.resolve(undefined));
  socket.on('message', (data: Buffer) => {
    if (isAnswer(data, question.header.msg_id)) answered.resolve(clock.monotonic() - startedAt);
  });
  socket.send(encodeJson(question), { binary: false });
  try {
    return await answered.promise;
  } finally {
    timer.cancel();
    socket.close(1000);
    socket.terminate();
  }
}

function isAnswer(data: Buffer, id: string): boolean {
  try {
    return decodeJson(data).header.parent_msg_id === id;
  } catch {
    return false;
  }
}

/** What the names of a cluster are called where nobody knows them. */
const UNKNOWN_NAME = /ENOTFOUND|EAI_AGAIN/;

function trouble(what: string, error: unknown): Finding {
  const detail = describeError(error);
  if (UNKNOWN_NAME.test(detail))
    return warning('upstream', `${what} has a name that is not known here`, {
      detail,
      hint: 'run the doctor where the gateway runs, or correct upstream.addresses and upstream.tunnelAddresses',
    });
  if (isSallyportError(error, 'UPSTREAM_UNTRUSTED'))
    return failure('upstream', `${what} is not trusted`, {
      detail,
      hint: 'name the Secret of the CA that it has loaded in upstream.caSecret, or restart it when that CA is older than the Secret; put its address into the names of its certificate',
    });
  if (isSallyportError(error, 'UPSTREAM_REFUSED'))
    return failure('upstream', `${what} refuses a node`, {
      detail,
      hint: 'read its log: it has to trust the CA of upstream.caSecret, and to have room for one node more',
    });
  return failure('upstream', `${what} cannot be reached`, {
    detail,
    hint: 'check upstream.addresses and upstream.tunnelAddresses, that it runs, and that a NetworkPolicy lets the gateway through',
  });
}
