import type { BearerReviewer } from '../contracts/bearer-reviewer.ts';
import type { EventRecorder } from '../contracts/event-recorder.ts';
import type { SecretStore } from '../contracts/secret-store.ts';
import type { Component } from '../core/lifecycle.ts';
import { DirectorySecretStore } from './directory/directory-secret-store.ts';
import type { SecretStoreOptions } from './open-secret-store.ts';
import type { StoreComponents } from './store-health.ts';

/** What a gateway has of the cluster it runs on; in a folder there are the Secrets alone. */
export interface Cluster {
  readonly store: SecretStore;
  readonly events: EventRecorder;
  /** Undefined where nobody can be asked whose a token is. */
  readonly reviewer: BearerReviewer | undefined;
  /** Writes the last Events and closes the store; the first to start, so the last to stop. */
  readonly component: Component;
}

/** How long the last Events may hold up the end of the process, milliseconds. */
const LAST_EVENTS_MS = 2_000;

/** @throws CONFIG_INVALID when there is no cluster */
export async function openCluster(
  components: StoreComponents,
  options: SecretStoreOptions & { readonly replica: string },
): Promise<Cluster> {
  if (options.kind === 'directory') {
    const store = new DirectorySecretStore(components, options);
    return {
      store,
      events: { record: () => {} },
      reviewer: undefined,
      component: { name: 'secret store', start: async () => {}, stop: () => store.close() },
    };
  }
  // The library behind the client is loaded only where it is wanted.
  const [{ KubeClient }, { KubeSecretStore }, { KubeEvents }, { KubeBearerReviewer }] = await Promise.all([
    import('./kubernetes/kube-client.ts'),
    import('./kubernetes/kube-secret-store.ts'),
    import('./kubernetes/kube-events.ts'),
    import('./kubernetes/kube-bearer-reviewer.ts'),
  ]);
  const client = await KubeClient.load(components, options);
  const store = new KubeSecretStore({ ...components, client }, options);
  const events = new KubeEvents({ ...components, client }, options);
  return {
    store,
    events,
    reviewer: new KubeBearerReviewer({ ...components, client }),
    component: {
      name: 'cluster',
      start: async () => {},
      stop: async (signal) => {
        const late = new AbortController();
        const timer = components.clock.setTimeout(() => late.abort(), LAST_EVENTS_MS);
        await events.stop(AbortSignal.any([signal, late.signal]));
        timer.cancel();
        await store.close();
      },
    },
  };
}
