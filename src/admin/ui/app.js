import { useEffect, useState } from 'preact/hooks';
import { createToken, rotateHub } from './actions.js';
import { findings } from './findings.js';
import { html } from './lib.js';
import { Act } from './parts/act.js';
import { Attention } from './parts/attention.js';
import { CertificateTimeline } from './parts/certificate-timeline.js';
import { Checks } from './parts/checks.js';
import { Desk } from './parts/desk.js';
import { Forecasts } from './parts/forecasts.js';
import { Header } from './parts/header.js';
import { Messages } from './parts/messages.js';
import { Nodes } from './parts/nodes.js';
import { Rejections } from './parts/rejections.js';
import { Revocations } from './parts/revocations.js';
import { RolloverProgress } from './parts/rollover.js';
import { ServedTable } from './parts/served.js';
import { Sessions } from './parts/sessions.js';
import { canAct, role } from './session.js';

/** @param {{ store: import('./store.js').Store }} props */
export function App({ store }) {
  const [snapshot, setSnapshot] = useState(store.snapshot());
  useEffect(() => {
    const update = () => setSnapshot(store.snapshot());
    const stop = store.subscribe(update);
    // Ages and time to expiry move on though nothing is read.
    const timer = setInterval(update, 10_000);
    update();
    return () => {
      stop();
      clearInterval(timer);
    };
  }, [store]);

  const { data, now } = snapshot;
  return html`
    <a class="skip" href="#main">Skip to content</a>
    <${Header} snapshot=${snapshot} />
    <main id="main" tabindex="-1">
      <div class="acts"><${Act} make=${createToken} /><${Act} make=${rotateHub} /></div>
      <${Attention} items=${findings(data, now)} loading=${data.info.state === 'loading'} />
      <${CertificateTimeline} data=${data} now=${now} />
      <div class="columns">
        <${ServedTable} data=${data} now=${now} />
        <${Sessions} data=${data} />
      </div>
      <${Nodes} nodes=${data.nodes} now=${now} />
      <${Messages} nodes=${data.nodes} />
      <div class="columns even">
        <${Rejections} rejections=${data.rejections} now=${now} />
        <${Revocations} revocations=${data.revocations} now=${now} />
      </div>
      <div class="columns even">
        <${Forecasts} forecast=${data.forecast} now=${now} />
        <${RolloverProgress} rollover=${data.rollover} />
      </div>
      <${Checks} checks=${data.checks} />
    </main>
    <${Desk} onDone=${() => store.refresh()} />
    <footer>
      <p>
        ${
          canAct
            ? 'What you change here is done in your name, with your reason, and is in the audit.'
            : role === 'viewer'
              ? 'You are a viewer: this page only reads.'
              : html`This page only reads. <code>sallyport dashboard</code> opens one that also changes things.`
        }
        Every figure is also in the <a href="/openapi.json">admin API</a> and in <a href="/metrics">/metrics</a>.
      </p>
    </footer>
  `;
}
