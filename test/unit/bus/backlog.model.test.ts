import fc from 'fast-check';
import { expect, test } from 'vitest';
import { LocalBus } from '../../../src/bus/local/local-bus.ts';
import { configSchema } from '../../../src/config/schema.ts';
import type { DeliveryOutcome, DownstreamItem } from '../../../src/contracts/message-bus.ts';
import { silentLogger } from '../../../src/core/log.ts';
import { createMetrics } from '../../../src/core/metrics.ts';
import type { Unsubscribe } from '../../../src/core/property.ts';
import { ManualClock } from '../../fakes/manual-clock.ts';
import { itemFor, objectMessage } from '../../support/edges/messages.ts';
import { eventually } from '../../support/eventually.ts';

const LIMIT = 6;
const WINDOW = 2;

type Step =
  | { readonly do: 'enqueue'; readonly object: number; readonly version: number }
  | { readonly do: 'attach' }
  | { readonly do: 'detach' }
  | { readonly do: 'settle'; readonly pick: number; readonly as: 'acknowledged' | 'disconnected' };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('enqueue' as const), object: fc.nat(4), version: fc.nat(9) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('attach' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('detach' as const) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      pick: fc.nat(WINDOW),
      as: fc.constantFrom('acknowledged' as const, 'acknowledged' as const, 'disconnected' as const),
    }),
  },
);

interface UnderWay {
  readonly object: string;
  readonly version: number;
  readonly session: number;
  readonly settle: (outcome: DeliveryOutcome | 'disconnected') => void;
}

test('J2, I13: whatever happens, bounds hold, versions never go back, and the newest of each object arrives', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { queue } = configSchema.parse({}).hub;
      const metrics = createMetrics({ process: false });
      const bus = new LocalBus({ clock: new ManualClock(), log: silentLogger, metrics }, () => ({
        ...queue,
        messagesPerNode: LIMIT,
      }));
      const newest = new Map<string, number>();
      const arrived = new Map<string, number>();
      let unsettled = 0;
      let underWay: UnderWay[] = [];
      const faults: string[] = [];
      let session = 0;
      let detach: Unsubscribe | undefined;

      const deliver = (mine: number) => (item: DownstreamItem) => {
        const object = item.message.route.resource!;
        const version = Number(item.message.header.resourceversion);
        const present = underWay.filter((other) => other.session === mine);
        // A throw would only be the session's failure to the bus; so faults are gathered.
        if (present.length >= WINDOW) faults.push('more under way than the window');
        if (present.some((other) => other.object === object))
          faults.push(`two versions of ${object} under way`);
        if (version < (arrived.get(object) ?? 0)) faults.push(`${object} went back to ${version}`);
        return new Promise<DeliveryOutcome | 'disconnected'>((settle) =>
          underWay.push({ object, version, session: mine, settle }),
        );
      };
      const attach = () => {
        const mine = ++session;
        underWay = [];
        detach = bus.attach('edge-1', { window: WINDOW, deliver: deliver(mine) });
      };
      const settleOne = (pick: number, as: 'acknowledged' | 'disconnected') => {
        const [one] = underWay.splice(pick % underWay.length, 1);
        if (as === 'acknowledged') arrived.set(one!.object, one!.version);
        one!.settle(as === 'acknowledged' ? { kind: 'acknowledged' } : 'disconnected');
      };

      for (const action of steps) {
        if (action.do === 'enqueue') {
          const message = objectMessage(`o${action.object}`, action.version);
          const object = message.route.resource!;
          // A cloud program never sends what is older than what the edge has confirmed already.
          if (action.version < (arrived.get(object) ?? 0)) continue;
          try {
            const { outcome } = await bus.enqueue(itemFor('edge-1', message));
            unsettled++;
            void outcome.then(() => unsettled--);
            newest.set(object, Math.max(newest.get(object) ?? 0, action.version));
          } catch (error) {
            expect(error).toMatchObject({ code: 'QUEUE_FULL' });
          }
        } else if (action.do === 'attach') attach();
        else if (action.do === 'detach') {
          detach?.();
          underWay = [];
        } else if (underWay.length > 0) {
          settleOne(action.pick, action.as);
        }
        expect(bus.backlog('edge-1').messages).toBeLessThanOrEqual(LIMIT);
        await new Promise((resolve) => setImmediate(resolve));
      }

      attach();
      await eventually(
        "{ while (underWay.length > 0) settleOne(0, 'acknowledged'); return unsettled === 0; }",
        () => {
          while (underWay.length > 0) settleOne(0, 'acknowledged');
          return unsettled === 0;
        },
      );
      for (const [object, version] of newest) expect(arrived.get(object)).toBe(version);
      expect(faults).toEqual([]);
      expect(bus.backlog('edge-1')).toEqual({ messages: 0, bytes: 0 });
      await bus.stop();
    }),
    { numRuns: 100 },
  );
});
