import { html } from '../lib.js';
import { Badge, Loaded, Section } from './section.js';

/** @import { Check, Resource } from '../types.js' */

/** @param {{ checks: Resource<readonly Check[]> }} props */
export function Checks({ checks }) {
  return html`
    <${Section} id="checks" title="Health checks">
      <${Loaded} of=${checks}>
        ${(/** @type {readonly Check[]} */ items) => html`
          <ul class="checks">
            ${items.map(
              ({ name, ok, detail }) => html`
                <li key=${name}>
                  <${Badge} kind=${ok ? 'good' : 'bad'}>${name}<span class="visually-hidden">${ok ? ' passes' : ' fails'}</span><//>
                  ${detail ? html`<span class="quiet">${detail}</span>` : null}
                </li>
              `,
            )}
          </ul>
        `}
      <//>
    <//>
  `;
}
