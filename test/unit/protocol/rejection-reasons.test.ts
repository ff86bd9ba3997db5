import { describe, expect, test } from 'vitest';
import { ERRORS } from '../../../src/core/error-table.ts';
import type { ErrorCode } from '../../../src/core/errors.ts';
import { encodeFacts, parseFacts } from '../../../src/protocol/peer-facts.ts';
import {
  ADMIN_REASONS,
  blamesHub,
  closeOfRefusal,
  fixOf,
  HANDSHAKE_REASONS,
  PEER_REASONS,
  reasonOfCode,
  refusalOfAlert,
  refusalStatus,
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
    expect(fixOf('Revoked')).toBe(fixOf('revoked'));
    expect(fixOf('constructor')).toBeUndefined();
  });
});

describe('what follows from the row of a reason', () => {
  test('the status is 403 only where a person has to act, else 401: another certificate would help', () => {
    expect(refusalStatus('revoked')).toBe(403);
    expect(refusalStatus('node-mismatch')).toBe(403);
    for (const reason of ['no-certificate', 'expired', 'unknown-ca', 'ticket-refused', 'protocol'] as const)
      expect(refusalStatus(reason)).toBe(401);
  });

  test('each TLS alert of a QUIC handshake stands for one reason; other codes for none', () => {
    const alerts = { 42: 'malformed-certificate', 43: 'wrong-usage', 44: 'revoked', 45: 'expired' };
    const more = { 46: 'malformed-certificate', 48: 'unknown-ca', 51: 'unknown-ca', 116: 'no-certificate' };
    for (const [alert, reason] of Object.entries({ ...alerts, ...more }))
      expect(refusalOfAlert(0x100 + Number(alert))).toBe(reason);
    for (const code of [0, 42, 48, 0x100, 0x100 + 40, 1000, 4401])
      expect(refusalOfAlert(code)).toBeUndefined();
    const all = Object.values(PEER_REASONS).flatMap((row) => ('alerts' in row ? [...row.alerts] : []));
    expect(new Set<number>(all).size).toBe(all.length);
  });

  test('a refusal tells the edge what to do by its reason or its close reason, and by no other word', () => {
    expect(closeOfRefusal('expired')).toBe('CertificateExpired');
    expect(closeOfRefusal('not-yet-valid')).toBe('TryAgainLater');
    for (const name of ['Revoked', 'TrustRemoved', 'Draining', 'Flapping', 'TryAgainLater'])
      expect(closeOfRefusal(name)).toBe(name);
    for (const word of ['TakenOver', 'Normal', 'SlowConsumer', 'timeout', 'constructor', ''])
      expect(closeOfRefusal(word)).toBeUndefined();
  });

  test('a hub certificate is blamed for what clients say of it, over QUIC by its alerts alone', () => {
    const words = [...Object.keys(HANDSHAKE_REASONS), ...Object.keys(PEER_REASONS)];
    const blamed = (tls: 'node' | 'quic-library') => words.filter((word) => blamesHub(word, tls)).sort();
    expect(blamed('quic-library')).toEqual(['expired', 'malformed-certificate', 'unknown-ca', 'wrong-usage']);
    expect(blamed('node')).toEqual([
      'client-alert',
      'client-bad-certificate',
      'client-certificate-expired',
      'client-unknown-ca',
      'disconnected',
      'no-common-tls',
    ]);
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
