import { accessSync, constants, readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import type { TestGateway } from './fleets/test-gateway.ts';
import type { Pair } from './pki/pki.ts';

const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface BrowserOptions {
  readonly width?: number;
  readonly height?: number;
  readonly scheme?: 'light' | 'dark';
  /** Without it the browser has no client certificate. */
  readonly as?: TestGateway;
  readonly reducedMotion?: boolean;
}

export interface Visitor extends AsyncDisposable {
  readonly context: BrowserContext;
  readonly page: Page;
  /** What the page complained of: errors in its console, and exceptions. */
  readonly complaints: string[];
  /** Every address it asked for. */
  readonly requests: string[];
}

/**
 * Debian's Chromium, with the admin certificate of a gateway. @throws when there is no Chromium: these tests
 * are never skipped
 */
export async function visit(options: BrowserOptions = {}): Promise<Visitor> {
  const { width = 1280, height = 900, scheme = 'light', as, reducedMotion = true } = options;
  try {
    accessSync(CHROMIUM, constants.X_OK);
  } catch {
    throw new Error(`there is no Chromium at ${CHROMIUM}: apt-get install chromium, or set CHROMIUM`);
  }
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: scheme,
    reducedMotion: reducedMotion ? 'reduce' : 'no-preference',
    // The CA of a test is in nobody's trust store.
    ignoreHTTPSErrors: true,
    ...(as
      ? {
          clientCertificates: [
            {
              origin: `https://localhost:${as.port('admin')}`,
              certPath: join(as.folder, 'admin.crt'),
              keyPath: join(as.folder, 'admin.key'),
            },
          ],
        }
      : {}),
  });
  // As `eventually` waits; Playwright's own 30 s are short on a machine that does much else.
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  const complaints: string[] = [];
  const requests: string[] = [];
  // A route that this gateway lacks is no error of the page, though Chromium's console says it.
  page.on('console', (message) => {
    const isMissingRoute = /\b404\b/.test(message.text()) && message.location().url.includes('/api/v1/');
    if (['error', 'warning'].includes(message.type()) && !isMissingRoute) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => requests.push(request.url()));
  return {
    context,
    page,
    complaints,
    requests,
    [Symbol.asyncDispose]: () => browser.close(),
  };
}

export const pageOf = (gateway: TestGateway) => `https://localhost:${gateway.port('admin')}/`;

/**
 * Asks for a session on the WebSocket listener with any certificate. @returns the status it is refused with
 */
export function knock(gateway: TestGateway, as: Pair, node: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const ca = readFileSync(join(gateway.folder, 'ca.crt'));
    const path = `/e632aba927ea4ac2b575ec1603d56f10/${node}/events`;
    const headers = {
      connection: 'Upgrade',
      upgrade: 'websocket',
      'sec-websocket-version': '13',
      'sec-websocket-key': Buffer.alloc(16).toString('base64'),
    };
    const options = {
      host: 'localhost',
      port: gateway.port('websocket'),
      path,
      headers,
      ca,
      cert: as.pem,
      key: as.key,
      agent: false,
    };
    request(options, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    })
      .on('error', reject)
      .end();
  });
}
