import { describeForgotten } from '../../certs/rollover/describe-forgotten.ts';
import type { NodeInfo } from '../../contracts/node-directory.ts';
import type { ForgottenNodes } from '../../contracts/node-history.ts';
import type { Rejection } from '../../contracts/rejections.ts';
import { shortDuration } from '../output.ts';
import { type Finding, ok, skipped, warning } from './finding.ts';
import type { Patient } from './patient.ts';

const DAY_MS = 86_400_000;
/** A node renews at 70 to 90 % of its certificate's life; one with less than this left does not. */
const LEAST_LIFE = 1 / 20;
const SHOWN = 5;
/** What probes and port scans cause: no node is kept out by it. */
const NOISE: ReadonlySet<string> = new Set([
  'no-certificate',
  'disconnected',
  'timeout',
  'protocol',
  'plain-http',
  'not-authenticated',
]);

/** Connected nodes that do not renew. */
export async function checkNodeExpiry({ gateway, config, clock }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [skipped('node-expiry', 'nodes', 'the gateway does not answer')];
  const { items } = await gateway.admin.get<{ items: readonly NodeInfo[] }>('/api/v1/nodes');
  const leastMs = config.certificates.edgeDays * DAY_MS * LEAST_LIFE;
  const late = items
    .map(({ node, certificate }) => ({ node, leftMs: Date.parse(certificate.notAfter) - clock.now() }))
    .filter(({ leftMs }) => leftMs < leastMs)
    .sort((a, b) => a.leftMs - b.leftMs);
  if (late.length === 0)
    return [
      ok('node-expiry', `no connected node is near the end of its certificate`, `${items.length} nodes`),
    ];
  return [
    warning('node-expiry', `${late.length} connected nodes are near the end of their certificate`, {
      detail: some(late.map(({ node, leftMs }) => `${node} (${shortDuration(leftMs)})`)),
      hint: 'see the logs of these nodes for why they do not renew; a new token is the way back after the end',
    }),
  ];
}

/** Nodes that will come back too late to renew, where this version of the gateway can tell. */
export async function checkForecast({ gateway }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [];
  const answer = await gateway.admin
    .get<{ items: readonly { node: string; verdict: string }[]; forgotten?: ForgottenNodes }>(
      '/api/v1/nodes/forecast',
    )
    .catch(() => undefined);
  if (!answer) return [];
  const { forgotten } = answer;
  const missing = forgotten
    ? [
        warning('node-forecast', describeForgotten(forgotten), {
          detail: 'nobody knows which CA they depend on, so a CA rollover waits for them',
          hint: 'see SallyportHistoryForgot in docs/runbooks.md',
        }),
      ]
    : [];
  const lost = answer.items.filter(({ verdict }) => verdict === 'at-risk' || verdict === 'expired');
  if (lost.length === 0)
    return [
      ...missing,
      ok('node-forecast', 'every known node should be back in time to renew', `${answer.items.length} nodes`),
    ];
  return [
    ...missing,
    warning('node-forecast', `${lost.length} nodes will be, or are, locked out by their certificate`, {
      detail: some(lost.map(({ node, verdict }) => `${node} (${verdict})`)),
      hint: 'see `sallyport nodes forecast`; connect them before, or prepare tokens',
    }),
  ];
}

/** With which groups connected nodes agreed on their keys. No fault of theirs, so it is never a warning. */
export async function checkKeyExchange({ gateway }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [];
  const { items } = await gateway.admin.get<{ items: readonly NodeInfo[] }>('/api/v1/nodes');
  const known = items.filter(({ keyExchange }) => keyExchange);
  const classical = known.filter(({ keyExchange }) => !keyExchange!.postQuantum);
  const unknown = items.length - known.length;
  const untold = unknown === 0 ? [] : [`of ${unknown} it is not known: HTTP/3 does not tell`];
  if (classical.length === 0)
    return [ok('key-exchange', 'no node is known to negotiate a classical group', untold[0])];
  const groups = Map.groupBy(classical, ({ keyExchange, transport }) =>
    keyExchange!.group === 'unknown' ? `one of ${transport}` : keyExchange!.group,
  );
  const told = [...groups].map(([group, of]) => `${group}: ${some(of.map(({ node }) => node))}`);
  return [
    ok(
      'key-exchange',
      `${classical.length} nodes negotiate classical groups`,
      [...told, ...untold].join('; '),
    ),
  ];
}

/** Who was refused within a day, and why. */
export async function checkRejections({ gateway, clock }: Patient): Promise<Finding[]> {
  if (!gateway.up) return [];
  const { items } = await gateway.admin.get<{ items: readonly Rejection[] }>('/api/v1/rejections');
  const recent = items.filter(
    ({ reason, lastAt }) => !NOISE.has(reason) && clock.now() - Date.parse(lastAt) < DAY_MS,
  );
  if (recent.length === 0) return [ok('rejections', 'no node was refused within a day')];
  const reasons = Map.groupBy(recent, ({ reason }) => reason);
  return [...reasons].map(([reason, of]) =>
    warning('rejections', `refused within a day: ${reason}, ${of.length} of them`, {
      detail: some(
        of.map(({ node, claimedNode, remoteAddress, count }) => {
          const who =
            node ?? (claimedNode === undefined ? remoteAddress : `${remoteAddress}, who says ${claimedNode}`);
          return `${who} (${count}×)`;
        }),
      ),
      hint: of[0]!.fix,
    }),
  );
}

function some(texts: readonly string[]): string {
  const more = texts.length - SHOWN;
  return `${texts.slice(0, SHOWN).join(', ')}${more > 0 ? ` and ${more} more` : ''}`;
}
