/**
 * Everything that reads bytes or text of somebody else's, in one list: what goes in, how it is read, and the
 * one kind of error it may throw. test/unit/decoders.test.ts feeds them; it fails when a decoder is missing.
 */
import 'reflect-metadata';
import { randomBytes, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { connect } from 'node:tls';
import { brotliCompressSync } from 'node:zlib';
import { headers } from '@nats-io/transport-node';
import { readBody } from '../../src/admin/request-body.ts';
import { decodeBackup } from '../../src/backup/backup-content.ts';
import { decodeEvent, decodeItem, decodeOutcome, decodeSent } from '../../src/bus/nats/nats-messages.ts';
import { decodeToken, Subjects } from '../../src/bus/nats/subjects.ts';
import { readClientTrust } from '../../src/certs/bundle/certificate-bundle.ts';
import { readHubCertificate } from '../../src/certs/bundle/hub-certificate.ts';
import { decodeRollover } from '../../src/certs/ca/rollover-codec.ts';
import { readCsr } from '../../src/certs/enrolment/csr.ts';
import { mintToken, verifyToken } from '../../src/certs/enrolment/enrolment-token.ts';
import { decodeTokenState } from '../../src/certs/enrolment/token-state-codec.ts';
import { decodeRevocations } from '../../src/certs/revocation/revocation-codec.ts';
import { parseAdvertisedNames } from '../../src/certs/x509/advertised-names.ts';
import { parseCertificates } from '../../src/certs/x509/certificate-chain.ts';
import { readPem } from '../../src/certs/x509/pem.ts';
import { parsePrivateKey } from '../../src/certs/x509/private-key.ts';
import { parseHostPort } from '../../src/cli/host-port.ts';
import { parseDuration } from '../../src/cli/output.ts';
import { loadConfig } from '../../src/config/load.ts';
import type { Secret } from '../../src/contracts/secret-store.ts';
import { DerReader } from '../../src/core/der.ts';
import { isSallyportError } from '../../src/core/errors.ts';
import { parseHealthQuery } from '../../src/core/health-report.ts';
import { readKeyIdentifier } from '../../src/core/key-identifier.ts';
import { decodeOwner } from '../../src/fleet/ownership-entry.ts';
import { decodeEntries, decodeReceipts, decodeServed } from '../../src/fleet/replica-entry.ts';
import { decodeHistory } from '../../src/history/node-history-codec.ts';
import { formProblem } from '../../src/identity/certificate-form.ts';
import { readNodeSubject } from '../../src/identity/subject.ts';
import { readServerName } from '../../src/listeners/client-hello.ts';
import { readProxyHeader } from '../../src/listeners/proxy-protocol.ts';
import {
  googleVersionNegotiation,
  readLongHeader,
  readShortDestination,
  versionNegotiation,
} from '../../src/listeners/quic/quic-packet.ts';
import { readRequestHead } from '../../src/listeners/websocket/request-head.ts';
import { asksForUpgrade, readUpgrade } from '../../src/listeners/websocket/upgrade-request.ts';
import { CapsuleGuard } from '../../src/listeners/webtransport/capsule-guard.ts';
import { parseClose } from '../../src/protocol/close-reasons.ts';
import {
  decodeFramed,
  decodeFramedInTurns,
  encodeFramed,
  FRAME_HEADER_BYTES,
  FrameDecoder,
} from '../../src/protocol/codec-framed.ts';
import { decodeJson, decodeJsonInTurns, encodeJson } from '../../src/protocol/codec-json.ts';
import { Content, readElements, readMembers } from '../../src/protocol/content.ts';
import { Message } from '../../src/protocol/message.ts';
import { parseFacts } from '../../src/protocol/peer-facts.ts';
import { parseHello, parseWelcome, readQuicClose } from '../../src/protocol/quic-control.ts';
import { createRenewRequest, readRenewRequest } from '../../src/protocol/renew-request.ts';
import { parseJoinToken } from '../../src/sdk/enrolment.ts';
import { parseRetryAfter } from '../../src/sdk/hub-request.ts';
import { readRefusal } from '../../src/sdk/transports/transport.ts';
import { parseSecret } from '../../src/secrets/kubernetes/kube-secret.ts';
import { parseSecretManifest } from '../../src/secrets/secret-manifest.ts';
import { upgradeRequest } from './edges/raw-edge.ts';
import { makeCsr } from './pki/csr.ts';
import { mintCa, mintEdge, mintServer } from './pki/pki.ts';
import { temporaryFolder } from './temporary-folder.ts';

export interface Decoder {
  /** Names of the functions in src/ that it calls. */
  readonly names: readonly string[];
  /** What such a thing looks like when it is right. */
  readonly samples: readonly (Uint8Array | string)[];
  /** Longest input that reaches it, bytes. */
  readonly maxBytes: number;
  readonly decode: (input: Buffer) => unknown;
  /** Processor time it may take, milliseconds; 50, when it is left out. */
  readonly maxCpuMs?: number;
  /** Whether it may throw this. Nothing, when it is left out. */
  readonly mayThrow?: (error: unknown) => boolean;
}

const GOOD_KEY = [
  ['sec-websocket-version', '13'],
  ['sec-websocket-key', 'AAAAAAAAAAAAAAAAAAAAAA=='],
] as const;
const ours = (error: unknown) => isSallyportError(error);
const KB = 1024;

/** @returns name → decoder */
export async function allDecoders(): Promise<Readonly<Record<string, Decoder>>> {
  const now = Date.UTC(2026, 10, 28);
  const ca = await mintCa();
  const server = await mintServer(ca);
  const edge = await mintEdge(ca, 'edge-1');
  const csr = await makeCsr();
  const message = new Message(
    { msg_id: 'a-1', parent_msg_id: 'b', timestamp: now, sync: true, resourceversion: '5' },
    { source: 'edged', group: 'resource', operation: 'update', resource: 'default/pod/x' },
    Content.of({ items: [1, { name: 'é\n' }] }),
  );
  const json = encodeJson(message);
  const elements = Buffer.concat([Buffer.from('['), json, Buffer.from(', '), json, Buffer.from(']')]);
  const batch = Buffer.concat([Buffer.from('{"items":'), elements, Buffer.from('}')]);
  const renew = encodeJson(createRenewRequest({ reason: 'ca-rollover', serial: '0A', withinMs: 5 }, { now }));
  const framed = Buffer.from(encodeFramed(message));
  const ownKey = randomBytes(32);
  const { token } = await mintToken({ key: ownKey, caSha256: ca.sha256, epoch: 0, now, ttlMs: 60_000 });
  const subjects = new Subjects('sallyport');
  const folder = temporaryFolder();
  const sec1 = server.privateKey.export({ type: 'sec1', format: 'der' });
  const secretOf = (key: string, bytes: Uint8Array): Secret =>
    ({ name: 's', data: { [key]: bytes } }) as Secret;
  const text = (input: Buffer) => input.toString('utf8');
  const line = (input: Buffer) => input.toString('latin1');
  const object = (input: Buffer): unknown => {
    try {
      return JSON.parse(text(input));
    } catch {
      return text(input);
    }
  };
  const stored = JSON.stringify;
  const entry = { replica: 'r', aliveAt: 1, revocation: { version: 1, appliedAt: 1 }, rollover: 0 };
  const history = {
    ...{ format: 1, issuers: [ca.sha256], replicas: ['r'], names: ['edge-1'] },
    ...{ certificates: [['0A', 0, 1, 1]], firstSeen: [1], lastSeen: [1], transports: [0], replicaOf: [0] },
    ...{ absences: [[1, 2]], issued: {}, forgotten: { 'edge-2': 5 } },
  };
  const manifest = `apiVersion: v1\nkind: Secret\nmetadata:\n  name: s\ntype: Opaque\ndata:\n  a: ${ca.der.toString('base64')}\n`;
  return {
    'a message over WebSocket': {
      ...{ names: ['decodeJson'], samples: [json], maxBytes: 256 * KB, mayThrow: ours },
      decode: (input) => decodeJson(input),
    },
    'a large message over WebSocket': {
      ...{ names: ['decodeJsonInTurns'], samples: [json], maxBytes: 1024 * KB, mayThrow: ours },
      decode: (input) => decodeJsonInTurns(input),
    },
    'members of an object': {
      ...{ names: ['readMembers', 'readBody'], samples: [json, batch], maxBytes: 256 * KB, mayThrow: ours },
      decode: (input) => [readMembers(input), readBody(input)],
    },
    'elements of an array': {
      ...{ names: ['readElements'], samples: [elements], maxBytes: 256 * KB, mayThrow: ours },
      decode: (input) => readElements(new Content(Buffer.from(input))),
    },
    'a request to renew': {
      ...{ names: ['readRenewRequest'], samples: [renew], maxBytes: 16 * KB, mayThrow: ours },
      decode: (input) => readRenewRequest(decodeJson(input)),
    },
    'a stream of frames': {
      ...{
        names: [],
        samples: [framed, Buffer.concat([framed, framed])],
        maxBytes: 256 * KB,
        mayThrow: ours,
      },
      decode: (input) => new FrameDecoder({ maxMessageBytes: 64 * KB }).push(input, () => {}),
    },
    'a framed message': {
      ...{ names: ['decodeFramed'], samples: [framed.subarray(FRAME_HEADER_BYTES)], maxBytes: 256 * KB },
      ...{ mayThrow: ours, decode: (input: Buffer) => decodeFramed(input) },
    },
    'a large framed message': {
      ...{
        names: ['decodeFramedInTurns'],
        samples: [framed.subarray(FRAME_HEADER_BYTES)],
        maxBytes: 1024 * KB,
      },
      ...{ mayThrow: ours, decode: (input: Buffer) => decodeFramedInTurns(input) },
    },
    'a hello': {
      names: ['parseHello'],
      samples: [stored({ node_id: 'edge-1', project_id: 'p', agent: 'a' })],
      ...{ maxBytes: 16 * KB, mayThrow: ours, decode: (input: Buffer) => parseHello(input) },
    },
    'a welcome': {
      names: ['parseWelcome'],
      samples: [stored({ session: 's', epoch: 'e', max_message_bytes: 1 })],
      ...{ maxBytes: 16 * KB, mayThrow: ours, decode: (input: Buffer) => parseWelcome(input) },
    },
    'the end of a connection': {
      names: ['parseClose', 'readQuicClose', 'parseFacts'],
      samples: ['Revoked: revoked: x [hub-time="2026-01-01T00:00:00Z"] reconnectAfterMs=5'],
      maxBytes: 16 * KB,
      decode: (input) => [
        parseClose(4_001, text(input)),
        readQuicClose(4_001, text(input)),
        parseFacts(text(input)),
      ],
    },
    'a refusal': {
      names: ['readRefusal', 'parseRetryAfter'],
      ...{ samples: ['revoked', '120'], maxBytes: 8 * KB },
      decode: (input) => [
        readRefusal({ word: text(input), status: 403, detail: '' }),
        parseRetryAfter(text(input)),
      ],
    },
    'the head of a request': {
      names: ['readRequestHead'],
      samples: [upgradeRequest('edge-1')],
      maxBytes: 64 * KB,
      decode: (input) => {
        const head = readRequestHead(input);
        return head?.ok && [asksForUpgrade(head.fields), readUpgrade(head)];
      },
    },
    'an upgrade': {
      names: ['readUpgrade'],
      samples: ['/e632aba927ea4ac2b575ec1603d56f10/edge-1/events'],
      maxBytes: 16 * KB,
      decode: (input) => {
        const names = ['user-agent', 'node_id', 'project_id', 'upgrade', 'connection'];
        const fields = new Map([...GOOD_KEY, ...names.map((name) => [name, line(input)] as const)]);
        return [asksForUpgrade(fields), readUpgrade({ target: line(input), fields })];
      },
    },
    'the first bytes of a handshake': {
      names: ['readServerName'],
      samples: [await clientHello('hub.example.com')],
      ...{ maxBytes: 32 * KB, decode: readServerName },
    },
    'the header of a balancer': {
      names: ['readProxyHeader'],
      samples: [
        'PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n',
        'PROXY TCP6 fd00::1 fd00::2 1 2\r\n',
        Buffer.from('0d0a0d0a000d0a515549540a2111000c0a0000010a00000200010002', 'hex'),
      ],
      ...{ maxBytes: 8 * KB, decode: (input: Buffer) => readProxyHeader(input) },
    },
    'a datagram': {
      names: ['readLongHeader', 'readShortDestination'],
      samples: [
        Buffer.concat([
          Buffer.from('c300000001080102030405060708080102030405060708', 'hex'),
          Buffer.alloc(1_177),
        ]),
        Buffer.concat([Buffer.from('ff5130343450010203040506070800000001', 'hex'), Buffer.alloc(1_054)]),
        Buffer.concat([Buffer.from('09010203040506070851303433', 'hex'), Buffer.alloc(60)]),
      ],
      maxBytes: 1_500,
      decode: (input) => [
        readLongHeader(input),
        readShortDestination(input, 8),
        versionNegotiation(input),
        googleVersionNegotiation(input),
      ],
    },
    'capsules of WebTransport': {
      names: [],
      samples: [Buffer.from('990b4d3b040161626399 0b4d3801 00'.replaceAll(' ', ''), 'hex')],
      ...{ maxBytes: 64 * KB, decode: (input: Buffer) => new CapsuleGuard().check(input) },
    },
    'a subject': {
      names: ['readNodeSubject'],
      samples: ['O=system:nodes\nCN=system:node:edge-1', 'C=CN\nO=KubeEdge\nCN=kubeedge.io'],
      ...{ maxBytes: 16 * KB, decode: (input: Buffer) => readNodeSubject(text(input)) },
    },
    'the form of a certificate': {
      names: [],
      // A key that OpenSSL cannot read. The one gate takes whatever is thrown for a refusal.
      ...{ samples: [ca.der, edge.der], maxBytes: 64 * KB, mayThrow: (error) => error instanceof Error },
      decode: (input) => {
        let certificate: X509Certificate;
        try {
          certificate = new X509Certificate(input);
        } catch {
          // TLS refuses it before it comes to us.
          return undefined;
        }
        return [true, false].map((isLeaf) => formProblem(certificate, { isLeaf }));
      },
    },
    'elements of DER': {
      ...{ names: [], samples: [ca.der], maxBytes: 64 * KB, mayThrow: (error) => error instanceof Error },
      decode: (input) => {
        for (const reader = new DerReader(input).enter(); !reader.isAtEnd; ) reader.next(reader.tag!);
      },
    },
    'the key identifier of a certificate': {
      ...{ names: ['readKeyIdentifier'], samples: [ca.der], maxBytes: 64 * KB },
      ...{
        mayThrow: (error: unknown) => error instanceof Error,
        decode: (input: Buffer) => readKeyIdentifier(input),
      },
    },
    certificates: {
      ...{ names: ['parseCertificates'], samples: [ca.der, ca.pem + server.pem], maxBytes: 64 * KB },
      ...{ mayThrow: ours, decode: (input: Buffer) => parseCertificates(input, 'it') },
    },
    'a private key': {
      ...{ names: ['parsePrivateKey'], samples: [sec1, server.key], maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) => parsePrivateKey(input, 'it'),
    },
    PEM: {
      ...{ names: ['readPem'], samples: [ca.pem + server.key], maxBytes: 64 * KB },
      decode: (input) => readPem(input),
    },
    'a certificate request': {
      ...{ names: ['readCsr'], samples: [csr], maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) => readCsr(input, { forbiddenKeys: [ca.certificate.publicKey] }),
    },
    'a token at the hub': {
      ...{ names: [], samples: [token, token.slice(65)], maxBytes: 16 * KB, mayThrow: ours },
      decode: (input) => verifyToken(text(input), { ownKey, kubeEdgeKey: sec1, caSha256: [ca.sha256], now }),
    },
    'a token at the edge': {
      ...{ names: ['parseJoinToken'], samples: [token], maxBytes: 16 * KB, mayThrow: ours },
      decode: (input) => parseJoinToken(text(input)),
    },
    'addresses of a hub': {
      names: ['parseAdvertisedNames'],
      samples: ['hub.example.com', '[fd00::1]', '10.0.0.1'],
      ...{
        maxBytes: 16 * KB,
        mayThrow: ours,
        decode: (input: Buffer) => parseAdvertisedNames([text(input)]),
      },
    },
    'a duration': {
      ...{ names: ['parseDuration'], samples: ['90s', '1.5h'], maxBytes: 8 * KB },
      decode: (input) => parseDuration(text(input)),
    },
    'a host and its port': {
      ...{
        names: ['parseHostPort'],
        samples: ['hub.example:10000', '[::1]:1', '127.0.0.1'],
        maxBytes: 8 * KB,
      },
      decode: (input) => parseHostPort(text(input)),
    },
    'the query of a probe': {
      ...{
        names: ['parseHealthQuery'],
        samples: [stored({ verbose: '', exclude: ['a'] })],
        maxBytes: 16 * KB,
      },
      decode: (input) => parseHealthQuery(object(input)),
    },
    'the configuration': {
      names: [],
      samples: [
        'apiVersion: sallyport/v1\nkind: Gateway\nhub:\n  nodeLimit: 5\nadvertise:\n  addresses: [a, &x b, *x]\n',
      ],
      // A file of the operator, and a library for YAML.
      ...{ maxBytes: 2 * KB, mayThrow: ours, maxCpuMs: 500 },
      decode: (input) => {
        const file = join(folder, 'gateway.yaml');
        writeFileSync(file, input);
        return loadConfig({ file });
      },
    },
    'the manifest of a Secret': {
      ...{
        names: ['parseSecretManifest'],
        samples: [manifest],
        maxBytes: 4 * KB,
        mayThrow: ours,
        maxCpuMs: 500,
      },
      decode: (input) => parseSecretManifest(input, { name: 's', file: 's.yaml' }),
    },
    'a Secret of the API': {
      names: ['parseSecret'],
      samples: [stored({ metadata: { name: 's', resourceVersion: '1' }, data: { a: 'YQ==' } })],
      ...{ maxBytes: 64 * KB, mayThrow: ours, decode: (input: Buffer) => parseSecret(object(input), 's') },
    },
    'the trust Secret': {
      ...{ names: ['readClientTrust'], samples: [ca.pem, ca.der], maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) => readClientTrust(secretOf('ca.crt', input)),
    },
    'the hub Secret': {
      ...{
        names: ['readHubCertificate'],
        samples: [server.der, server.pem],
        maxBytes: 64 * KB,
        mayThrow: ours,
      },
      decode: (input) =>
        readHubCertificate({
          name: 's',
          data: { cloudcoredata: input, cloudcorekeydata: sec1 },
        } as unknown as Secret),
    },
    'the state of a rollover': {
      names: ['decodeRollover'],
      samples: [stored({ format: 1, version: 1, phase: 'idle', wasActive: false, asking: false, steps: [] })],
      ...{ maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) => decodeRollover(secretOf('rollover.json', input)),
    },
    'the list of revocations': {
      names: ['decodeRevocations'],
      samples: [
        stored({
          ...{ format: 1, version: 2, issuers: [ca.sha256] },
          entries: [
            { v: 1, n: 'edge-1', r: 1, t: 5, b: 'me', c: [['A', 0]] },
            { v: 2, s: 'B', r: 1, t: 5, b: 'me' },
          ],
        }),
      ],
      ...{ maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) => decodeRevocations(secretOf('revocations.json', input)),
    },
    'the state of tokens': {
      names: ['decodeTokenState'],
      samples: [stored({ epoch: 1, revokedAt: 0, usedTokens: { a: 1 }, renewedCertificates: {} })],
      ...{ maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) =>
        decodeTokenState({ name: 's', data: { hmacKey: ownKey, 'state.json': input } } as unknown as Secret),
    },
    'used tokens, packed': {
      ...{ names: [], samples: [randomBytes(64)], maxBytes: 64 * KB, mayThrow: ours },
      decode: (input) =>
        decodeTokenState({
          name: 's',
          data: {
            hmacKey: ownKey,
            'state.json': Buffer.from('{"epoch":1,"revokedAt":0,"usedTokens":{},"renewedCertificates":{}}'),
            'used-tokens.bin': input,
          },
        } as unknown as Secret),
    },
    'the history of nodes': {
      ...{ names: ['decodeHistory'], samples: [stored(history)], maxBytes: 32 * KB },
      // By whoever may write Secrets; a history that cannot be read is kept aside, whatever is wrong with it.
      mayThrow: (error) => error instanceof Error,
      decode: (input) => decodeHistory(brotliCompressSync(input)),
    },
    'the board of replicas': {
      names: ['decodeEntries', 'decodeReceipts', 'decodeServed'],
      samples: [stored({ run: { ...entry, closed: [], served: [] } })],
      maxBytes: 64 * KB,
      decode: (input) => [decodeEntries(input), decodeReceipts(input), decodeServed(input, now)],
    },
    'the owner of a node': {
      names: ['decodeOwner'],
      samples: [stored({ r: 'r', u: 'u', s: 's', t: 'websocket', a: 1, c: 1, m: 1 })],
      ...{ maxBytes: 64 * KB, decode: (input: Buffer) => decodeOwner(text(input), 1) },
    },
    'a message in NATS': {
      ...{ names: ['decodeItem'], samples: [json], maxBytes: 256 * KB, mayThrow: ours },
      decode: (input) => decodeItem('edge-1', { data: input, headers: headers() }, () => true),
    },
    'an event in NATS': {
      names: ['decodeEvent', 'decodeSent', 'decodeToken'],
      samples: [json, stored({ event_type: 'connected', session: 's', at: 1, transport: 'quic' })],
      maxBytes: 256 * KB,
      decode: (input) => [
        ...[subjects.presence('edge-1'), subjects.up('edge-1', message.route)].map((subject) =>
          decodeEvent(subjects, { subject, data: input }),
        ),
        decodeSent(subjects, { subject: subjects.sent('edge-1'), data: input }),
        decodeToken(line(input)),
      ],
    },
    'an outcome in NATS': {
      names: ['decodeOutcome'],
      samples: [stored({ outcome: { kind: 'acknowledged', response: JSON.parse(text(json)) } })],
      ...{ maxBytes: 256 * KB, mayThrow: ours, decode: (input: Buffer) => decodeOutcome(input) },
    },
    'a backup': {
      names: ['decodeBackup'],
      samples: [
        stored({
          sallyport: {
            ...{ format: 1, createdAt: '2026-01-01', version: '1', location: 'x', missing: [] },
            roles: { s: 'ca' },
          },
          items: [{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'YQ==' } }],
        }),
      ],
      ...{ maxBytes: 4 * KB, mayThrow: ours, decode: (input: Buffer) => decodeBackup(input) },
    },
  };
}

/** What a client begins its handshake with. */
function clientHello(servername: string): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read() {},
      write(chunk: Buffer) {
        resolve(chunk);
        wire.destroy();
      },
    });
    connect({ socket: wire, servername }).on('error', () => {});
  });
}
