import { plural } from './format.js';

/** @import { Node, Order } from './types.js' */

/** The CloudCore a node is connected to; undefined while it has none. @param {Node} node */
export const cloudCoreOf = ({ upstream }) => (upstream?.state === 'open' ? upstream.address : undefined);

/**
 * What is said of the key exchange of these nodes; undefined when there is nothing to say.
 * @param {readonly Node[]} nodes
 */
export function classicalGroups(nodes) {
  const classical = nodes.flatMap(({ keyExchange }) =>
    keyExchange?.postQuantum === false ? [keyExchange] : [],
  );
  if (classical.length === 0) return undefined;
  const groups = [...new Set(classical.map(({ group }) => group))].sort().join(', ');
  return `${plural(classical.length, 'node negotiates a classical group', 'nodes negotiate classical groups')}: ${groups}`;
}

/** What a column sorts by. @type {Record<string, (node: Node) => string | number>} */
const KEYS = {
  Node: ({ node }) => node,
  Transport: ({ transport }) => transport,
  Replica: ({ replica }) => replica,
  Address: ({ remoteAddress }) => remoteAddress,
  'Certificate ends': ({ certificate }) => Date.parse(certificate.notAfter),
  Connected: ({ connectedSince }) => -Date.parse(connectedSince),
  Heard: ({ lastHeard }) => -Date.parse(lastHeard),
  CloudCore: (node) => cloudCoreOf(node) ?? '',
  Queue: ({ queued, unacknowledged }) => queued + unacknowledged,
};
/** Names with numbers as people sort them: edge-2 before edge-10. */
const { compare } = new Intl.Collator('en', { numeric: true });

/**
 * The page of the list that is shown.
 * @param {readonly Node[]} nodes
 * @param {{ search: string, order: Order, page: number, size: number }} view
 */
export function selectNodes(nodes, { search, order, page, size }) {
  const words = search.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (
    /** @type {Node} */ { node, transport, keyExchange, replica, remoteAddress, certificate, upstream },
  ) =>
    `${node} ${transport} ${keyExchange?.group ?? ''} ${replica} ${remoteAddress} ${certificate.serial} ${upstream?.address ?? ''}`.toLowerCase();
  const found =
    words.length === 0
      ? [...nodes]
      : nodes.filter((node) => {
          const all = text(node);
          return words.every((word) => all.includes(word));
        });
  const key = KEYS[order.by] ?? (({ node }) => node);
  const sign = order.descending ? -1 : 1;
  found.sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    const result = typeof x === 'number' && typeof y === 'number' ? x - y : compare(String(x), String(y));
    return sign * result || compare(a.node, b.node);
  });
  const pages = Math.max(1, Math.ceil(found.length / size));
  const shown = Math.min(page, pages - 1);
  return { total: found.length, pages, page: shown, rows: found.slice(shown * size, (shown + 1) * size) };
}
