import { useEffect, useState } from 'preact/hooks';
import { open } from '../actions.js';
import { followEvents } from '../event-stream.js';
import { valueIn } from '../findings.js';
import { bytes, count, plural, printable } from '../format.js';
import { html } from '../lib.js';
import { findRows, KEPT, MessageFeed } from '../message-feed.js';
import { role } from '../session.js';
import { DataTable } from './data-table.js';
import { Section } from './section.js';

/** @import { Live, MessageFilter, MessageRow, MessageView, Node, Resource } from '../types.js' */

/** The one of the page. */
const feed = new MessageFeed({ follow: followEvents });

const NODE_NAME = {
  pattern: '[a-z0-9]([a-z0-9.\\-]*[a-z0-9])?',
  title: 'The whole name of a node',
  maxlength: 253,
};
/** As many names as a list is of use for. */
const OFFERED = 200;

/** @param {{ nodes: Resource<readonly Node[]> }} props */
export function Messages({ nodes }) {
  const [view, setView] = useState(feed.view);
  const [search, setSearch] = useState('');
  useEffect(() => feed.subscribe(() => setView(feed.view)), []);
  const find = html`
    <div class="search">
      <label for="message-search" class="visually-hidden">Find in the messages that are shown</label>
      <input
        id="message-search"
        type="search"
        placeholder="Find in messages"
        autocomplete="off"
        spellcheck=${false}
        value=${search}
        onInput=${(/** @type {any} */ { target }) => setSearch(target.value)}
      />
    </div>
  `;
  return html`
    <${Section}
      id="messages"
      title="Messages"
      note=${
        role === 'operator'
          ? 'What nodes send and are sent, and their coming and going, as it happens.'
          : 'What nodes send, and their coming and going, as it happens. What is sent to them is for operators.'
      }
      aside=${view.rows.length > 0 ? find : null}
    >
      <${Filters} view=${view} nodes=${valueIn(nodes, [])} />
      <${Rows} view=${view} search=${search} />
    <//>
  `;
}

/** @param {{ view: MessageView, nodes: readonly Node[] }} props */
function Filters({ view, nodes }) {
  const isFollowing = view.live !== undefined;
  const submit = (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const values = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    feed.start(/** @type {MessageFilter} */ (/** @type {unknown} */ (Object.fromEntries(values))));
  };
  const field = (/** @type {string} */ label, /** @type {unknown} */ input) =>
    html`<label class="field"><span>${label}</span>${input}</label>`;
  const text = (/** @type {string} */ name, /** @type {object} */ more) =>
    html`<input name=${name} autocomplete="off" autocapitalize="none" spellcheck=${false} ...${more} />`;
  return html`
    <form class="filters" onSubmit=${submit}>
      ${field('Node', text('node', { ...NODE_NAME, list: 'connected-nodes' }))}
      <datalist id="connected-nodes">
        ${nodes.slice(0, OFFERED).map(({ node }) => html`<option key=${node} value=${node}></option>`)}
      </datalist>
      ${field(
        'Show',
        html`<select name="kind">
          <option value="all">everything</option>
          <option value="messages">messages</option>
          <option value="sessions">coming and going</option>
        </select>`,
      )}
      ${
        role === 'operator'
          ? field(
              'Direction',
              html`<select name="direction">
                <option value="both">both</option>
                <option value="upstream">from nodes</option>
                <option value="downstream">to nodes</option>
              </select>`,
            )
          : null
      }
      ${field('Operation', text('operation', { maxlength: 256 }))}
      ${field('Resource begins with', text('resource', { maxlength: 4096, placeholder: 'node/edge-1/' }))}
      <div class="acts">
        <button type="submit">${isFollowing ? 'Apply' : 'Follow'}</button>
        ${
          isFollowing
            ? html`
                <button type="button" aria-pressed=${view.isHeld} onClick=${() => feed.hold(!view.isHeld)}>Pause</button>
                <button type="button" onClick=${() => feed.stop()}>Stop</button>
              `
            : null
        }
      </div>
    </form>
  `;
}

/** @type {Record<Live, string>} */
const LIVE = {
  connecting: 'Connecting.',
  live: 'Following.',
  interrupted: 'Interrupted, trying again.',
  paused: 'Resting while the page is hidden.',
};

/** @param {{ view: MessageView, search: string }} props */
function Rows({ view, search }) {
  const { live, problem, isHeld, waiting, rows, dropped } = view;
  const found = findRows(rows, search);
  const state = live === undefined ? 'Not followed.' : isHeld ? 'Paused.' : LIVE[live];
  const figures = [
    found.length === rows.length
      ? plural(rows.length, 'row')
      : `${count(found.length)} of ${plural(rows.length, 'row')}`,
    ...(dropped > 0 ? [`${plural(dropped, 'older one')} dropped: ${KEPT} are kept`] : []),
    ...(waiting > 0 ? [`${count(waiting)} more came since`] : []),
  ];
  return html`
    <div class="pager quiet">
      <p role="status">${state}${problem ? ` ${problem}` : ''}</p>
      ${live !== undefined || rows.length > 0 ? html`<p>${figures.join('; ')}</p>` : null}
    </div>
    ${
      found.length === 0
        ? null
        : html`<${DataTable} caption="Messages, the newest first" columns=${COLUMNS} rows=${found.toReversed()} keyOf=${(/** @type {MessageRow} */ { number }) => number} />`
    }
  `;
}

/** @type {import('./data-table.js').Column<MessageRow>[]} */
const COLUMNS = [
  {
    name: 'UTC',
    cell: ({ at }) => html`<span class="time">${new Date(at).toISOString().slice(11, 19)}</span>`,
  },
  { name: 'Node', cell: ({ node }) => printable(node) },
  {
    name: 'What',
    // No column of its own: a phone has no room for one.
    cell: ({ kind, direction, what }) => html`
      ${direction && html`<span class="quiet">${direction === 'downstream' ? 'to it' : 'from it'}</span> `}
      <span class=${`what ${kind}`}>${printable(what)}</span>
    `,
  },
  {
    name: 'Size',
    kind: 'number',
    minor: true,
    cell: (row) => (row.bytes === undefined ? '' : bytes(row.bytes)),
  },
  {
    name: 'Content',
    cell: (row) =>
      row.kind === 'missed'
        ? null
        : html`<button type="button" class="link" aria-label=${`Show ${printable(row.what)} of ${printable(row.node)}`} onClick=${() => open(row)}>Show</button>`,
  },
];
