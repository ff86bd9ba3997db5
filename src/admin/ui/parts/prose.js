import { html } from '../lib.js';

/**
 * A sentence of the gateway: what stands in backticks is set as code.
 * @param {{ text: string }} props
 */
export function Prose({ text }) {
  const parts = text.split('`');
  return html`${parts.map((part, index) => (index % 2 === 1 ? html`<code>${part}</code>` : part))}`;
}
