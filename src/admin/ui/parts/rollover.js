import { takeStep } from '../actions.js';
import { count, day, short } from '../format.js';
import { html } from '../lib.js';
import { Act } from './act.js';
import { Command } from './command.js';
import { Loaded, Section } from './section.js';

/** @import { Resource, Rollover } from '../types.js' */

/** The steps, and the phase each leads to. */
const STEPS = [
  { step: 'prepare', phase: 'prepared', label: 'Prepare' },
  { step: 'activate', phase: 'active', label: 'Activate' },
  { step: 'retire', phase: 'retiring', label: 'Retire' },
  { step: 'revoke', phase: 'revoking', label: 'Revoke' },
];

/** @param {{ rollover: Resource<Rollover> }} props */
export function RolloverProgress({ rollover }) {
  return html`
    <${Section} id="rollover" title="CA rollover">
      <${Loaded} of=${rollover}>
        ${(/** @type {Rollover} */ value) => html`<${Progress} value=${value} />`}
      <//>
    <//>
  `;
}

/** @param {{ value: Rollover }} props */
function Progress({ value }) {
  const { phase, nodes, next = [], old, new: successor, summary } = value;
  if (phase === 'idle')
    return html`<p class="calm">No rollover is under way.</p>
      <${Command} text="sallyport ca rollover prepare" />
      <${Steps} next=${next} />`;
  const reached = STEPS.findIndex((one) => one.phase === phase);
  const following = next.find(({ step }) => STEPS.some((one) => one.step === step));
  return html`
    <ol class="steps">
      ${STEPS.map(
        ({ step, label }, index) => html`
          <li key=${step} class=${index < reached ? 'done' : index === reached ? 'current' : ''} aria-current=${index === reached ? 'step' : undefined}>
            <span class="mark" aria-hidden="true">${index <= reached ? '✓' : index + 1}</span>${label}
          </li>
        `,
      )}
    </ol>
    ${
      nodes && nodes.total > 0
        ? html`<p class="figure">${count(nodes.new)} <span class="quiet">of ${count(nodes.total)} nodes have a certificate of the new CA</span></p>
            <progress max=${nodes.total} value=${nodes.new} aria-label="Nodes with a certificate of the new CA"></progress>`
        : null
    }
    ${summary ? html`<p>${summary}</p>` : null}
    <p class="quiet">
      ${old ? html`old <code>${short(old.sha256)}</code> until ${day(old.notAfter)}` : null}
      ${successor ? html` → new <code>${short(successor.sha256)}</code> until ${day(successor.notAfter)}` : null}
    </p>
    ${following ? html`<${Blockers} step=${following.step} blockers=${following.blockers} />` : null}
    <${Steps} next=${next} />
  `;
}

/** @param {{ next: NonNullable<Rollover['next']> }} props */
function Steps({ next }) {
  return html`<div class="acts">${next.map((one) => html`<${Act} key=${one.step} make=${() => takeStep(one)} />`)}</div>`;
}

/** @param {{ step: string, blockers: readonly string[] }} props */
function Blockers({ step, blockers }) {
  return html`
    ${
      blockers.length > 0
        ? html`<p>What ${step} waits for:</p>
            <ul class="plain">
              ${blockers.slice(0, 5).map((text) => html`<li key=${text}>${text}</li>`)}
            </ul>`
        : null
    }
    <${Command} text=${blockers.length > 0 ? 'sallyport ca rollover status' : `sallyport ca rollover ${step}`} />
  `;
}
