import { lazily } from '../core/lazily.ts';
import { DEFAULT_TLS_GROUPS, problemOfGroups } from '../core/tls-groups.ts';
import * as z from '../core/zod.ts';

/**
 * The whole configuration: shape, defaults, limits and documentation in one place. `docs/configuration.md`,
 * the JSON Schema and the README's table are generated from it. `live: true` marks what a running gateway
 * takes over without a restart.
 */
const live = { live: true } as const;
/** `.meta()` says the same, and copies the schema for it: half of what a command line costs us here. */
const docs = z.globalRegistry;

/** Not empty. Like the other parts, made once: each schema that is made costs a command line 0.1 ms. */
const text = z.string().min(1);
const anyCount = z.int().min(1);
const anyDuration = anyCount.max(2 ** 40);
const anyPort = z.int().min(0).max(65_535);
const anyDays = z.number().positive().max(36_500);

const duration = (
  defaultMs: number,
  what: string,
  limits: { min?: number; max?: number; live?: boolean } = {},
) => {
  const { min = 1, max = 2 ** 40 } = limits;
  const allowed = min === 1 && max === 2 ** 40 ? anyDuration : z.int().min(min).max(max);
  return allowed
    .default(defaultMs)
    .register(docs, { live: limits.live ?? true, description: `${what}, milliseconds` });
};
const count = (defaultValue: number, what: string, min = 1) =>
  (min === 1 ? anyCount : z.int().min(min))
    .default(defaultValue)
    .register(docs, { ...live, description: what });
/** A count that a running gateway does not take over. */
const fixed = (defaultValue: number, what: string) =>
  anyCount.default(defaultValue).register(docs, { description: what });
const file = (what: string) => text.optional().register(docs, { description: what });
const days = (defaultDays: number, what: string) =>
  anyDays.default(defaultDays).register(docs, { ...live, description: `${what}, days` });

const hostAndPort = z
  .string()
  .regex(/^(?:\[[0-9A-Fa-f:.]+\]|[^\s:/[\]]+):\d{1,5}$/, 'write host:port, an IPv6 address in brackets');

