import { count, plural } from '../format.js';
import { html } from '../lib.js';
import { Loaded, Section } from './section.js';

/** @import { Data, Node } from '../types.js' */

/** @type {Readonly<Record<Node['transport'], string>>} */
const TRANSPORTS = { websocket: 'WebSocket', quic: 'QUIC', webtransport: 'WebTransport' };

/** @param {{ data: Data }} props */
export function Sessions({ data }) {
  return html`
    <${Section} id="sessions" title="Sessions">
      <${Loaded} of=${data.nodes}>
        ${(/** @type {readonly Node[]} */ nodes) => {
          const most = Math.max(1, nodes.length);
          const waiting = nodes.reduce((sum, { queued }) => sum + queued, 0);
          return html`
            <p class="figure">${count(nodes.length)} <span class="quiet">${nodes.length === 1 ? 'node' : 'nodes'} connected</span></p>
            <dl class="bars">
              ${Object.entries(TRANSPORTS).map(([transport, name]) => {
                const size = nodes.filter((node) => node.transport === transport).length;
                return html`
                  <div key=${transport}>
                    <dt>${name}</dt>
                    <dd>
                      <span class="meter" aria-hidden="true"><span style=${{ width: `${(100 * size) / most}%` }}></span></span>
                      <span class="size">${count(size)}</span>
                    </dd>
                  </div>
                `;
              })}
            </dl>
            <p class="quiet">${plural(waiting, 'message')} waiting for connected nodes</p>
          `;
        }}
      <//>
    <//>
  `;
}
