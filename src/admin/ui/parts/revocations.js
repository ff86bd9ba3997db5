import { lift } from '../actions.js';
import { count, quote, relative } from '../format.js';
import { html } from '../lib.js';
import { canAct } from '../session.js';
import { Act } from './act.js';
import { Command } from './command.js';
import { DataTable } from './data-table.js';
import { Loaded, Section } from './section.js';

/** @import { Resource, Revocation } from '../types.js' */

const SHOWN = 10;
/** KubeEdge's and RFC 5280's word for "for the time being". */
const HOLD = 'certificateHold';

/** @param {{ revocations: Resource<readonly Revocation[]>, now: number }} props */
export function Revocations({ revocations, now }) {
  return html`
    <${Section} id="revocations" title="Revoked and quarantined">
      <${Loaded} of=${revocations}>
        ${(/** @type {readonly Revocation[]} */ items) => {
          if (items.length === 0) return html`<p class="calm">Nobody is shut out.</p>`;
          const latest = [...items].sort((a, b) => b.at.localeCompare(a.at));
          return html`
            <${DataTable}
              caption="Revoked and quarantined nodes and certificates"
              columns=${columns(now)}
              rows=${latest.slice(0, SHOWN)}
              keyOf=${(/** @type {Revocation} */ { id }) => id}
            />
            ${items.length > SHOWN ? html`<p class="quiet">and ${count(items.length - SHOWN)} more</p>` : null}
            <${Command} text=${`sallyport revocations show ${quote(latest[0]?.id ?? '')}`} />
          `;
        }}
      <//>
    <//>
  `;
}

/** @param {number} now @returns {import('./data-table.js').Column<Revocation>[]} */
const columns = (now) => [
  {
    name: 'Who',
    cell: ({ node, serial, note }) =>
      html`<span class="name">${node ?? `serial ${serial}`}</span>${note ? html`<span class="under quiet">${note}</span>` : null}`,
  },
  { name: 'Reason', cell: ({ reason }) => (reason === HOLD ? 'quarantine' : reason) },
  { name: 'By', minor: true, cell: ({ by }) => by },
  { name: 'When', kind: 'number', cell: ({ at }) => relative(at, now) },
  ...(canAct
    ? [
        {
          name: 'Lift',
          cell: (/** @type {Revocation} */ entry) =>
            html`<${Act} make=${() => lift(entry)} label="Let in" />`,
        },
      ]
    : []),
];
