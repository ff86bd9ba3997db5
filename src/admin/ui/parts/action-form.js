import { useState } from 'preact/hooks';
import { html } from '../lib.js';
import { Command } from './command.js';

/** @import { Action } from '../types.js' */

/**
 * Asks for a reason, and for a second look, before anything is changed.
 * @param {{ action: Action, onClose: () => void, onDone: (text: string) => void }} props
 */
export function ActionForm({ action, onClose, onDone }) {
  const { title, what, verb, isSevere, choice, name, done, run, result } = action;
  const [state, setState] = useState(/** @type {'asking' | 'busy' | 'done'} */ ('asking'));
  const [problem, setProblem] = useState('');
  const [secret, setSecret] = useState('');
  const submit = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    const values = new FormData(/** @type {HTMLFormElement} */ (event.currentTarget));
    const textOf = (/** @type {string} */ field) => String(values.get(field) ?? '').trim();
    setState('busy');
    setProblem('');
    const answer = await run({ reason: textOf('reason'), chosen: textOf('chosen'), name: textOf('name') });
    if (answer.kind !== 'ok') {
      setProblem(answer.kind === 'failed' ? answer.problem : 'it is not there any more');
      setState('asking');
      return;
    }
    onDone(done);
    if (!result) return onClose();
    setSecret(result(answer.body));
    setState('done');
  };
  const field = (/** @type {string} */ label, /** @type {unknown} */ input) =>
    html`<label class="field"><span>${label}</span>${input}</label>`;
  return html`
    <form onSubmit=${submit}>
      <h2 id="desk-title">${title}</h2>
      <p>${what}</p>
      ${
        state === 'done'
          ? html`<${Command} text=${secret} />`
          : html`
              ${name ? field(name, html`<input name="name" required autocomplete="off" spellcheck=${false} />`) : null}
              ${
                choice
                  ? field(
                      choice.label,
                      html`<select name="chosen">${choice.options.map((word) => html`<option key=${word}>${word}</option>`)}</select>`,
                    )
                  : null
              }
              ${field('Why, for the audit', html`<input name="reason" required maxlength="200" autocomplete="off" />`)}
            `
      }
      <p class="problem" role="alert">${problem}</p>
      <div class="choices">
        <button type="button" onClick=${onClose}>${state === 'done' ? 'Close' : 'Cancel'}</button>
        ${
          state === 'done'
            ? null
            : html`<button type="submit" class=${isSevere ? 'severe' : 'primary'} disabled=${state === 'busy'}>${verb}</button>`
        }
      </div>
    </form>
  `;
}
