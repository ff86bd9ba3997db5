/** An answer of the admin API that is no success, with what it says. */
export class AdminError extends Error {
  override readonly name = 'AdminError';
  readonly status: number;
  readonly code: string;
  readonly fix: string | undefined;

  constructor(status: number, body: { code: string; message?: string; fix?: string }) {
    super(body.message ?? `the gateway answered with status ${status}`);
    this.status = status;
    this.code = body.code;
    this.fix = body.fix;
  }
}
