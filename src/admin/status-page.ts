import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { DocumentedRoute } from './openapi.ts';

/** The libraries the page imports by name; its import map, in `index.html`, says where they are served. */
const LIBRARIES = { preact: 'preact', 'preact/hooks': 'preact-hooks', htm: 'htm' } as const;
const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
};

export const statusPageRoute = {
  method: 'GET',
  path: '/',
  operationId: 'getStatusPage',
  tag: 'Gateway',
  summary: 'The status page, for a browser with the admin certificate',
  produces: 'text/html',
  answers: { 200: { description: 'the page' } },
} satisfies DocumentedRoute;

interface Asset {
  readonly type: string;
  readonly bytes: Buffer;
  readonly etag: string;
}

/**
 * The status page: files of `ui/` and two libraries of `node_modules`, read once, served as they are. Nothing
 * is built, and nothing comes from elsewhere: the policy allows this origin alone, and no inline script but
 * the import map, by its hash (CSP level 3 §6.7.3.3).
 */
export function serveStatusPage(app: FastifyInstance): void {
  const assets = readAssets();
  const page = assets.get('index.html')!;
  const policy = contentSecurityPolicy(page.bytes.toString('utf8'));
  const serve = (path: string, asset: Asset) =>
    app.get(path, async (request, reply) => {
      void reply.headers({
        'cache-control': 'no-cache',
        etag: asset.etag,
        'content-security-policy': policy,
        // Nothing of another origin may hold a window of this one (HTML standard §7.1.3).
        'cross-origin-opener-policy': 'same-origin',
        'cross-origin-resource-policy': 'same-origin',
      });
      if (request.headers['if-none-match'] === asset.etag) return reply.code(304).send();
      return reply.type(asset.type).send(asset.bytes);
    });
  serve('/', page);
  for (const [name, asset] of assets) if (name !== 'index.html') serve(`/ui/${name}`, asset);
}

function readAssets(): Map<string, Asset> {
  const folder = join(import.meta.dirname, 'ui');
  const assets = new Map<string, Asset>();
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' });
  for (const file of files) {
    const type = TYPES[file.split('.').pop()!];
    if (type !== undefined)
      assets.set(file.replaceAll('\\', '/'), asset(type, readFileSync(join(folder, file))));
  }
  const { resolve } = createRequire(import.meta.url);
  for (const [library, name] of Object.entries(LIBRARIES)) {
    // Beside what Node loads is the same as a module without Node's wrapper.
    const file = resolve(library).replace(/\.js$/, '.module.js');
    const code = readFileSync(file, 'utf8').replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n');
    assets.set(`vendor/${name}.js`, asset(TYPES.js!, Buffer.from(code)));
  }
  return assets;
}

function asset(type: string, bytes: Buffer): Asset {
  return { type, bytes, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` };
}

function contentSecurityPolicy(page: string): string {
  const inline = [...page.matchAll(/<script type="importmap">([\s\S]*?)<\/script>/g)].map(
    ([, text]) => `'sha256-${createHash('sha256').update(text!).digest('base64')}'`,
  );
  return [
    "default-src 'none'",
    `script-src 'self' ${inline.join(' ')}`,
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; ');
}
