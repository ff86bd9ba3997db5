import { setTimeout as sleep } from 'node:timers/promises';
import { median, percentile } from './lib/process-usage.ts';
import { QuicEdges } from './lib/quic-edges.ts';
import { startQuicHub } from './lib/quic-hub.ts';

const CONNECTIONS = Number(process.env.BENCH_CONNECTIONS ?? 1_000);
const ROTATIONS = Number(process.env.BENCH_ROTATIONS ?? 1_000);
/** After so many rotations a part of the edges says something and waits for the answer. */
const TALK_EVERY = 10;
/** For a close to get through, milliseconds. */
const SETTLE_MS = 2_000;

/**
 * New certificates over QUIC, one after the other, under connections that talk. Aim: 1,000 rotations with
 * 1,000 connections, and none ends.
 */
export async function benchQuicRotations(): Promise<void> {
  const hub = await startQuicHub('steered');
  const edges = new QuicEdges(hub);
  await edges.connect(CONNECTIONS);
  const before = await hub.usage();
  const times: number[] = [];
  for (let rotation = 1; rotation <= ROTATIONS; rotation++) {
    const from = performance.now();
    await hub.usage('rotate');
    times.push(performance.now() - from);
    if (rotation % TALK_EVERY === 0) await edges.ping(CONNECTIONS / 10);
  }
  await edges.ping(CONNECTIONS);
  await sleep(SETTLE_MS);
  const { ended, received, cpuMs } = await hub.usage();
  edges.stop();
  hub.stop();
  console.log(
    [
      `quic-rotations: ${ROTATIONS} rotations, ${CONNECTIONS} connections, ${ended} ended`,
      `${received - before.received} messages answered`,
      `a rotation p50 ${median(times).toFixed(0)} ms, p99 ${percentile(times, 0.99).toFixed(0)} ms`,
      `${((cpuMs - before.cpuMs) / ROTATIONS).toFixed(0)} ms of CPU each`,
    ].join('   '),
  );
  if (ended > 0) throw new Error('connections ended');
}
