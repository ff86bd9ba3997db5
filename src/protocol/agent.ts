/** What the agent of every SDK begins with. */
export const SDK_AGENT = 'sallyport-sdk/';

/**
 * The name and version of the SDK, and the CAs a node trusts: `sallyport-sdk/0.1 (trusts 3f2a9c… 77ab01…)`, a
 * comment in the sense of RFC 9110 section 10.1.5.
 */
const TRUSTS = /\(trusts ([0-9a-f]{16}(?: [0-9a-f]{16}){0,7})\)/;
/** Characters of a fingerprint that are told: enough to tell CAs apart, no security rests on them. */
const TOLD = 16;

/** @param sha256s of the DER of the CAs, hexadecimal */
export function agentWithTrust(agent: string, sha256s: readonly string[]): string {
  if (sha256s.length === 0) return agent;
  const told = sha256s.slice(0, 8).map((sha256) => sha256.slice(0, TOLD).toLowerCase());
  return `${agent} (trusts ${told.join(' ')})`;
}

/** The beginnings of the fingerprints the node told; undefined when it told none, as every EdgeCore. */
export function trustedByAgent(agent: string | undefined): string[] | undefined {
  return TRUSTS.exec(agent ?? '')?.[1]?.split(' ');
}
