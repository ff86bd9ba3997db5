/**
 * The long run: `npm run chaos -- --minutes 10 --edges 300 --messages 100000`. Prints what it does and the
 * count of acknowledged messages that were lost or doubled; ends with 1 unless all of them are 0. A seed
 * repeats the choices, not the timing.
 */
import { parseArgs } from 'node:util';
import { runChaos } from './run-chaos.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    edges: { type: 'string', default: '300' },
    messages: { type: 'string', default: '100000' },
    nats: { type: 'string', default: '3' },
    pause: { type: 'string', default: '8' },
    seed: { type: 'string' },
  },
});
const edges = Number(values.edges);
const began = Date.now();
const say = (text: string) =>
  console.log(`${String(Math.round((Date.now() - began) / 1000)).padStart(5)} s  ${text}`);
const { logs, examples, ...report } = await runChaos({
  edges,
  messages: Number(values.messages),
  durationMs: Number(values.minutes) * 60_000,
  natsServers: values.nats === '1' ? 1 : 3,
  drivers: edges > 100 ? 2 : 1,
  pauseMs: Number(values.pause) * 1000,
  ...(values.seed === undefined ? {} : { seed: Number(values.seed) }),
  say,
});
console.table(report);
const bad = report.lostUp + report.doubledUp + report.lostDown + report.doubledDown;
if (bad > 0) console.log([logs, ...examples].join('\n'));
console.log(
  bad === 0 ? 'lost or doubled acknowledged messages: 0' : `lost or doubled acknowledged messages: ${bad}`,
);
process.exit(bad === 0 ? 0 : 1);
