import { useEffect, useState } from 'preact/hooks';
import { ask, disconnect, quarantine, revoke } from '../actions.js';
import { read } from '../api.js';
import { quote } from '../format.js';
import { html } from '../lib.js';
import { canAct } from '../session.js';
import { Command } from './command.js';

/** @import { Node } from '../types.js' */

/**
 * Everything that the gateway knows of one node, as `sallyport nodes show` prints it.
 * @param {{ node: Node, onClose: () => void }} props `node`: as the list has it
 */
export function NodeDetails({ node: listed, onClose }) {
  const [node, setNode] = useState(listed);
  const [problem, setProblem] = useState('');
  const name = listed.node;
  useEffect(() => {
    void read(`/api/v1/nodes/${encodeURIComponent(name)}`).then((answer) => {
      if (answer.kind === 'ok') setNode(answer.body);
      else setProblem(answer.kind === 'missing' ? 'It has no session any more.' : answer.problem);
    });
  }, [name]);
  return html`
    <h2 id="desk-title">${name}</h2>
    <p class="problem" role="alert">${problem}</p>
    <dl class="facts">
      ${factsOf(node).map(([path, value]) => html`<div key=${path}><dt>${path}</dt><dd>${value}</dd></div>`)}
    </dl>
    <${Command} text=${`sallyport nodes show ${quote(name)}`} />
    <div class="choices">
      <button type="button" onClick=${onClose}>Close</button>
      ${
        canAct
          ? [disconnect, quarantine, revoke].map((make) => {
              const action = make(name);
              return html`<button key=${action.verb} type="button" onClick=${() => ask(action)}>${action.verb}</button>`;
            })
          : null
      }
    </div>
  `;
}

/**
 * `certificate.serial` and the like, whatever this gateway tells.
 * @param {object} value
 * @param {string} [under]
 * @returns {[string, string][]}
 */
export function factsOf(value, under = '') {
  return Object.entries(value).flatMap(([key, one]) =>
    typeof one === 'object' && one !== null
      ? factsOf(one, `${under}${key}.`)
      : [/** @type {[string, string]} */ ([`${under}${key}`, String(one)])],
  );
}
