import { html } from '../lib.js';

/** @import { ComponentChildren } from 'preact' */
/** @import { Resource } from '../types.js' */

/**
 * A part of the page under a heading, which names it for screen readers too.
 * @param {{ id: string, title: string, note?: ComponentChildren, aside?: ComponentChildren, children?:
 * ComponentChildren }} props
 */
export function Section({ id, title, note, aside, children }) {
  return html`
    <section aria-labelledby=${id} class="card">
      <div class="card-head">
        <h2 id=${id}>${title}</h2>
        ${aside}
      </div>
      ${note ? html`<p class="note">${note}</p>` : null} ${children}
    </section>
  `;
}

/**
 * Shows a value that is read from the gateway, or says why there is none.
 * @template T
 * @param {{ of: Resource<T>, children: (value: T) => ComponentChildren }} props
 */
export function Loaded({ of: resource, children }) {
  if (resource.state === 'loading') return html`<p class="quiet">Reading…</p>`;
  if (resource.state === 'missing') return html`<p class="quiet">Not available on this gateway.</p>`;
  if (resource.state === 'ready') return children(resource.value);
  return html`
    <p class="quiet">Could not be read: ${resource.problem}.</p>
    ${resource.value === undefined ? null : children(resource.value)}
  `;
}

/**
 * A word with a mark whose shape tells the same as its colour.
 * @param {{ kind: 'good' | 'warn' | 'bad' | 'plain', children?: ComponentChildren }} props
 */
export function Badge({ kind, children }) {
  const mark = { good: '✓', warn: '!', bad: '×', plain: '•' }[kind];
  return html`<span class=${`badge ${kind}`}><span class="mark" aria-hidden="true">${mark}</span>${children}</span>`;
}
