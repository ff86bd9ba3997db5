/**
 * Every measurement, side by side with a bare server in the same run: ratios and CPU per operation, because
 * absolute times say little on a shared machine. `npm run bench`, or one of them: `npm run bench --
 * messages`.
 */
import { benchConnects } from './connects.ts';
import { benchIdle } from './idle.ts';
import { benchKube } from './kube.ts';
import { benchLoss } from './loss.ts';
import { benchMessages } from './messages.ts';
import { benchNats, benchReconnect } from './nats.ts';
import { benchQuic } from './quic.ts';
import { benchQuicRotations } from './quic-rotations.ts';
import { benchRelay, benchRelaySessions } from './relay.ts';
import { benchSwap } from './swap.ts';

const benches: Readonly<Record<string, () => Promise<void>>> = {
  messages: benchMessages,
  connects: benchConnects,
  idle: benchIdle,
  swap: benchSwap,
  kube: benchKube,
  quic: benchQuic,
  'quic-rotations': benchQuicRotations,
  loss: benchLoss,
  relay: benchRelay,
  'relay-sessions': benchRelaySessions,
  nats: benchNats,
  reconnect: benchReconnect,
};
const wanted = process.argv.slice(2);
for (const [name, run] of Object.entries(benches)) {
  if (wanted.length === 0 || wanted.includes(name)) await run();
}
process.exit(0);
