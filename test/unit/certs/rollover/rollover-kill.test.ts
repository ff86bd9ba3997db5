import { expect, test } from 'vitest';
import type { RolloverStep } from '../../../../src/contracts/ca-rollover.ts';
import { MortalStore } from '../../../fakes/mortal-store.ts';
import { presentsChainTo } from '../../../support/fleets/rollover.ts';
import {
  allKnow,
  FORWARD,
  kubeEdgeCa,
  RolloverFleet,
  trusted,
} from '../../../support/fleets/rollover-fleet.ts';
import { TEST_SCALE } from '../../../support/scale.ts';
import { advanceUntil, whileAdvancing } from '../../../support/while-advancing.ts';

const journeys: Readonly<Record<string, readonly RolloverStep[]>> = {
  forward: FORWARD,
  'there and back': ['prepare', 'activate', 'abort', 'abort'],
};
for (const [name, journey] of Object.entries(journeys))
  for (const effect of ['before', 'after'] as const)
    test(`a CA rollover, ${name}: killed ${effect} each write takes effect, another replica and a new process go on from there`, async () => {
      const old = await kubeEdgeCa();
      // Each sixth write at home, others before than after; all of them in CI.
      const [first, stride] = TEST_SCALE >= 1 ? [1, 1] : [effect === 'before' ? 1 : 4, 6];
      for (let at = first; ; at += stride) {
        await using fleet = new RolloverFleet();
        const { store, clock } = fleet;
        fleet.putCa(old);
        const witness = await fleet.start({ replica: 'witness', on: store.connect() });
        const mortal = new MortalStore(store.connect(), { at, effect });
        const victim = await fleet.start({ replica: 'victim', on: mortal });
        for (const step of journey) {
          await advanceUntil(clock, () => mortal.isDead || allKnow(victim));
          await whileAdvancing(
            clock,
            victim.step(step).catch(() => {}),
          );
        }
        const survived = !mortal.isDead;
        await fleet.stop(1);
        // Until then it counts as alive.
        await clock.advance(150_000);

        const heir = await fleet.start({ replica: 'heir', on: store.connect() });
        for (const hub of [witness, heir]) {
          await advanceUntil(
            clock,
            () => witness.current.cas.rollover.version === heir.current.cas.rollover.version,
          );
          expect(hub.current.current().ca.sha256).toBe(hub.current.authority().certificate.sha256);
          expect(presentsChainTo(hub.current.current(), old.certificate)).toBe(true);
        }
        // Whatever was left behind, it ends where it was meant to.
        while (
          ['prepared', 'active', 'retiring'].includes(heir.service.status().phase) ||
          fleet.storedCa() === old.sha256
        ) {
          const { phase } = heir.service.status();
          const step = {
            idle: 'prepare',
            prepared: 'activate',
            active: 'retire',
            retiring: 'revoke',
          } as const;
          if (phase === 'revoking') await clock.advance(1_000);
          else {
            await advanceUntil(clock, () => allKnow(heir));
            await whileAdvancing(clock, heir.step(step[phase]));
          }
        }
        await advanceUntil(clock, () => fleet.storedPhase() === 'idle');
        await advanceUntil(clock, () =>
          [witness, heir].every((hub) => trusted(hub).join() === fleet.storedCa()),
        );
        for (const hub of [witness, heir]) {
          expect(trusted(hub)).toEqual([fleet.storedCa()]);
          expect(presentsChainTo(hub.current.current(), old.certificate)).toBe(true);
          expect(hub.manager.status().problem).toBeUndefined();
        }
        await fleet.stop();
        expect(clock.pending).toBe(0);
        if (survived) {
          expect(at).toBeGreaterThan(5);
          return;
        }
      }
    }, 120_000);
