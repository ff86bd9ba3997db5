/**
 * The Grafana dashboard, as a value: `npm run docs` writes it to deploy/grafana and into the chart. Grafana
 * 10 or later.
 */

type Unit = 'short' | 's' | 'ops' | 'Bps' | 'percentunit' | 'dateTimeFromNow' | 'bool_yes_no' | 'bytes';

interface Panel {
  readonly title: string;
  /** What the panel tells, in a sentence. */
  readonly description: string;
  readonly type: 'stat' | 'timeseries' | 'table';
  readonly unit: Unit;
  readonly width: number;
  /** Legend → query; `$replica` and `$job` are chosen above. */
  readonly queries: Readonly<Record<string, string>>;
}

const own = 'job=~"$job",instance=~"$instance"';
const rate = (metric: string, by: string, more = '') =>
  `sum by (${by}) (rate(sallyport_${metric}{${own}${more}}[$__rate_interval]))`;

const ROWS: Readonly<Record<string, readonly Panel[]>> = {
  Now: [
    stat('Replicas ready', 'Replicas whose /readyz answers 200.', 'short', `sum(sallyport_ready{${own}})`),
    stat('Nodes', 'Nodes with a session, on all replicas.', 'short', `sum(sallyport_sessions{${own}})`),
    stat(
      'Nodes at risk',
      'Nodes that will be locked out unless somebody acts.',
      'short',
      `max(sallyport_nodes_at_risk{${own},verdict=~"at-risk|expired"})`,
    ),
    stat(
      'Refused, a second',
      'Handshakes that fail.',
      'ops',
      `sum(rate(sallyport_handshake_failures_total{${own}}[$__rate_interval]))`,
    ),
    stat(
      'Last backup',
      'When the CA was last backed up.',
      'dateTimeFromNow',
      `max(sallyport_last_backup_timestamp_seconds{${own}}) * 1000`,
    ),
    stat(
      'Listeners that drift',
      'Listeners that do not serve the wanted certificate.',
      'short',
      `count(sallyport_listener_serves_wanted_bundle{${own}} == 0) or vector(0)`,
    ),
  ],
  Certificates: [
    graph(
      'Life left',
      'Part of its life that is left of each certificate; the hub is renewed at a third.',
      'percentunit',
      12,
      {
        '{{kind}} {{subject}}': `min by (kind, subject) ((sallyport_certificate_not_after_timestamp_seconds{${own}} - time()) / (sallyport_certificate_not_after_timestamp_seconds{${own}} - sallyport_certificate_not_before_timestamp_seconds{${own}}))`,
        'fleet token': `min((sallyport_fleet_token_not_after_timestamp_seconds{${own}} > 0) - time()) / min(sallyport_fleet_token_not_after_timestamp_seconds{${own}} - sallyport_fleet_token_not_before_timestamp_seconds{${own}})`,
      },
    ),
    graph('Time to expiry', 'Until certificates, the fleet token and the CRL end.', 's', 12, {
      '{{kind}} {{subject}}': `min by (kind, subject) (sallyport_certificate_not_after_timestamp_seconds{${own}}) - time()`,
      'fleet token': `min(sallyport_fleet_token_not_after_timestamp_seconds{${own}} > 0) - time()`,
      CRL: `min(sallyport_crl_next_update_timestamp_seconds{${own}} > 0) - time()`,
    }),
    graph(
      'Rotations and reloads',
      'Hub certificates issued, and bundles built from changed Secrets, by result.',
      'ops',
      12,
      {
        'rotation {{result}}': rate('hub_certificate_rotations_total', 'result'),
        'reload {{result}} {{reason}}': rate('certificate_reloads_total', 'result, reason'),
      },
    ),
    graph('Secret store', 'Whether it answers and is watched, and what failed.', 'short', 12, {
      'up {{instance}}': `sallyport_secret_store_up{${own}}`,
      'watch {{watch}}': `min by (watch) (sallyport_secret_store_watch_up{${own}})`,
      'errors {{code}}': rate('secret_store_errors_total', 'code'),
    }),
  ],
  Nodes: [
    graph('Sessions by transport', 'Nodes with a session.', 'short', 8, {
      '{{transport}}': `sum by (transport) (sallyport_sessions{${own}})`,
    }),
    graph('Sessions by replica', 'How nodes are spread.', 'short', 8, {
      '{{instance}}': `sum by (instance) (sallyport_sessions{${own}})`,
    }),
    graph(
      'Sessions by key exchange',
      'Group of TLS; with a classical one, recorded traffic may be read with a quantum computer later.',
      'short',
      8,
      {
        '{{group}}, post-quantum: {{post_quantum}}': `sum by (group, post_quantum) (sallyport_sessions{${own}})`,
      },
    ),
    graph('Sessions that end', 'By reason.', 'ops', 12, {
      '{{reason}}': rate('sessions_ended_total', 'reason'),
    }),
    graph('Refused connections', 'Handshakes by reason, and what limits refuse.', 'ops', 12, {
      '{{transport}} {{reason}}': rate('handshake_failures_total', 'transport, reason'),
      'limit {{limit}}': rate('connections_refused_total', 'limit'),
    }),
    graph('Enrolment', 'Edge certificates issued, and requests refused.', 'ops', 12, {
      'issued by {{how}}': rate('certificates_issued_total', 'how'),
      'refused: {{reason}}': rate('enrolment_refused_total', 'reason'),
    }),
    graph('Time to connect', 'From the accepted socket to the session.', 's', 12, {
      'p50 {{transport}}': quantile(0.5, 'connect_duration_seconds', 'transport'),
      'p99 {{transport}}': quantile(0.99, 'connect_duration_seconds', 'transport'),
    }),
    graph('Forecast', 'Nodes that will not simply renew in time.', 'short', 12, {
      '{{verdict}}': `max by (verdict) (sallyport_nodes_at_risk{${own}})`,
    }),
  ],
  Messages: [
    graph('Messages', 'Taken, by direction.', 'ops', 8, {
      '{{direction}}': rate('messages_total', 'direction'),
    }),
    graph('Bytes', 'Of messages, by direction.', 'Bps', 8, {
      '{{direction}}': rate('message_bytes_total', 'direction'),
    }),
    graph('Acknowledgements', 'From edges, by result; and messages sent again.', 'ops', 8, {
      '{{result}}': rate('acknowledgements_total', 'result'),
      'sent again': `sum(rate(sallyport_messages_retried_total{${own}}[$__rate_interval]))`,
    }),
    graph('Queue', 'What waits for nodes, as part of what may wait.', 'percentunit', 12, {
      'messages {{instance}}': `sallyport_downstream_queued_messages{${own}} / sallyport_downstream_queue_limit_messages{${own}}`,
      'bytes {{instance}}': `sallyport_downstream_queued_bytes{${own}} / sallyport_downstream_queue_limit_bytes{${own}}`,
    }),
    graph('Dropped', 'Messages that were dropped, by reason.', 'ops', 12, {
      '{{direction}} {{reason}}': rate('messages_dropped_total', 'direction, reason'),
    }),
  ],
  'CloudCore behind the gateway': [
    graph('Nodes', 'Connected to each CloudCore, and those that have none now.', 'short', 8, {
      '{{cloudcore}}': `sum by (cloudcore) (sallyport_upstream_connections{${own}})`,
      none: `sum(sallyport_upstream_waiting_nodes{${own}})`,
    }),
    graph('Answers', 'From the question of a node to the answer of CloudCore.', 's', 8, {
      p50: quantile(0.5, 'upstream_answer_seconds'),
      p99: quantile(0.99, 'upstream_answer_seconds'),
    }),
    graph('Losses', 'Connections to a CloudCore that were lost, by reason; attempts by result.', 'ops', 8, {
      '{{cloudcore}} lost: {{reason}}': rate('upstream_losses_total', 'cloudcore, reason'),
      '{{cloudcore}} connect: {{result}}': rate('upstream_connects_total', 'cloudcore, result'),
    }),
  ],
  Process: [
    graph('CPU', 'Of the process.', 'percentunit', 8, {
      '{{instance}}': `rate(process_cpu_seconds_total{${own}}[$__rate_interval])`,
    }),
    graph('Memory', 'Resident.', 'bytes', 8, { '{{instance}}': `process_resident_memory_bytes{${own}}` }),
    graph('Checks', 'Health checks that pass.', 'bool_yes_no', 8, {
      '{{check}}': `min by (check) (sallyport_health_check_passing{${own}})`,
    }),
  ],
};

