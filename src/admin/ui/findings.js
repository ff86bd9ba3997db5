import { day, duration, plural, quote, relative } from './format.js';

/** @import { Data, Finding, Resource, Served } from './types.js' */

const DAY_MS = 86_400_000;
/**
 * As the alerts: the hub certificate is renewed at two thirds of its life, so less than a quarter left means
 * that this failed.
 */
const HUB_LEFT = 0.25;
/** The relay waits up to 15 s between two attempts. */
const LOST_MS = 20_000;

/**
 * Reasons of those who may be no node at all: scanners, probes, a browser that opened one connection too
 * many.
 */
const NOISE = new Set(['disconnected', 'no-certificate', 'timeout', 'protocol']);

/** @param {import('./types.js').Rejection} rejection */
export const isNoise = ({ node, claimedNode, reason }) => !node && !claimedNode && NOISE.has(reason);

/**
 * @template T
 * @param {Resource<T>} resource
 * @param {T} otherwise
 * @returns {T}
 */
export const valueIn = (resource, otherwise) =>
  'value' in resource && resource.value !== undefined ? resource.value : otherwise;

/**
 * What an operator should act on, the urgent first, each with the command that says more or mends it.
 * @param {Data} data
 * @param {number} now
 * @returns {Finding[]}
 */
export function findings(data, now) {
  const found = [
    ...checks(data),
    ...expiry(data, now),
    ...drift(data),
    ...nodes(data, now),
    ...cloudCores(data, now),
    ...rollover(data),
  ];
  return found.sort((a, b) => b.level - a.level);
}

/** @param {Data} data @returns {Finding[]} */
function checks({ checks, certificates }) {
  const problem = valueIn(certificates, /** @type {any} */ ({})).problem;
  const failing = valueIn(checks, []).filter(({ ok }) => !ok);
  return [
    ...failing.map(({ name, detail }) => ({
      level: /** @type {const} */ (2),
      title: `Not ready: ${name}`,
      ...(detail ? { detail } : {}),
      command: 'sallyport health --verbose',
    })),
    ...(problem
      ? [
          {
            level: /** @type {const} */ (2),
            title: 'The newest Secrets were refused; the last good certificates stay in use',
            detail: problem,
            command: 'sallyport certs list',
          },
        ]
      : []),
  ];
}

/** @param {Data} data @param {number} now @returns {Finding[]} */
function expiry({ certificates }, now) {
  const { certificates: list } = valueIn(certificates, /** @type {any} */ ({ certificates: [] }));
  return /** @type {import('./types.js').Certificate[]} */ (list).flatMap(
    ({ kind, subject, notBefore, notAfter, managed }) => {
      const [begin, end] = [Date.parse(notBefore), Date.parse(notAfter)];
      const left = end - now;
      const isCa = kind === 'ca' || kind === 'client-ca';
      const soon = isCa ? left < 180 * DAY_MS : left < HUB_LEFT * (end - begin);
      if (!soon) return [];
      const what = isCa ? `CA ${subject}` : kind === 'hub' ? 'The hub certificate' : 'The fleet token';
      return [
        {
          level: left < (isCa ? 30 : 7) * DAY_MS ? /** @type {const} */ (2) : /** @type {const} */ (1),
          title: left < 0 ? `${what} ended ${duration(left)} ago` : `${what} ends in ${duration(left)}`,
          detail: `on ${day(notAfter)}${kind === 'hub' && managed ? '; it should have been renewed by now' : ''}`,
          command:
            kind === 'hub'
              ? 'sallyport certs rotate hub'
              : isCa
                ? 'sallyport ca rollover prepare'
                : 'sallyport token create --fleet',
        },
      ];
    },
  );
}

/** @param {Data} data @returns {Finding[]} */
function drift(data) {
  return servedRows(data)
    .filter(({ problem, wantedSha256, servedSha256 }) => problem || wantedSha256 !== servedSha256)
    .map(({ replica, listener, problem }) => ({
      level: /** @type {const} */ (2),
      title: `${listener} of ${replica} does not serve the wanted certificate`,
      ...(problem ? { detail: problem } : {}),
      command: 'sallyport certs list',
    }));
}

/** @param {Data} data @param {number} now @returns {Finding[]} */
function nodes({ rejections, forecast }, now) {
  const rejected = valueIn(rejections, []).filter(
    (one) => !isNoise(one) && now - Date.parse(one.lastAt) < 3_600_000,
  );
  const atRisk = valueIn(forecast, []).filter(
    ({ verdict }) => verdict === 'at-risk' || verdict === 'expired',
  );
  const [first] = atRisk;
  return [
    ...(atRisk.length > 0 && first
      ? [
          {
            level: /** @type {const} */ (1),
            title: `${plural(atRisk.length, 'node')} will be locked out unless somebody acts`,
            detail: `${first.node}: certificate ends ${relative(first.certificate.notAfter, now)}`,
            command: `sallyport token create --node ${quote(first.node)}`,
          },
        ]
      : []),
    ...(rejected.length > 0
      ? [
          {
            level: /** @type {const} */ (1),
            title: `${plural(rejected.length, 'peer')} rejected within the hour`,
            detail: [...new Set(rejected.map(({ reason }) => reason))].join(', '),
            command: 'sallyport nodes rejected',
          },
        ]
      : []),
  ];
}

/**
 * Nodes without CloudCore for longer than it takes to find another.
 * @param {Data} data
 * @param {number} now
 * @returns {Finding[]}
 */
function cloudCores({ nodes }, now) {
  const relayed = valueIn(nodes, []).flatMap(({ upstream }) => (upstream ? [upstream] : []));
  const lost = relayed.filter(({ state, since }) => state !== 'open' && now - Date.parse(since) > LOST_MS);
  if (lost.length === 0) return [];
  return [
    {
      level: lost.length > 0.1 * relayed.length ? 2 : 1,
      title: `${plural(lost.length, 'node')} of ${relayed.length} without CloudCore`,
      detail: 'sessions stay, and nobody answers what these nodes ask',
      command: 'sallyport doctor',
    },
  ];
}

/** @param {Data} data @returns {Finding[]} */
function rollover({ rollover }) {
  const { phase, warnings = [] } = valueIn(rollover, /** @type {any} */ ({ phase: 'idle' }));
  if (phase === 'idle') return [];
  return /** @type {string[]} */ (warnings).map((title) => ({
    level: /** @type {const} */ (1),
    title,
    command: 'sallyport ca rollover status',
  }));
}

/**
 * What each listener serves: by handshakes of every replica where the gateway has them, else what this
 * replica says of itself.
 * @param {Data} data
 * @returns {readonly Served[]}
 */
export function servedRows({ served, certificates, info }) {
  const rows = valueIn(served, []);
  if (rows.length > 0) return rows;
  const { wantedFingerprint, listeners } = valueIn(certificates, /** @type {any} */ ({ listeners: [] }));
  const { replica } = valueIn(info, /** @type {any} */ ({ replica: 'this replica' }));
  return /** @type {import('./types.js').Certificates['listeners']} */ (listeners).map((listener) => ({
    replica,
    listener: listener.name,
    wantedSha256: wantedFingerprint,
    servedSha256: listener.servedFingerprint,
    ...(listener.detail ? { detail: listener.detail } : {}),
  }));
}
