import { count, printable, quote } from '../format.js';
import { html } from '../lib.js';
import { KEPT_TEXT, laidOut } from '../message-feed.js';
import { Command } from './command.js';

/** @import { MessageRow } from '../types.js' */

/**
 * One event whole, its content too.
 * @param {{ row: MessageRow, onClose: () => void }} props
 */
export function MessageDetails({ row, onClose }) {
  const { node, what, direction, isCut } = row;
  const way = direction === 'downstream' ? ' --direction downstream' : '';
  const text = laidOut(row).split('\n').map(printable).join('\n');
  return html`
    <h2 id="desk-title">${printable(`${node} ${what}`)}</h2>
    <pre class="content" tabindex="0" role="region" aria-label="Content"><code>${text}</code></pre>
    ${isCut ? html`<p class="quiet">The first ${count(KEPT_TEXT)} characters. The command prints all of it:</p>` : null}
    <${Command} text=${`sallyport watch --node ${quote(node)}${way} -o json`} />
    <div class="choices"><button type="button" onClick=${onClose}>Close</button></div>
  `;
}