export const DASHBOARD_FILES = [
  'deploy/grafana/sallyport.json',
  'deploy/helm/sallyport/files/dashboard.json',
];

export function dashboard(): string {
  let id = 0;
  let y = 0;
  const panels: object[] = [];
  for (const [title, row] of Object.entries(ROWS)) {
    panels.push({
      id: ++id,
      type: 'row',
      title,
      collapsed: false,
      gridPos: { x: 0, y: y++, w: 24, h: 1 },
      panels: [],
    });
    let x = 0;
    for (const panel of row) {
      const height = panel.type === 'stat' ? 4 : 8;
      if (x + panel.width > 24) {
        x = 0;
        y += height;
      }
      panels.push(draw(panel, ++id, { x, y, w: panel.width, h: height }));
      x += panel.width;
      if (panel === row.at(-1)) y += height;
    }
  }
  const variable = (name: string, query: string) => ({
    name,
    label: name,
    type: 'query',
    datasource: DATASOURCE,
    definition: query,
    query: { query, refId: name },
    refresh: 2,
    includeAll: true,
    multi: true,
    current: { text: 'All', value: '$__all' },
  });
  const value = {
    uid: 'sallyport',
    title: 'Sallyport',
    description: 'Certificates, nodes and messages of the edge gateway.',
    tags: ['sallyport'],
    schemaVersion: 39,
    editable: true,
    refresh: '30s',
    time: { from: 'now-6h', to: 'now' },
    timezone: 'browser',
    templating: {
      list: [
        { name: 'datasource', label: 'data source', type: 'datasource', query: 'prometheus' },
        variable('job', 'label_values(sallyport_build_info, job)'),
        variable('instance', 'label_values(sallyport_build_info{job=~"$job"}, instance)'),
      ],
    },
    panels,
  };
  return `${JSON.stringify(value, null, 2)}\n`;
}

