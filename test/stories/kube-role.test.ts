import { expect, test } from 'vitest';
import { live, nameOf, PURPOSES, rights, without } from '../support/kube/role-deeds.ts';

for (const right of rights) {
  const purpose = PURPOSES[nameOf(right)] ?? 'nothing';
  test.concurrent(`A6: without the right to ${nameOf(right)} it fails where it says "${purpose}"`, async () => {
    const failed = await live(without(right.rule, right.verb), purpose);
    expect([...failed.keys()]).toContain(purpose);
  });
}
