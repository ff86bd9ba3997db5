/**
 * The oldest Node this SDK is tried on. What it needs came last with it: `registerHooks` of `node:module`.
 */
export const OLDEST_NODE = '22.15.0';

/**
 * One sentence for a person whose Node is too old, or undefined. @param version as in `process.versions.node`
 */
export function nodeProblem(version: string): string | undefined {
  const [major, minor] = version.split('.').map(Number);
  const [oldestMajor, oldestMinor] = OLDEST_NODE.split('.').map(Number);
  return major! > oldestMajor! || (major === oldestMajor && minor! >= oldestMinor!)
    ? undefined
    : `the Sallyport SDK needs Node ${OLDEST_NODE} or newer, and this is Node ${version}: install a newer one`;
}

const problem = nodeProblem(process.versions.node);
if (problem !== undefined) throw new Error(problem);
