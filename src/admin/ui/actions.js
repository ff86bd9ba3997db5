import { change } from './api.js';

/** @import { Action, MessageRow, Node, Shown } from './types.js' */

/** RFC 5280 §5.3.1, those that an operator chooses from. */
const REASONS = ['unspecified', 'keyCompromise', 'affiliationChanged', 'superseded', 'cessationOfOperation'];

/** What is asked for or looked at now; one thing at a time. */
let shown = /** @type {Shown | undefined} */ (undefined);
const listeners = /** @type {Set<() => void>} */ (new Set());

/** The dialog of the page. */
export const desk = {
  get shown() {
    return shown;
  },
  /** @param {Shown | undefined} next undefined closes it */
  show(next) {
    shown = next;
    for (const listener of listeners) listener();
  },
  /** @param {() => void} listener */
  subscribe(listener) {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
};

/** @param {Action} action */
export const ask = (action) => desk.show({ kind: 'action', action });
/** @param {Node} node */
export const look = (node) => desk.show({ kind: 'node', node });
/** @param {MessageRow} row */
export const open = (row) => desk.show({ kind: 'message', row });

const nodePath = (/** @type {string} */ node) => `/api/v1/nodes/${encodeURIComponent(node)}`;

/** @param {string} node @returns {Action} */
export const disconnect = (node) => ({
  title: `Disconnect ${node}`,
  what: 'Its session ends now. It connects again by itself.',
  verb: 'Disconnect',
  done: `${node} is disconnected.`,
  run: ({ reason }) => change(`${nodePath(node)}/disconnect`, { reason }),
});

/** @param {string} node @returns {Action} */
export const quarantine = (node) => ({
  title: `Quarantine ${node}`,
  what: 'It is shut out on every transport and replica until somebody lifts it. Its certificate stays valid.',
  verb: 'Quarantine',
  done: `${node} is quarantined.`,
  run: ({ reason }) => change('/api/v1/revocations/quarantine', { body: { node, note: reason }, reason: '' }),
});

/** @param {string} node @returns {Action} */
export const revoke = (node) => ({
  title: `Revoke ${node}`,
  what: 'It is shut out for good: no certificate of its name is accepted or issued until somebody lifts it.',
  verb: 'Revoke',
  isSevere: true,
  choice: { label: 'Reason for the list', options: REASONS },
  done: `${node} is revoked.`,
  run: ({ reason, chosen }) =>
    change('/api/v1/revocations', { body: { node, reason: chosen, note: reason }, reason: '' }),
});

/** @param {{ node?: string, serial?: string }} who @returns {Action} */
export const lift = ({ node, serial }) => {
  const name = node ?? `serial ${serial}`;
  return {
    title: `Let ${name} in again`,
    what: 'Its certificates are accepted again, the old ones too.',
    verb: 'Let in',
    done: `${name} is let in again.`,
    run: ({ reason }) =>
      change('/api/v1/revocations/lift', { body: node === undefined ? { serial } : { node }, reason }),
  };
};

/** @returns {Action} */
export const createToken = () => ({
  title: 'Create a join token',
  what: 'One node of this name can join with it, once, within the hour. It is shown here and nowhere else.',
  verb: 'Create',
  name: 'Name of the node',
  done: 'The token is created.',
  run: ({ reason, name }) => change('/api/v1/tokens', { body: { node: name }, reason }),
  result: (body) => /** @type {{ token: string }} */ (body).token,
});

/** @returns {Action} */
export const rotateHub = () => ({
  title: 'Rotate the hub certificate',
  what: 'A new certificate of the same CA is issued, tried and served. Open connections stay.',
  verb: 'Rotate',
  done: 'The hub certificate is rotated.',
  run: ({ reason }) => change('/api/v1/certificates/hub/rotate', { reason }),
});

/** @param {{ step: string, blockers: readonly string[] }} next @returns {Action} */
export const takeStep = ({ step, blockers }) => ({
  title: `CA rollover: ${step}`,
  what:
    blockers.length > 0
      ? `The gateway will refuse this while it waits for: ${blockers.slice(0, 3).join('; ')}`
      : 'Every gateway follows this step. docs/operations.md says what it does, and how to go back.',
  verb: step === 'abort' ? 'Take it back' : `Take the step`,
  isSevere: step === 'revoke' || step === 'abort',
  done: `The step ${step} is taken.`,
  run: ({ reason }) => change(`/api/v1/ca/rollover/${step}`, { reason }),
});
