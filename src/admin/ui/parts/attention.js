import { plural } from '../format.js';
import { html } from '../lib.js';
import { Command } from './command.js';
import { Section } from './section.js';

/** @import { Finding } from '../types.js' */

/** Beyond this many the command says the rest. */
const SHOWN = 8;

/** @param {{ items: readonly Finding[], loading: boolean }} props */
export function Attention({ items, loading }) {
  const summary = loading
    ? 'Reading…'
    : items.length === 0
      ? 'Nothing needs your attention.'
      : `${plural(items.length, 'thing needs', 'things need')} your attention.`;
  return html`
    <${Section} id="attention" title="Attention">
      <p class=${items.length === 0 && !loading ? 'calm' : 'visually-hidden'} role="status" aria-live="polite">
        ${summary}
      </p>
      <ul class="findings">
        ${items.slice(0, SHOWN).map(
          ({ level, title, detail, command }) => html`
            <li key=${title} class=${level === 2 ? 'bad' : 'warn'}>
              <span class="mark" aria-hidden="true">${level === 2 ? '×' : '!'}</span>
              <div>
                <p class="title">
                  <span class="visually-hidden">${level === 2 ? 'Urgent: ' : 'Warning: '}</span>${title}
                </p>
                ${detail ? html`<p class="quiet">${detail}</p>` : null}
              </div>
              <${Command} text=${command} />
            </li>
          `,
        )}
      </ul>
      ${items.length > SHOWN ? html`<p class="quiet">and ${items.length - SHOWN} more: <code>sallyport doctor</code></p>` : null}
    <//>
  `;
}
