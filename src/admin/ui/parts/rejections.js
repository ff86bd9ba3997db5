import { isNoise } from '../findings.js';
import { count as number, quote, relative } from '../format.js';
import { html } from '../lib.js';
import { Command } from './command.js';
import { Prose } from './prose.js';
import { Loaded, Section } from './section.js';

/** @import { Rejection, Resource } from '../types.js' */

const SHOWN = 8;

/** @param {readonly Rejection[]} items */
const sorted = (items) =>
  [...items].sort((a, b) => Number(isNoise(a)) - Number(isNoise(b)) || b.lastAt.localeCompare(a.lastAt));

/** @param {{ rejections: Resource<readonly Rejection[]>, now: number }} props */
export function Rejections({ rejections, now }) {
  return html`
    <${Section} id="rejections" title="Rejections" note="Who was not let in, latest first; what may be no node at all comes last.">
      <${Loaded} of=${rejections}>
        ${(/** @type {readonly Rejection[]} */ items) =>
          items.length === 0
            ? html`<p class="calm">Nobody was rejected.</p>`
            : html`
                <ul class="entries">
                  ${sorted(items)
                    .slice(0, SHOWN)
                    .map(
                      (one) =>
                        html`<${Entry} key=${`${one.replica}${one.node}${one.remoteAddress}${one.listener}${one.reason}`} one=${one} now=${now} />`,
                    )}
                </ul>
                ${items.length > SHOWN ? html`<p class="quiet">and ${number(items.length - SHOWN)} more: <${Command} text="sallyport nodes rejected" /></p>` : null}
              `}
      <//>
    <//>
  `;
}

/** @param {{ one: Rejection, now: number }} props */
function Entry({ one, now }) {
  const { node, claimedNode, reason, replica, listener, remoteAddress, count, lastAt, detail, fix } = one;
  return html`
    <li>
      <p class="entry-head">
        <strong>${node ?? (claimedNode ? `claims to be ${claimedNode}` : remoteAddress || 'unknown peer')}</strong>
        <code class="reason">${reason}</code>
        <span class="quiet when">${relative(lastAt, now)}</span>
      </p>
      <p>${detail}</p>
      <p class="quiet">
        ${`${listener} of ${replica}${remoteAddress && (node || claimedNode) ? ` from ${remoteAddress}` : ''}, ${count === 1 ? 'once' : `${number(count)} times`}`}
      </p>
      ${fix ? html`<p class="quiet">To mend it: <${Prose} text=${fix} /></p>` : null}
      ${node ? html`<${Command} text=${`sallyport token create --node ${quote(node)}`} />` : null}
    </li>
  `;
}
