import { describe, expect, test } from 'vitest';
import { ERRORS } from '../../../src/core/error-table.ts';
import type { ErrorCode } from '../../../src/core/errors.ts';
import { encodeFacts, parseFacts } from '../../../src/protocol/peer-facts.ts';
import {
  ADMIN_REASONS,
  fixOf,
  HANDSHAKE_REASONS,
  PEER_REASONS,
  reasonOfCode,
} from '../../../src/protocol/rejection-reasons.ts';

describe('the words of rejections', () => {
  test('each is a word a header, a label and a close text can carry, stands once, and comes with what to do', () => {
    const words = [PEER_REASONS, HANDSHAKE_REASONS, ADMIN_REASONS].flatMap((table) => Object.keys(table));
    const codes = Object.keys(ERRORS).map((code) => reasonOfCode(code as ErrorCode));
    expect(new Set(words).size).toBe(words.length);
    for (const word of [...words, ...codes]) {
      expect(word).toMatch(/^[a-z]+(-[a-z]+)*$/);
      expect(fixOf(word)).toBeTruthy();
    }
    expect(fixOf('Flapping')).toContain('two devices');
    expect(fixOf('constructor')).toBeUndefined();
  });
});

describe('facts for the edge', () => {
  const facts = {
    hubTime: Date.parse('2026-11-24T02:00:00Z'),
    notBefore: Date.parse('2025-01-01T00:00:00Z'),
    notAfter: Date.parse('2026-01-01T00:00:00Z'),
    expectedIssuersSha256: ['ab'.repeat(32), 'cd'.repeat(32)],
  };

  test('read back as they were written, in a header and at the end of a close text', () => {
    const text = encodeFacts(facts)!;
    expect(text).toMatch(/^[\x20-\x7e]+$/);
    expect(parseFacts(text)).toEqual(facts);
    expect(parseFacts(`CertificateExpired: expired: node edge-1 [${text}]`)).toEqual(facts);
  });

  test('nothing is told where there is nothing to tell, and nonsense is read as nothing', () => {
    expect(encodeFacts(undefined)).toBeUndefined();
    expect(encodeFacts({ hubTime: Number.NaN, presentedIssuer: 'CN=x"\r\nevil: 1' })).toBeUndefined();
    expect(parseFacts('hub-time="never", expected-issuer-sha256=(x)')).toEqual({});
  });
});
