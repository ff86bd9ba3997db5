import type { AuditTrail } from '../contracts/audit-trail.ts';
import type { EventReason, EventRecorder } from '../contracts/event-recorder.ts';

/** Warnings of what is to come: nobody did anything. */
const FORECASTS: ReadonlySet<EventReason> = new Set(['CertificateAuthorityExpiring', 'NodeAtRisk']);

/** Puts what was done, by people, by nodes and by the gateway itself, into the audit as well. */
export function auditedEvents(events: EventRecorder, audit: AuditTrail): EventRecorder {
  return {
    record: (event) => {
      events.record(event);
      if (FORECASTS.has(event.reason)) return;
      const { reason, secret, message, deed: { by = 'gateway', facts, ...deed } = {} } = event;
      const action = reason.replace(/(?<!^)[A-Z]/g, '-$&').toLowerCase();
      audit.record({ action, who: by, what: message, ...deed, facts: { secret, ...facts } });
    },
  };
}
