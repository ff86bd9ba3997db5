import { useMemo, useState } from 'preact/hooks';
import { look } from '../actions.js';
import { count, day, plural, quote, relative } from '../format.js';
import { html } from '../lib.js';
import { cloudCoreOf, selectNodes } from '../node-list.js';
import { Command } from './command.js';
import { DataTable } from './data-table.js';
import { Loaded, Section } from './section.js';

/** @import { Node, Resource } from '../types.js' */

const SIZE = 25;

/** @param {{ nodes: Resource<readonly Node[]>, now: number }} props */
export function Nodes({ nodes, now }) {
  const [search, setSearch] = useState('');
  const [order, setOrder] = useState({ by: 'Node', descending: false });
  const [page, setPage] = useState(0);
  const find = (/** @type {InputEvent} */ event) => {
    setSearch(/** @type {HTMLInputElement} */ (event.target).value);
    setPage(0);
  };
  const field = html`
    <div class="search">
      <label for="node-search" class="visually-hidden">Find a node by name, transport, group of TLS, replica, address or serial</label>
      <input
        id="node-search"
        type="search"
        placeholder="Find a node"
        autocomplete="off"
        spellcheck=${false}
        value=${search}
        onInput=${find}
      />
    </div>
  `;
  return html`
    <${Section} id="nodes" title="Nodes" aside=${field}>
      <${Loaded} of=${nodes}>
        ${(/** @type {readonly Node[]} */ all) =>
          html`<${NodePage} all=${all} search=${search} order=${order} onOrder=${setOrder} page=${page} onPage=${setPage} now=${now} />`}
      <//>
    <//>
  `;
}

/**
 * @param {object} props
 * @param {readonly Node[]} props.all
 * @param {string} props.search
 * @param {import('../types.js').Order} props.order
 * @param {(order: import('../types.js').Order) => void} props.onOrder
 * @param {number} props.page
 * @param {(page: number) => void} props.onPage
 * @param {number} props.now
 */
function NodePage({ all, search, order, onOrder, page, onPage, now }) {
  const view = useMemo(
    () => selectNodes(all, { search, order, page, size: SIZE }),
    [all, search, order, page],
  );
  if (all.length === 0)
    return html`<p class="quiet">
      No node is connected here. <${Command} text="sallyport token create --node edge-1" />
    </p>`;
  const from = view.page * SIZE + 1;
  const to = from + view.rows.length - 1;
  const columns = /** @type {import('./data-table.js').Column<Node>[]} */ ([
    {
      name: 'Node',
      cell: (node) =>
        html`<button type="button" class="name link" onClick=${() => look(node)}>${node.node}</button>`,
    },
    { name: 'Transport', minor: true, cell: ({ transport }) => transport },
    { name: 'Replica', minor: true, cell: ({ replica }) => replica },
    { name: 'Address', minor: true, cell: ({ remoteAddress }) => remoteAddress },
    ...(all.some(({ upstream }) => upstream)
      ? [{ name: 'CloudCore', minor: true, cell: (/** @type {Node} */ node) => cloudCoreOf(node) ?? 'none' }]
      : []),
    {
      name: 'Certificate ends',
      kind: 'number',
      cell: ({ certificate: { notAfter } }) =>
        html`<span title=${notAfter}>${day(notAfter)}<span class="beside quiet">${relative(notAfter, now)}</span></span>`,
    },
    {
      name: 'Connected',
      kind: 'number',
      minor: true,
      cell: ({ connectedSince }) => relative(connectedSince, now),
    },
    {
      name: 'Queue',
      kind: 'number',
      minor: true,
      cell: ({ queued, unacknowledged }) => count(queued + unacknowledged),
    },
  ]);
  return html`
    ${
      view.total === 0
        ? null
        : html`<${DataTable}
            caption="Connected nodes"
            columns=${columns}
            rows=${view.rows}
            keyOf=${(/** @type {Node} */ { node }) => node}
            order=${order}
            onOrder=${onOrder}
          />`
    }
    <div class="pager">
      <p class="quiet" role="status">
        ${view.total === 0 ? 'No node matches.' : view.pages === 1 ? plural(view.total, 'node') : `${from}–${to} of ${plural(view.total, 'node')}`}
      </p>
      ${
        view.pages > 1
          ? html`<nav aria-label="Pages of nodes">
              <button type="button" disabled=${view.page === 0} onClick=${() => onPage(view.page - 1)}>Previous</button>
              <span>${view.page + 1} / ${view.pages}</span>
              <button type="button" disabled=${view.page >= view.pages - 1} onClick=${() => onPage(view.page + 1)}>Next</button>
            </nav>`
          : null
      }
      ${view.total === 1 && view.rows[0] ? html`<${Command} text=${`sallyport nodes show ${quote(view.rows[0].node)}`} />` : null}
    </div>
  `;
}
