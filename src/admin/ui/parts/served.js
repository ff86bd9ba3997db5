import { servedRows } from '../findings.js';
import { relative, short } from '../format.js';
import { html } from '../lib.js';
import { DataTable } from './data-table.js';
import { Badge, Loaded, Section } from './section.js';

/** @import { Data, Served } from '../types.js' */

/** @param {{ data: Data, now: number }} props */
export function ServedTable({ data, now }) {
  const byHandshake = data.served.state === 'ready';
  const columns = [
    { name: 'Listener', cell: (/** @type {Served} */ row) => row.listener },
    { name: 'Replica', minor: true, cell: (/** @type {Served} */ row) => row.replica },
    {
      name: 'Wanted',
      kind: /** @type {const} */ ('code'),
      minor: true,
      cell: (/** @type {Served} */ row) => short(row.wantedSha256),
    },
    {
      name: 'Served',
      kind: /** @type {const} */ ('code'),
      minor: true,
      cell: (/** @type {Served} */ row) => short(row.servedSha256),
    },
    {
      name: 'State',
      cell: (/** @type {Served} */ row) =>
        row.problem || row.servedSha256 !== row.wantedSha256
          ? html`<${Badge} kind="bad">differs<//>`
          : html`<${Badge} kind="good">as wanted<//>`,
    },
    ...(byHandshake
      ? [{ name: 'Seen', minor: true, cell: (/** @type {Served} */ row) => relative(row.checkedAt, now) }]
      : []),
  ];
  return html`
    <${Section}
      id="served"
      title="Served"
      note=${byHandshake ? 'What clients are shown, found out by handshakes.' : 'What each listener of this replica says it serves.'}
    >
      <${Loaded} of=${data.certificates}>
        ${() => html`
          <${DataTable}
            caption="Certificate that is served, against the wanted one, by replica and listener"
            columns=${columns}
            rows=${servedRows(data)}
            keyOf=${(/** @type {Served} */ row) => `${row.replica} ${row.listener}`}
          />
        `}
      <//>
    <//>
  `;
}
