import { count, plural } from '../format.js';
import { html } from '../lib.js';
import { classicalGroups, cloudCoreOf } from '../node-list.js';
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
          const transports = Object.entries(TRANSPORTS).map(([transport, name]) => [
            name,
            nodes.filter((node) => node.transport === transport).length,
          ]);
          const relayed = nodes.filter(({ upstream }) => upstream);
          const cloudcores = [...Map.groupBy(relayed, (node) => cloudCoreOf(node) ?? 'none')]
            .map(([name, those]) => [name, those.length])
            .sort();
          const classical = classicalGroups(nodes);
          return html`
            <p class="figure">${count(nodes.length)} <span class="quiet">${nodes.length === 1 ? 'node' : 'nodes'} connected</span></p>
            <${Bars} most=${most} sizes=${transports} />
            ${relayed.length > 0 ? html`<p class="quiet">CloudCore behind the gateway</p><${Bars} most=${most} sizes=${cloudcores} />` : null}
            ${classical ? html`<p class="quiet">${classical}</p>` : null}
            <p class="quiet">${plural(waiting, 'message')} waiting for connected nodes</p>
          `;
        }}
      <//>
    <//>
  `;
}

/** @param {{ sizes: readonly (readonly [string, number])[], most: number }} props */
function Bars({ sizes, most }) {
  return html`
    <dl class="bars">
      ${sizes.map(
        ([name, size]) => html`
          <div key=${name}>
            <dt>${name}</dt>
            <dd>
              <span class="meter" aria-hidden="true"><span style=${{ width: `${(100 * size) / most}%` }}></span></span>
              <span class="size">${count(size)}</span>
            </dd>
          </div>
        `,
      )}
    </dl>
  `;
}
