import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { startAdmin } from './admin-fixture.ts';

describe('the status page', () => {
  test('is served whole: every file that its own files ask for is there', async () => {
    await using hub = await startAdmin();
    const seen = new Set<string>();
    const visit = async (path: string) => {
      if (seen.has(path)) return;
      seen.add(path);
      const { status, text, headers } = await hub.get(path);
      expect(status, path).toBe(200);
      expect(headers['x-content-type-options']).toBe('nosniff');
      const type = String(headers['content-type']);
      const names = type.startsWith('text/html')
        ? [...text.matchAll(/(?:href|src)="([^"]+)"|": "(\/ui\/[^"]+)"/g)].map(([, a, b]) => a ?? b!)
        : type.startsWith('text/javascript')
          ? [...text.matchAll(/^import .*from '([^']+)'|^\} from '([^']+)'/gm)].map(([, a, b]) => a ?? b!)
          : [];
      for (const name of names) {
        // Libraries by name: the import map leads to them, and the page itself was asked for those.
        if (!/^[./]/.test(name)) expect(['preact', 'preact/hooks', 'htm']).toContain(name);
        else await visit(new URL(name, `https://hub${path}`).pathname);
      }
    };
    await visit('/');
    expect(seen.size).toBeGreaterThan(25);
    for (const file of readdirSync('src/admin/ui', { recursive: true, encoding: 'utf8' }))
      if (/\.(js|css|svg)$/.test(file))
        expect([...seen], 'a file that nothing uses').toContain(`/ui/${file}`);
  });

  test('allows scripts of its own files and its import map, and nothing else', async () => {
    await using hub = await startAdmin();
    const { headers, text } = await hub.get('/');
    const policy = String(headers['content-security-policy']);
    const map = /<script type="importmap">([\s\S]*?)<\/script>/.exec(text)![1]!;
    expect(policy.split('; ')).toEqual([
      "default-src 'none'",
      `script-src 'self' 'sha256-${createHash('sha256').update(map).digest('base64')}'`,
      "style-src 'self'",
      "connect-src 'self'",
      "img-src 'self'",
      "base-uri 'none'",
      "form-action 'none'",
      "frame-ancestors 'none'",
      "require-trusted-types-for 'script'",
    ]);
    expect(text).not.toMatch(/<style|style=|\son\w+=|https?:\/\//);
    expect((await hub.get('/api/v1/info')).headers['content-security-policy']).toBe(
      "default-src 'none'; frame-ancestors 'none'",
    );
  });

  test('is asked for again without being sent again', async () => {
    await using hub = await startAdmin();
    const { headers } = await hub.get('/ui/main.js');
    expect(headers['cache-control']).toBe('no-cache');
    const again = await hub.get('/ui/main.js', { headers: { 'if-none-match': String(headers.etag) } });
    expect([again.status, again.text]).toEqual([304, '']);
  });

  test('is for administrators, and shows no file but its own', async () => {
    await using hub = await startAdmin();
    for (const path of ['/', '/ui/main.js', '/ui/vendor/preact.js'])
      expect((await hub.get(path, { as: undefined })).status, path).toBe(401);
    for (const path of [
      '/ui/types.d.ts',
      '/ui/tsconfig.json',
      '/ui/../admin-listener.ts',
      '/ui/%2e%2e/options.ts',
      '/ui/',
    ])
      expect((await hub.get(path)).status, path).toBe(404);
  });

  test('uses no library that the package does not bring', () => {
    const { dependencies } = JSON.parse(readFileSync('package.json', 'utf8')) as {
      dependencies: Record<string, string>;
    };
    expect(Object.keys(dependencies)).toEqual(expect.arrayContaining(['preact', 'htm']));
  });
});
