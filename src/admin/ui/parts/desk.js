import { useEffect, useRef, useState } from 'preact/hooks';
import { desk } from '../actions.js';
import { html } from '../lib.js';
import { ActionForm } from './action-form.js';
import { MessageDetails } from './message-details.js';
import { NodeDetails } from './node-details.js';

/**
 * The one dialog of the page, and what is said of what was done.
 * @param {{ onDone: () => void }} props
 */
export function Desk({ onDone }) {
  const [shown, setShown] = useState(desk.shown);
  const [said, setSaid] = useState('');
  const dialog = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => desk.subscribe(() => setShown(desk.shown)), []);
  useEffect(() => {
    if (shown && !dialog.current?.open) dialog.current?.showModal();
    if (!shown) dialog.current?.close();
  }, [shown]);
  const close = () => desk.show(undefined);
  const done = (/** @type {string} */ text) => {
    setSaid(text);
    onDone();
  };
  return html`
    <p class="said" role="status" aria-live="polite">${said}</p>
    <dialog ref=${dialog} aria-labelledby="desk-title" onClose=${close}>
      ${
        shown?.kind === 'action'
          ? html`<${ActionForm} key=${shown.action.title} action=${shown.action} onClose=${close} onDone=${done} />`
          : null
      }
      ${shown?.kind === 'message' ? html`<${MessageDetails} row=${shown.row} onClose=${close} />` : null}
      ${shown?.kind === 'node' ? html`<${NodeDetails} key=${shown.node.node} node=${shown.node} onClose=${close} />` : null}
    </dialog>
  `;
}
