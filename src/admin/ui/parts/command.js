import { useState } from 'preact/hooks';
import { html } from '../lib.js';

/** How long the button says that it did it, milliseconds. */
const DONE_MS = 2_000;

/**
 * A command to copy. Where the clipboard is refused it is selected, to be copied by hand.
 * @param {{ text: string }} props
 */
export function Command({ text }) {
  const [said, setSaid] = useState('');
  const copy = async (/** @type {MouseEvent} */ event) => {
    const button = /** @type {HTMLElement} */ (event.currentTarget);
    try {
      await navigator.clipboard.writeText(text);
      setSaid('Copied');
    } catch {
      const code = button.parentElement?.querySelector('code');
      if (code) getSelection()?.selectAllChildren(code);
      setSaid('Selected');
    }
    setTimeout(() => setSaid(''), DONE_MS);
  };
  return html`
    <span class="command">
      <code>${text}</code>
      <button type="button" aria-label=${`Copy ${text}`} onClick=${copy}>${said || 'Copy'}</button>
      <span class="visually-hidden" role="status">${said}</span>
    </span>
  `;
}
