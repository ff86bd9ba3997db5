import { day, quote, relative } from '../format.js';
import { html } from '../lib.js';
import { Command } from './command.js';
import { DataTable } from './data-table.js';
import { Badge, Loaded, Section } from './section.js';

/** @import { Forecast, Resource } from '../types.js' */

const ORDER = ['expired', 'at-risk', 'renewable'];
const SHOWN = 10;

/** @param {{ forecast: Resource<readonly Forecast[]>, now: number }} props */
export function Forecasts({ forecast, now }) {
  return html`
    <${Section} id="forecast" title="Forecast" note="Nodes whose certificate ends before they are expected back.">
      <${Loaded} of=${forecast}>
        ${(/** @type {readonly Forecast[]} */ items) => {
          const risky = items
            .filter(({ verdict }) => ORDER.includes(verdict))
            .sort((a, b) => ORDER.indexOf(a.verdict) - ORDER.indexOf(b.verdict));
          if (risky.length === 0) return html`<p class="calm">Every known node will renew in time.</p>`;
          const [first] = risky;
          return html`
            <${DataTable}
              caption="Nodes at risk"
              columns=${columns(now)}
              rows=${risky.slice(0, SHOWN)}
              keyOf=${(/** @type {Forecast} */ { node }) => node}
            />
            ${risky.length > SHOWN ? html`<p class="quiet">and ${risky.length - SHOWN} more</p>` : null}
            <${Command} text=${`sallyport token create --node ${quote(first?.node ?? '')}`} />
          `;
        }}
      <//>
    <//>
  `;
}

/** @param {number} now @returns {import('./data-table.js').Column<Forecast>[]} */
const columns = (now) => [
  { name: 'Node', cell: ({ node }) => html`<span class="name">${node}</span>` },
  {
    name: 'Verdict',
    cell: ({ verdict }) =>
      html`<${Badge} kind=${verdict === 'expired' ? 'bad' : verdict === 'at-risk' ? 'warn' : 'plain'}>${verdict}<//>`,
  },
  { name: 'Last seen', minor: true, cell: ({ lastSeen }) => relative(lastSeen, now) },
  { name: 'Certificate ends', kind: 'number', cell: ({ certificate }) => day(certificate.notAfter) },
];
