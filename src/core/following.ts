import type { Component } from './lifecycle.ts';
import type { Unsubscribe } from './property.ts';

/** Subscriptions that last from its start to its stop: nothing that runs longer holds what has stopped. */
export function following(name: string, subscribe: () => readonly Unsubscribe[]): Component {
  let subscriptions: readonly Unsubscribe[] = [];
  return {
    name,
    start: async () => {
      subscriptions = subscribe();
    },
    stop: async () => {
      for (const unsubscribe of subscriptions) unsubscribe();
    },
  };
}
