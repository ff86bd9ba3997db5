import { expect, test } from 'vitest';
import { SallyportError } from '../../../src/core/errors.ts';
import { startAdmin } from './admin-fixture.ts';

const API = '/api/v1/ca/rollover';

test('C4: the state of the rollover, and a step in the name of the administrator who asks for it', async () => {
  await using admin = await startAdmin();
  expect(await admin.get(`${API}?limit=5`)).toMatchObject({ status: 200, json: { phase: 'idle' } });
  for (const limit of ['-1', '', '%205', '0x10', '1e1', '1.5', '5&limit=6', '100001'])
    expect([limit, (await admin.get(`${API}?limit=${limit}`)).status]).toEqual([limit, 400]);
  expect(await admin.post(`${API}/prepare`, {})).toMatchObject({ status: 200, json: { phase: 'idle' } });
  await admin.post(`${API}/revoke`, { force: true });
  expect(admin.rollover.requests).toEqual([
    { step: 'prepare', force: false, by: 'admin' },
    { step: 'revoke', force: true, by: 'admin' },
  ]);
});

test('what blocks a step is answered with 409 and said; a step that there is not, with 400', async () => {
  await using admin = await startAdmin();
  admin.rollover.refusal = new SallyportError('ROLLOVER_BLOCKED', {
    step: 'retire',
    problem: 'edge-1 is left',
  });
  expect(await admin.post(`${API}/retire`, {})).toMatchObject({
    status: 409,
    json: { error: { code: 'ROLLOVER_BLOCKED', message: 'retire is refused: edge-1 is left' } },
  });
  expect((await admin.post(`${API}/explode`, {})).status).toBe(400);
  expect((await admin.post(`${API}/retire`, { Force: true })).status).toBe(400);
  expect((await admin.get(API, { as: undefined })).status).toBe(401);
});