const DATASOURCE = { type: 'prometheus', uid: '$' + '{datasource}' };

function draw({ title, description, type, unit, queries }: Panel, id: number, gridPos: object): object {
  return {
    id,
    type,
    title,
    description,
    gridPos,
    datasource: DATASOURCE,
    fieldConfig: {
      defaults: {
        unit,
        ...(type === 'timeseries' ? { min: 0, custom: { fillOpacity: 8, showPoints: 'never' } } : {}),
      },
      overrides: [],
    },
    options:
      type === 'stat'
        ? { graphMode: 'none', reduceOptions: { calcs: ['lastNotNull'] } }
        : { legend: { displayMode: 'list', placement: 'bottom' }, tooltip: { mode: 'multi' } },
    targets: Object.entries(queries).map(([legendFormat, expr], index) => ({
      refId: String.fromCharCode(65 + index),
      datasource: DATASOURCE,
      expr,
      legendFormat,
      ...(type === 'stat' ? { instant: true } : {}),
    })),
  };
}

function stat(title: string, description: string, unit: Unit, query: string): Panel {
  return { title, description, type: 'stat', unit, width: 4, queries: { [title]: query } };
}

function graph(
  title: string,
  description: string,
  unit: Unit,
  width: number,
  queries: Panel['queries'],
): Panel {
  return { title, description, type: 'timeseries', unit, width, queries };
}

function quantile(part: number, metric: string, by?: string): string {
  const labels = by === undefined ? 'le' : `le, ${by}`;
  return `histogram_quantile(${part}, sum by (${labels}) (rate(sallyport_${metric}_bucket{${own}}[$__rate_interval])))`;
}
