import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client';

/**
 * All metrics in one place, so that names stay consistent and docs can list them. Units are Prometheus' base
 * units (seconds, bytes); expiry is a timestamp, never "days left", so that alerts compare with `time()`.
 */
export function createMetrics(options: { process?: boolean } = {}) {
  const registry = new Registry();
  const registers = [registry];
  const counter = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Counter<L>({ name: `sallyport_${name}`, help, labelNames: [...labelNames], registers });
  const gauge = <L extends string>(name: string, help: string, labelNames: readonly L[]) =>
    new Gauge<L>({ name: `sallyport_${name}`, help, labelNames: [...labelNames], registers });
  const histogram = <L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    buckets: number[],
  ) => new Histogram<L>({ name: `sallyport_${name}`, help, labelNames: [...labelNames], buckets, registers });
  if (options.process !== false) collectDefaultMetrics({ register: registry });

  const beforeScrape: (() => void | Promise<void>)[] = [];

  return {
    /** The text of `/metrics`. */
    expose: async (): Promise<string> => {
      await Promise.all(beforeScrape.map((update) => update()));
      return registry.metrics();
    },
    /** Asked at each scrape to bring gauges up to date that nobody would otherwise set; must not reject. */
    onScrape: (update: () => void | Promise<void>): void => void beforeScrape.push(update),
    contentType: registry.contentType,

    // — the process —
    buildInfo: gauge('build_info', 'Always 1; what runs here.', ['version', 'replica']),
    ready: gauge('ready', '1 when /readyz answers 200.', []),
    healthCheck: gauge('health_check_passing', '1 when the check of /readyz passes.', ['check']),

    auditLines: counter('audit_lines_total', 'Lines written to the audit.', []),
    auditLinesLost: counter(
      'audit_lines_lost_total',
      'Lines of the audit that could not be written: the disk is full, or the folder is gone.',
      [],
    ),

    // — certificates and Secrets (L1) —
    certificateNotAfter: gauge('certificate_not_after_timestamp_seconds', 'When a certificate in use ends.', [
      'kind',
      'subject',
      'serial',
    ]),
    certificateNotBefore: gauge(
      'certificate_not_before_timestamp_seconds',
      'When a certificate in use began.',
      ['kind', 'subject', 'serial'],
    ),
    tokenNotAfter: gauge('fleet_token_not_after_timestamp_seconds', 'When the stored fleet token ends.', []),
    tokenNotBefore: gauge(
      'fleet_token_not_before_timestamp_seconds',
      'When the stored fleet token was issued.',
      [],
    ),
    rotations: counter('hub_certificate_rotations_total', 'Attempts to issue a hub certificate, by result.', [
      'result',
    ]),
    reloads: counter('certificate_reloads_total', 'Bundles built from changed Secrets, by result.', [
      'result',
      'reason',
    ]),
    lastReload: gauge('certificate_last_reload_timestamp_seconds', 'When a bundle was last swapped in.', []),
    lastReloadSuccessful: gauge(
      'certificate_last_reload_successful',
      '1 when the newest Secrets are in use, 0 when the last good bundle stays.',
      [],
    ),
    servedMatchesWanted: gauge(
      'listener_serves_wanted_bundle',
      '1 when the listener serves the wanted bundle.',
      ['listener'],
    ),
    servedCertificateWanted: gauge(
      'served_certificate_is_wanted',
      '1 when a handshake with the listener showed the wanted hub certificate, 0 when it did not.',
      ['listener'],
    ),
    servedCertificateNotAfter: gauge(
      'served_certificate_not_after_timestamp_seconds',
      'End of the certificate that a handshake with the listener showed.',
      ['listener'],
    ),
    servedChecks: counter(
      'served_certificate_checks_total',
      'Handshakes of this replica with its own listeners, by result.',
      ['listener', 'result'],
    ),
    bundleReturns: counter(
      'certificate_returns_total',
      'Times the previous hub certificate was served again because nodes could not connect to the new one.',
      [],
    ),
    nodesOnOtherCa: gauge(
      'nodes_not_trusted_by_wanted_ca',
      'Connected nodes that chain to a CA the wanted Secret no longer holds.',
      [],
    ),
    storeUp: gauge('secret_store_up', '1 when the last access to the secret store succeeded.', []),
    storeWatchUp: gauge(
      'secret_store_watch_up',
      '1 while changes are watched, 0 while only the periodic read would find them.',
      ['watch'],
    ),
    storeErrors: counter('secret_store_errors_total', 'Failed accesses to the secret store.', ['code']),
    storeCallsAbandoned: counter(
      'secret_store_calls_abandoned_total',
      'Calls to the Kubernetes API that went on after they were given up.',
      [],
    ),
    storeLastSync: gauge(
      'secret_store_last_sync_timestamp_seconds',
      'When the Secrets were last read in full.',
      [],
    ),

    // — revocation —
    revocations: gauge('revocations', 'Entries of the list of revocations, by kind.', ['kind']),
    revocationListVersion: gauge('revocation_list_version', 'Version of the list in force here.', []),
    revocationListLastRead: gauge(
      'revocation_list_last_read_timestamp_seconds',
      'When the stored list was last read and found good.',
      [],
    ),
    revocationListUsable: gauge(
      'revocation_list_usable',
      '1 when the stored list can be used, 0 when the last good one stays in force.',
      [],
    ),
    crlNextUpdate: gauge(
      'crl_next_update_timestamp_seconds',
      'When the CRL that was last handed out ends; 0 when the CA may not sign one.',
      [],
    ),

    // — backup —
    lastBackup: gauge(
      'last_backup_timestamp_seconds',
      'When the last backup was made; 0 when none was recorded.',
      [],
    ),
    lastBackupCoversCa: gauge('last_backup_covers_ca', '1 when the last backup holds the CA in use.', []),

    // — CA rollover —
    rolloverPhase: gauge('ca_rollover_phase', '1 for the phase the CA rollover is in, 0 for the others.', [
      'phase',
    ]),
    rolloverNodes: gauge(
      'ca_rollover_nodes',
      'Known nodes by the CA of their certificate (old, new, other); only while a rollover is under way.',
      ['ca'],
    ),
    rolloverDependent: gauge(
      'ca_rollover_dependent_nodes',
      'Known nodes that would be locked out if the CA that does not issue were no longer trusted.',
      [],
    ),
    rolloverSteps: counter('ca_rollover_steps_total', 'Steps of CA rollovers asked for here, by result.', [
      'step',
      'result',
    ]),
    caExpiryLevel: gauge(
      'ca_expiry_level',
      'How soon a trusted CA ends: 0 later than 180 days, 1 within 180, 2 within 30, 3 within 7, 4 has ended (C5).',
      ['subject', 'sha256'],
    ),

    // — history and forecast —
    nodesKnown: gauge('nodes_known', 'Nodes in the history of all replicas.', []),
    nodesAtRisk: gauge(
      'nodes_at_risk',
      'Nodes that will not renew in time by themselves, by verdict: renewable (within the grace), at-risk, expired.',
      ['verdict'],
    ),
    nodeHistoryDropped: counter(
      'node_history_dropped_total',
      'Nodes forgotten because the history is full; those that were not seen for longest go first.',
      [],
    ),
    nodeHistoryForgotten: gauge(
      'node_history_forgotten_nodes',
      'Nodes that had to be forgotten and may still come back; while there is one, retire and revoke of a CA rollover are refused.',
      [],
    ),
    nodeHistoryUsable: gauge(
      'node_history_usable',
      '1 when the last attempt to store or read the history succeeded.',
      [],
    ),
    nodeHistoryLastWrite: gauge(
      'node_history_last_write_timestamp_seconds',
      'When this replica last stored what it had seen.',
      [],
    ),

    // — enrolment —
    issued: counter('certificates_issued_total', 'Edge certificates issued.', ['how']),
    enrolmentRefused: counter('enrolment_refused_total', 'Requests for a certificate that were refused.', [
      'reason',
    ]),
    httpRequests: counter('http_requests_total', 'Requests on the HTTPS listener.', ['route', 'status']),

    // — connections —
    handshakeFailures: counter(
      'handshake_failures_total',
      'Connections refused before a session, by transport and reason.',
      ['transport', 'reason'],
    ),
    connectionsRefused: counter('connections_refused_total', 'Connections that a limit refused at accept.', [
      'transport',
      'limit',
    ]),
    connections: gauge('connections', 'Open sockets.', ['transport']),
    sessions: gauge('sessions', 'Nodes with a session, by transport and key exchange of TLS.', [
      'transport',
      'group',
      'post_quantum',
    ]),
    sessionLimit: gauge('session_limit', 'Nodes that may have a session (hub.nodeLimit).', []),
    nodeNotAfter: gauge(
      'node_certificate_not_after_timestamp_seconds',
      'When the certificate of a connected node ends; only with hub.nodeMetrics.',
      ['node'],
    ),
    sessionsEnded: counter('sessions_ended_total', 'Sessions that ended, by reason.', [
      'transport',
      'reason',
    ]),
    takeovers: counter(
      'session_takeovers_total',
      'Sessions taken over by a newer connection of the same node.',
      [],
    ),
    flapping: counter(
      'session_flapping_total',
      'Take-overs so frequent that two devices seem to share a certificate.',
      [],
    ),
    slowHeartbeats: counter(
      'slow_heartbeats_total',
      'Nodes found to send keepalives less often than the hub wants to hear them.',
      [],
    ),
    connectSeconds: histogram(
      'connect_duration_seconds',
      'Time from accepted socket to session.',
      ['transport'],
      [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    ),

    // — the relay —
    upstreamConnections: gauge('upstream_connections', 'Nodes connected to a CloudCore.', ['cloudcore']),
    upstreamWaiting: gauge('upstream_waiting_nodes', 'Nodes with a session that have no CloudCore now.', []),
    upstreamConnects: counter('upstream_connects_total', 'Attempts to connect to a CloudCore, by result.', [
      'cloudcore',
      'result',
    ]),
    upstreamLosses: counter('upstream_losses_total', 'Lost connections to a CloudCore, by reason.', [
      'cloudcore',
      'reason',
    ]),
    upstreamReplayed: counter(
      'upstream_replayed_total',
      'Messages of edges that were said again, or at last, to a CloudCore, by kind.',
      ['kind'],
    ),
    upstreamAnswerSeconds: histogram(
      'upstream_answer_seconds',
      'From the question of an edge to the answer of CloudCore.',
      [],
      [0.005, 0.02, 0.1, 0.5, 2, 10, 30, 60],
    ),

    // — messages —
    messages: counter('messages_total', 'Messages taken, by direction.', ['direction', 'transport']),
    messageBytes: counter('message_bytes_total', 'Bytes of messages, by direction.', [
      'direction',
      'transport',
    ]),
    messagesDropped: counter('messages_dropped_total', 'Messages dropped, each with its reason (J5).', [
      'direction',
      'reason',
    ]),
    heldBackSeconds: counter(
      'upstream_held_back_seconds_total',
      'Time in which nodes that sent more than hub.rate allows were read no further, by the limit.',
      ['limit'],
    ),
    messagesRetried: counter(
      'messages_retried_total',
      'Downstream messages sent again because no acknowledgement came.',
      [],
    ),
    acknowledgements: counter('acknowledgements_total', 'Acknowledgements from edges, by result.', [
      'result',
    ]),
    queued: gauge('downstream_queued_messages', 'Messages waiting for nodes.', []),
    queuedBytes: gauge('downstream_queued_bytes', 'Bytes waiting for nodes.', []),
    queueLimit: gauge('downstream_queue_limit_messages', 'Messages that may wait for nodes.', []),
    queueLimitBytes: gauge('downstream_queue_limit_bytes', 'Bytes that may wait for nodes.', []),
    subscribers: gauge('upstream_subscribers', 'Programs that follow events.', []),
    // — NATS —
    busConnected: gauge('bus_connected', '1 while this replica is connected to NATS.', []),
    busReconnects: counter('bus_reconnects_total', 'Connections to NATS after the first.', []),
    busPublished: counter('bus_published_total', 'Messages that NATS confirmed, by stream.', ['stream']),
    busPublishFailed: counter('bus_publish_failed_total', 'Messages that NATS did not take, by reason.', [
      'stream',
      'reason',
    ]),
    busPublishSeconds: histogram(
      'bus_publish_duration_seconds',
      'Time until NATS confirmed a message.',
      ['stream'],
      [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5, 10],
    ),
    busInFlight: gauge('bus_in_flight_messages', 'Messages that NATS has not confirmed yet.', []),
    busInFlightBytes: gauge('bus_in_flight_bytes', 'Bytes of messages that NATS has not confirmed yet.', []),
    busStreamMessages: gauge('bus_stream_messages', 'Messages in a stream of NATS.', ['stream']),
    busStreamBytes: gauge('bus_stream_bytes', 'Bytes in a stream of NATS.', ['stream']),
    replicas: gauge('replicas', 'Replicas that are alive, this one included.', []),
    ownershipCertain: gauge(
      'ownership_certain',
      '1 while this replica knows which replica has which node, 0 while it is cut off and delivers nothing.',
      [],
    ),
    busOutcomesWaiting: gauge(
      'bus_outcomes_waiting',
      'Messages of which this replica waits to hear what became of them.',
      [],
    ),
    followersCutOff: counter(
      'admin_followers_cut_off_total',
      'Followers of the admin event stream that read too slowly.',
      [],
    ),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
