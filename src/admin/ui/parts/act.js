import { ask } from '../actions.js';
import { html } from '../lib.js';
import { canAct } from '../session.js';

/** @import { Action } from '../types.js' */

/**
 * A button that asks for something to be done. Nothing, where the page only reads.
 * @param {{ make: () => Action, label?: string }} props `label`: default is the title
 */
export function Act({ make, label }) {
  if (!canAct) return null;
  const { title } = make();
  return html`<button type="button" class="act" aria-label=${title} onClick=${() => ask(make())}>${label ?? title}</button>`;
}
