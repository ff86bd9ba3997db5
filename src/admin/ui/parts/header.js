import { valueIn } from '../findings.js';
import { duration } from '../format.js';
import { html } from '../lib.js';
import { Badge } from './section.js';

/** @import { Info, Live, Snapshot } from '../types.js' */

/** @type {Record<Live, string>} */
const LIVE = {
  connecting: 'Connecting',
  live: 'Live',
  interrupted: 'Interrupted, trying again',
  paused: 'Paused',
};

/** @param {{ snapshot: Snapshot }} props */
export function Header({ snapshot }) {
  const { data, live, now } = snapshot;
  const info = valueIn(data.info, /** @type {Info | undefined} */ (undefined));
  const checks = valueIn(data.checks, []);
  const failing = checks.filter(({ ok }) => !ok).length;
  const isAway = data.info.state === 'failed';
  return html`
    <header>
      <div class="brand">
        <img src="/ui/icon.svg" alt="" width="36" height="36" />
        <div>
          <h1>Sallyport</h1>
          <p>${info ? html`${info.replica} <span class="quiet">· ${info.version}</span>` : ' '}</p>
        </div>
      </div>
      <dl>
        <div>
          <dt>Nodes</dt>
          <dd>${info ? info.nodes.toLocaleString('en-GB') : '–'}</dd>
        </div>
        <div>
          <dt>Up</dt>
          <dd>${info ? duration(now - Date.parse(info.startedAt)) : '–'}</dd>
        </div>
        <div class="minor">
          <dt>Bus</dt>
          <dd>${info?.bus ?? '–'}</dd>
        </div>
      </dl>
      <div class="state" role="status" aria-live="polite">
        ${
          isAway
            ? html`<${Badge} kind="bad">No answer<//>`
            : checks.length === 0
              ? html`<${Badge} kind="plain">Reading<//>`
              : failing > 0
                ? html`<${Badge} kind="bad">Not ready<//>`
                : html`<${Badge} kind="good">Ready<//>`
        }
        <span class=${`live ${live}`}><span class="dot" aria-hidden="true"></span>${LIVE[live]}</span>
      </div>
    </header>
  `;
}