const natsServer = z
  .string()
  .regex(
    /^(?:(?:nats|tls):\/\/)?(?:\[[0-9A-Fa-f:.]+\]|[^\s:/[\]@"']+)(?::\d{1,5})?\/?$/,
    'write nats://host:port or tls://host:port, several with commas between; credentials have settings of their own',
  );

const endpointFields = (port: number, protocol: string, enabled: boolean) => ({
  enabled: z
    .boolean()
    .default(enabled)
    .register(docs, { description: `Whether to listen for ${protocol}` }),
  host: text.default('0.0.0.0').register(docs, { description: 'Address to bind' }),
  port: anyPort.default(port).register(docs, { description: `Port for ${protocol}; 0 takes a free one` }),
});

/** Where nobody sets anything, each field takes its default. */
const section = <S extends z.core.$ZodLooseShape>(fields: S) => z.strictObject(fields).prefault({} as never);

const endpoint = (port: number, protocol: string, enabled = true) =>
  section(endpointFields(port, protocol, enabled));

/**
 * The parts of a configuration. Each is built at its first use: a command line that looks for its Secrets
 * needs 6 of 170 settings, and to build all of them would cost it more CPU than what it then does.
 */
export const sections = lazily({
  apiVersion: () =>
    z
      .literal('sallyport/v1')
      .default('sallyport/v1')
      .register(docs, { description: 'Version of this format' }),
  kind: () =>
    z.literal('Gateway').default('Gateway').register(docs, { description: 'Kind of this document' }),

  advertise: () =>
    section({
      addresses: z
        .array(z.string())
        .default(['localhost', '127.0.0.1', '::1'])
        .register(docs, {
          ...live,
          description: 'Names and IP addresses that edges use; they become the SANs of the hub certificate',
        }),
    }),

  secretStore: () =>
    section({
      kind: z
        .enum(['directory', 'kubernetes'])
        .default('directory')
        .register(docs, { description: 'Where Secrets are kept' }),
      path: text
        .default('certs-dev')
        .register(docs, { description: 'Folder of the directory store, from the working directory' }),
      namespace: text.optional().register(docs, {
        description: 'Namespace of the Secrets; default: in a cluster that of the pod, else kubeedge',
      }),
      context: text.optional().register(docs, { description: 'Context of the kubeconfig' }),
      resyncMs: duration(60_000, 'Period of the full re-read that backs up the watch', {
        min: 50,
        live: false,
      }),
      requestTimeoutMs: duration(10_000, 'Longest wait for one call to the store', { live: false }),
    }),

  https: () => endpoint(10_002, 'HTTPS: enrolment, renewal, health'),
  websocket: () => endpoint(10_000, 'WebSocket'),
  quic: () =>
    section({
      ...endpointFields(10_001, 'QUIC', false),
      enabled: z
        .union([z.boolean(), z.literal('auto')], 'it is true, false or auto')
        .default('auto')
        .register(docs, {
          description: 'Whether to listen for QUIC; auto: where its library @currentspace/http3 is installed',
        }),
      connectionsPerServer: count(
        96,
        'Connections that one server of the QUIC library holds, roughly; with more of them a message costs more CPU',
        8,
      ),
    }),
  webtransport: () =>
    section({
      ...endpointFields(10_005, 'WebTransport', false),
      // The credit of a session is a 32-bit setting, and is not renewed; what may be under way stays in
      // reserve.
      sessionBytes: z
        .int()
        .min(64 * 1024)
        .max(2 ** 32 - 1 - 64 * 1024 * 1024)
        .default(3 * 1024 ** 3)
        .register(docs, {
          ...live,
          description: 'Bytes in either direction after which an edge is asked for a new session',
        }),
    }),
  tunnel: () => endpoint(10_004, "CloudCore's tunnel of kubectl logs and exec", false),
  admin: () =>
    section({
      enabled: z
        .boolean()
        .default(true)
        .register(docs, { description: 'Whether to listen for the admin API and metrics' }),
      host: text.default('127.0.0.1').register(docs, { description: 'Address to bind' }),
      port: z
        .int()
        .min(0)
        .max(65_535)
        .default(10_010)
        .register(docs, { description: 'Port of the admin API; 0 takes a free one' }),
    }),

  tls: () =>
    section({
      minVersion: z
        .enum(['TLSv1.2', 'TLSv1.3'])
        .default('TLSv1.2')
        .register(docs, { description: 'Oldest TLS version accepted' }),
      ciphers: z
        .string()
        .optional()
        .register(docs, { description: 'OpenSSL cipher list for TLS 1.2; default: ECDHE with AEAD' }),
      groups: z
        .string()
        .superRefine((groups, context) => {
          const message = problemOfGroups(groups);
          if (message !== undefined) context.addIssue({ code: 'custom', message });
        })
        .default(DEFAULT_TLS_GROUPS)
        .register(docs, {
          description:
            'Groups for the key exchange of TLS, the preferred first; the default is post-quantum where the client can',
        }),
    }),

  identity: () =>
    section({
      allowLegacy: z
        .boolean()
        .default(false)
        .register(docs, {
          ...live,
          description:
            'Let in certificates of old KubeEdge fleets that name no node, and believe their node_id header',
        }),
      legacyNodes: z
        .record(z.string(), z.string())
        .default({})
        .register(docs, {
          ...live,
          description: 'Serial (hexadecimal) of a certificate that names no node → the node it belongs to',
        }),
    }),

  certificates: () =>
    section({
      caSecret: text.default('casecret').register(docs, { description: 'Secret of the CA' }),
      hubSecret: text
        .default('cloudcoresecret')
        .register(docs, { description: 'Secret of the hub certificate' }),
      hubSecretManaged: z.boolean().default(true).register(docs, {
        description:
          'False when somebody else (cert-manager) owns the hub Secret: the gateway then follows it and never writes it',
      }),
      trustSecret: text
        .default('sallyport-trust')
        .register(docs, { description: 'Secret of further CAs whose edges are accepted; optional' }),
      revocationSecret: text
        .default('sallyport-revocations')
        .register(docs, { description: 'Secret of revoked and quarantined nodes and certificates' }),
      backupSecret: text
        .default('sallyport-backup')
        .register(docs, { description: 'Secret that records when the last backup was made' }),
      rolloverSecret: text.default('sallyport-rollover').register(docs, {
        description: 'Secret of the state of a CA rollover; it also holds the new CA while there is one',
      }),
      historySecret: text.default('sallyport-history').register(docs, {
        description: 'Secret of the history of nodes: certificates, last contacts, absences',
      }),
      historyShards: z.int().min(0).max(64).default(16).register(docs, {
        description:
          'Further Secrets over which the history is spread when one is full, named like it with -1, -2 …; the Role has to name them; never lower it',
      }),
      historySyncMs: duration(
        300_000,
        'How often the history of nodes is read from other replicas, and stored when something in it is new',
        { min: 50, live: false },
      ),
      replicaSecret: text.default('sallyport-replicas').register(docs, {
        description:
          'Secret in which replicas tell each other that they live, what they know and what they serve',
      }),
      servedCheckMs: duration(60_000, 'How often a handshake checks which certificate each listener serves', {
        min: 50,
        live: false,
      }),
      returnNodes: z
        .int()
        .min(0)
        .default(3)
        .register(docs, {
          ...live,
          description:
            'Nodes that a new hub certificate has to cut off before the previous one returns by itself; 0: it never returns',
        }),
      returnWindowMs: duration(
        600_000,
        'How long after a swap the previous hub certificate may return by itself',
      ),
      caDays: days(3_650, 'Lifetime of a new CA'),
      hubDays: days(90, 'Lifetime of a new hub certificate'),
      edgeDays: days(365, 'Lifetime of a new edge certificate'),
      renewFraction: z
        .number()
        .min(0.1)
        .max(0.95)
        .default(2 / 3)
        .register(docs, {
          ...live,
          description: 'Part of its life after which the hub certificate is renewed',
        }),
      backdateMs: duration(3_600_000, 'How far back notBefore is set, for edges with slow clocks', {
        min: 0,
      }),
      graceDays: z
        .number()
        .min(0)
        .max(3_650)
        .default(30)
        .register(docs, {
          ...live,
          description: 'Days after expiry in which a known edge certificate may be renewed once',
        }),
      allowServerAuth: z
        .boolean()
        .default(false)
        .register(docs, {
          ...live,
          description: 'Let edge nodes ask for serverAuth besides clientAuth (ExtKeyUsages header)',
        }),
      checkMs: duration(60_000, 'Period of the validity check', { min: 50, live: false }),
    }),

  tokens: () =>
    section({
      fleetSecret: text
        .default('tokensecret')
        .register(docs, { description: "Secret of the fleet token; the default is KubeEdge's name" }),
      stateSecret: text
        .default('sallyport-tokens')
        .register(docs, { description: 'Secret of the token key, used tokens and revocations' }),
      fleetTtlMs: duration(24 * 3_600_000, 'Lifetime of the fleet token', { min: 1000 }),
      nodeTtlMs: duration(3_600_000, 'Default lifetime of a token for one node', { min: 1000 }),
      acceptFleet: z
        .boolean()
        .default(true)
        .register(docs, {
          ...live,
          description: 'Accept the fleet token, with which any node name can be enrolled',
        }),
      acceptKubeEdge: z
        .boolean()
        .default(true)
        .register(docs, {
          ...live,
          description: 'Accept tokens signed with the CA key, as CloudCore mints them',
        }),
      allowReplaceConnected: z
        .boolean()
        .default(false)
        .register(docs, {
          ...live,
          description: 'Let a token join replace a node that is connected now (replaced hardware)',
        }),
    }),

  hub: () =>
    section({
      replica: text
        .optional()
        .register(docs, { description: 'Name of this replica; default: the host name' }),
      nodeLimit: count(20_000, 'Nodes with a session at once'),
      keepaliveTimeoutMs: duration(30_000, 'Silence after which a session ends', { min: 100 }),
      maxMessageBytes: count(16 * 1024 * 1024, 'Largest message, bytes', 1024),
      maxMessageDepth: count(
        1_000,
        'How deep arrays and objects in a message may nest; programs that parse it are safe up to about 5,000',
      ),
      maxMessageValues: count(
        1_000_000,
        'JSON values in one message; whoever parses it needs about 100 bytes for each',
      ),
      ackTimeoutMs: duration(5_000, 'Wait for an acknowledgement before sending again'),
      ackRetries: count(4, 'Times a message is sent again before it is parked', 0),
      window: count(32, 'Downstream messages under way at once, a node'),
      maxPendingUpstream: count(
        64,
        'Upstream messages of a connection that may wait for the bus; beyond that the connection is not read',
      ),
      rate: section({
        messages: count(1_000, 'Messages a second that one node may send; beyond that it is read slowly'),
        bytes: count(
          4 * 1024 * 1024,
          'Bytes of messages a second that one node may send; beyond that it is read slowly',
          1_024,
        ),
        burstMs: duration(10_000, 'Time whose messages and bytes a node may save up and send at once', {
          min: 0,
        }),
      }),
      queue: section({
        messagesPerNode: count(1_000, 'Downstream messages waiting for one node'),
        bytesPerNode: count(32 * 1024 * 1024, 'Downstream bytes waiting for one node'),
        messages: count(100_000, 'Downstream messages waiting in all'),
        bytes: count(256 * 1024 * 1024, 'Downstream bytes waiting in all'),
        ttlMs: duration(24 * 3_600_000, 'How long a message waits for its node'),
        events: count(
          1_000,
          'Upstream events kept for followers that return; each one costs memory and garbage collection',
        ),
        eventBytes: count(32 * 1024 * 1024, 'Bytes of upstream events kept for followers that return'),
      }),
      flapWindowMs: duration(600_000, 'Window in which take-overs of a session that is alive are counted'),
      flapThreshold: count(6, 'Take-overs within the window that make a node count as flapping'),
      nodeMetrics: z
        .boolean()
        .default(false)
        .register(docs, {
          ...live,
          description:
            'Publish for each connected node, from its next connect on, a metric that says when its certificate ends',
        }),
      expiryGraceMs: duration(60_000, 'How long a session may outlive its certificate or CA', { min: 0 }),
    }),

  bus: () =>
    section({
      kind: z.enum(['local', 'nats']).default('local').register(docs, {
        description:
          'local: this process alone carries the messages; nats: any number of replicas share them',
      }),
      nats: section({
        servers: z.array(natsServer).min(1).default(['nats://127.0.0.1:4222']).register(docs, {
          description: 'NATS servers, `nats://host:port` or `tls://host:port`, without credentials',
        }),
        prefix: z
          .string()
          .regex(/^[A-Za-z0-9_-]{1,32}$/)
          .default('sallyport')
          .register(docs, {
            description: 'First token of every subject, and of the names of streams and buckets',
          }),
        credsFile: file('Credentials of NATS (JWT and seed), read again at each connect'),
        tokenFile: file(
          'File that holds only the token for NATS; or set the environment variable NATS_TOKEN',
        ),
        user: text.optional().register(docs, { description: 'User name at NATS' }),
        passwordFile: file(
          'File that holds only the password of that user; or set the environment variable NATS_PASSWORD',
        ),
        tls: section({
          caFile: file('CAs that the NATS servers are verified against, PEM'),
          certFile: file('Client certificate for NATS, PEM'),
          keyFile: file('Key of that certificate, PEM'),
        }),
        replicas: z.int().min(1).max(5).default(1).register(docs, {
          description: 'Copies that JetStream keeps of each stream and bucket; 3 on a cluster of three',
        }),
        requestTimeoutMs: duration(5_000, 'Longest wait for one answer of NATS', { min: 50, live: false }),
        holdMs: duration(10_000, 'How long an upstream message waits for NATS before it is given up', {
          min: 50,
          live: false,
        }),
        sweepMs: duration(30_000, 'Period of the search for messages that were announced to nobody', {
          min: 50,
          live: false,
        }),
        limits: section({
          upstreamMessages: fixed(1_000_000, 'Upstream messages kept for cloud programs'),
          upstreamBytes: fixed(1024 ** 3, 'Upstream bytes kept for cloud programs'),
          upstreamAgeMs: duration(24 * 3_600_000, 'How long upstream messages are kept', { live: false }),
          downstreamMessages: fixed(1_000_000, 'Downstream messages waiting in all'),
          downstreamBytes: fixed(1024 ** 3, 'Downstream bytes waiting in all'),
          downstreamAgeMs: duration(24 * 3_600_000, 'How long a message waits for its node', {
            live: false,
          }),
          messagesPerNode: fixed(1_000, 'Downstream messages waiting for one node'),
          duplicateWindowMs: duration(120_000, 'Window in which a message id is taken once', {
            min: 100,
            live: false,
          }),
          inFlightMessages: fixed(10_000, 'Messages of this replica that NATS has not confirmed yet'),
          inFlightBytes: fixed(
            64 * 1024 ** 2,
            'Bytes of messages of this replica that NATS has not confirmed yet',
          ),
          outcomes: fixed(100_000, 'Senders of this replica that wait to hear what became of a message'),
        }),
      }),
    }),

  upstream: () =>
    z
      .strictObject({
        kind: z.enum(['none', 'cloudcore']).default('none').register(docs, {
          description: 'cloudcore: each node is connected to a CloudCore behind the gateway, as that node',
        }),
        addresses: z
          .array(hostAndPort)
          .default([])
          .register(docs, {
            ...live,
            description: 'Hubs of the CloudCores, `host:port`, usually port 10000',
          }),
        tunnelAddresses: z
          .array(hostAndPort)
          .default([])
          .register(docs, {
            ...live,
            description:
              'Tunnels of the same CloudCores in the same order, `host:port`, usually port 10004; for kubectl logs and exec',
          }),
        httpsAddresses: z
          .array(hostAndPort)
          .default([])
          .register(docs, {
            ...live,
            description:
              'HTTPS servers of the same CloudCores in the same order, `host:port`, usually port 10002; for what nodes report about upgrades',
          }),
        caSecret: text.optional().register(docs, {
          description: 'Secret of the CA that the CloudCores have loaded; default: certificates.caSecret',
        }),
        holdMs: duration(300_000, 'How long nodes may be without CloudCore before /readyz fails'),
        copy: z
          .boolean()
          .default(false)
          .register(docs, {
            ...live,
            description: 'Copy what nodes say to CloudCore to the bus, for cloud programs',
          }),
      })
      .refine(({ kind, addresses }) => kind === 'none' || addresses.length > 0, {
        path: ['addresses'],
        message: 'upstream.kind is cloudcore, so at least one host:port is needed',
      })
      .refine(({ addresses, tunnelAddresses }) => [0, addresses.length].includes(tunnelAddresses.length), {
        path: ['tunnelAddresses'],
        message: 'name one tunnel for each of upstream.addresses, or none',
      })
      .refine(({ addresses, httpsAddresses }) => [0, addresses.length].includes(httpsAddresses.length), {
        path: ['httpsAddresses'],
        message: 'name one HTTPS server for each of upstream.addresses, or none',
      })
      .prefault({}),

  limits: () =>
    section({
      connections: count(25_000, 'Open sockets a listener'),
      connectionsPerIp: count(
        20_000,
        'Open sockets of one address a listener; behind a balancer all edges share its address',
      ),
      handshakes: count(256, 'TLS handshakes under way at once a listener'),
      handshakeTimeoutMs: duration(10_000, 'Time for the TLS handshake'),
      requestTimeoutMs: duration(10_000, 'Time for a whole HTTP request or upgrade'),
      writeTimeoutMs: duration(30_000, 'Time in which a peer must take what is written to it'),
      bodyBytes: count(64 * 1024, 'Largest HTTP request body, bytes'),
      enrolmentsPerMinutePerIp: count(120, 'Requests for a certificate a minute from one address'),
      enrolmentsPerMinute: count(6_000, 'Requests for a certificate a minute in all'),
      proxyProtocolFrom: z
        .array(z.string())
        .default([])
        .register(docs, { description: 'CIDRs of balancers whose PROXY protocol header is believed' }),
      drainMs: duration(5_000, 'Window over which sessions are closed at shutdown', { min: 0 }),
      stopTimeoutMs: duration(15_000, 'Deadline for the whole shutdown'),
    }),

  audit: () =>
    section({
      path: text.optional().register(docs, {
        description: 'Folder for the files of the audit, on a local disk; without it none is kept',
      }),
      fileBytes: count(
        64 * 1024 * 1024,
        'Size at which a file of the audit is followed by another, bytes',
        4_096,
      ),
      files: count(
        20,
        'Files of the audit kept of one replica; the oldest one goes when one more is begun',
        2,
      ),
    }),

  health: () =>
    section({
      file: file(
        'File that is written every 5 s while the gateway is ready, for the health check of a container',
      ),
    }),

  log: () =>
    section({
      level: z
        .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
        .default('info')
        .register(docs, { ...live, description: 'Least severe level that is logged' }),
      format: z
        .enum(['auto', 'json', 'pretty'])
        .default('auto')
        .register(docs, { description: 'auto: pretty on a terminal, else JSON' }),
    }),
});

export const configSchema = z.strictObject(sections);

export type SectionName = keyof typeof sections;
export type Config = z.output<typeof configSchema>;
/** What a file, environment or test may leave out. */
export type ConfigInput = z.input<typeof configSchema>;
