import { render } from 'preact';
import { App } from './app.js';
import { html } from './lib.js';
import { Store } from './store.js';

const store = new Store();
render(html`<${App} store=${store} />`, /** @type {HTMLElement} */ (document.getElementById('app')));
store.start();
