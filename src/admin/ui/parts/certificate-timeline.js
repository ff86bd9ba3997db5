import { valueIn } from '../findings.js';
import { day, plural, relative } from '../format.js';
import { html } from '../lib.js';
import { density, NOW_AT, position, TICKS } from '../time-scale.js';
import { Loaded, Section } from './section.js';

/** @import { Certificate, Data } from '../types.js' */

const NAMES = /** @type {Record<string, string>} */ ({
  ca: 'CA',
  'client-ca': 'Further CA',
  hub: 'Hub certificate',
  'fleet-token': 'Fleet token',
});
/** Columns of the picture of the fleet. */
const SLOTS = 72;
const percent = (/** @type {number} */ part) => `${(part * 100).toFixed(2)}%`;

/** The part people know it by. @param {string} subject */
const commonName = (subject) => /CN ?= ?([^,]+)/.exec(subject)?.[1] ?? subject;

/** @param {{ data: Data, now: number }} props */
export function CertificateTimeline({ data, now }) {
  const ends = valueIn(data.nodes, []).map(({ certificate }) => Date.parse(certificate.notAfter));
  return html`
    <${Section} id="certificates" title="Certificates" note="Hours and decades on one line: fine around now, coarser further away.">
      <${Loaded} of=${data.certificates}>
        ${(/** @type {import('../types.js').Certificates} */ { certificates }) => html`
          <div class="timeline">
            <table>
              <caption class="visually-hidden">Certificates, their life on a time line, and when they end</caption>
              <thead>
                <tr>
                  <th scope="col">Certificate</th>
                  <th scope="col" class="axis-head">
                    <span class="visually-hidden">Life</span><${Axis} />
                  </th>
                  <th scope="col" class="number">Ends</th>
                </tr>
              </thead>
              <tbody>
                ${certificates.map((one) => html`<${Row} key=${`${one.kind}${one.sha256}${one.serial}`} certificate=${one} now=${now} />`)}
                <${Fleet} ends=${ends} now=${now} />
              </tbody>
            </table>
          </div>
        `}
      <//>
    <//>
  `;
}

function Axis() {
  return html`
    <span class="axis" aria-hidden="true">
      ${TICKS.map(({ label, at, days }) => html`<span class=${days === 0 ? 'now' : ''} style=${{ left: percent(at) }}>${label}</span>`)}
    </span>
  `;
}

/** @param {{ certificate: Certificate, now: number }} props */
function Row({ certificate, now }) {
  const { kind, subject, secret, notBefore, notAfter } = certificate;
  const [begin, end] = [Date.parse(notBefore), Date.parse(notAfter)];
  const [from, to] = [position(begin, now), position(end, now)];
  const left = (end - now) / (end - begin);
  const state = end < now ? 'bad' : left < 0.1 ? 'bad' : left < 0.25 ? 'warn' : 'good';
  return html`
    <tr>
      <th scope="row">
        ${NAMES[kind] ?? kind}
        <span class="under" title=${subject}>${commonName(subject)} <span class="quiet">· ${secret}</span></span>
      </th>
      <td class="track-cell">
        <span class="track" aria-hidden="true">
          <span class=${`bar ${state}`} style=${{ left: percent(from), width: percent(Math.max(0.004, to - from)) }}></span>
          <span class="bar past" style=${{ left: percent(from), width: percent(Math.max(0, Math.min(to, NOW_AT) - from)) }}></span>
          <span class="now-line" style=${{ left: percent(NOW_AT) }}></span>
        </span>
      </td>
      <td class="number">${relative(notAfter, now)}<span class="under quiet">${day(notAfter)}</span></td>
    </tr>
  `;
}

/** @param {{ ends: readonly number[], now: number }} props */
function Fleet({ ends, now }) {
  if (ends.length === 0) return null;
  const counts = density(ends, now, SLOTS);
  const most = Math.max(...counts);
  const first = new Date(ends.reduce((a, b) => Math.min(a, b))).toISOString();
  return html`
    <tr>
      <th scope="row">Connected nodes<span class="under quiet">${plural(ends.length, 'certificate')}</span></th>
      <td class="track-cell">
        <span class="track fleet" aria-hidden="true">
          ${counts.map((count, slot) =>
            count === 0
              ? null
              : html`<span
                  class="slot"
                  style=${{ left: percent(slot / SLOTS), width: percent(0.8 / SLOTS), height: percent(0.25 + (0.75 * count) / most) }}
                ></span>`,
          )}
          <span class="now-line" style=${{ left: percent(NOW_AT) }}></span>
        </span>
      </td>
      <td class="number">first ${relative(first, now)}<span class="under quiet">${day(first)}</span></td>
    </tr>
  `;
}
