import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

test('L6: the QUIC library knows no post-quantum group; once it does, sessions may no longer be called classical', () => {
  const folder = 'node_modules/@currentspace/http3';
  const binaries = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) =>
    name.endsWith('.node'),
  );
  expect(binaries).not.toEqual([]);
  for (const name of binaries) {
    const binary = readFileSync(join(folder, name));
    // BoringSSL has the names of its groups in one table (ssl/ssl_key_share.cc).
    expect(binary.includes('X25519'), name).toBe(true);
    expect(binary.includes('MLKEM'), name).toBe(false);
  }
});
