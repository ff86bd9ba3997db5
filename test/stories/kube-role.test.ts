import { expect, test } from 'vitest';
import { live, nameOf, PURPOSES, rights, without } from '../support/kube/role-deeds.ts';

for (const right of rights) {
  const purpose = PURPOSES[nameOf(right)] ?? 'nothing';
  // One after the other: the client of Kubernetes finds its API by the environment of the process.
  test(`A6: without the right to ${nameOf(right)} it fails where it says "${purpose}"`, async () => {
    const failed = await live(without(right.rule, right.verb), purpose);
    expect([...failed.keys()]).toContain(purpose);
  });
}
