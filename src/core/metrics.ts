import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from '@prometheus-io/client';

/**
 * All metrics in one place, so that names stay consistent and docs can list them. Units are Prometheus' base units
 * (seconds, bytes); expiry is a timestamp, never "days left", so that alerts compare with `time()`.
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

  return {
    /** The text of `/metrics`. */
    expose: (): Promise<string> => registry.metrics(),
    contentType: registry.contentType,

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
    nodesOnOtherCa: gauge(
      'nodes_not_trusted_by_wanted_ca',
      'Connected nodes that chain to a CA the wanted Secret no longer holds.',
      [],
    ),
    storeUp: gauge('secret_store_up', '1 when the last access to the secret store succeeded.', []),
    storeErrors: counter('secret_store_errors_total', 'Failed accesses to the secret store.', ['code']),
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
    connectionsRefused: counter('connections_refused_total', 'Connections refused by a limit, at accept.', [
      'transport',
      'limit',
    ]),
    connections: gauge('connections', 'Open sockets.', ['transport']),
    sessions: gauge('sessions', 'Nodes with a session.', ['transport']),
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
    messagesRetried: counter(
      'messages_retried_total',
      'Downstream messages sent again for want of an acknowledgement.',
      [],
    ),
    acknowledgements: counter('acknowledgements_total', 'Acknowledgements from edges, by result.', [
      'result',
    ]),
    queued: gauge('downstream_queued_messages', 'Messages waiting for nodes.', []),
    queuedBytes: gauge('downstream_queued_bytes', 'Bytes waiting for nodes.', []),
    subscribers: gauge('upstream_subscribers', 'Programs that follow upstream messages.', []),
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
      '1 while this replica knows whose the nodes are, 0 while it is cut off and delivers nothing.',
      [],
    ),
    busOutcomesWaiting: gauge('bus_outcomes_waiting', 'Messages whose fate this replica waits to hear.', []),
    followersCutOff: counter(
      'admin_followers_cut_off_total',
      'Followers of the admin event stream that read too slowly.',
      [],
    ),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;
