import { describeError } from '../../core/errors.ts';

/** Errors of connect(2) and of TLS, in the words of Node, and what to do about each. */
const TABLE: readonly (readonly [codes: RegExp, why: string, hint: string])[] = [
  [
    /ECONNREFUSED/,
    'refused: nothing listens at {address}',
    'start it with `sallyport serve`, or name it with --admin HOST:PORT',
  ],
  [
    /ETIMEDOUT|TIMEOUT|ABORT/,
    'no answer in time from {address}',
    'look for a firewall that drops packets, and whether the process hangs',
  ],
  [/ENOTFOUND|EAI_AGAIN/, 'the name of {address} cannot be resolved', 'check the name and the DNS server'],
  [/EHOSTUNREACH|ENETUNREACH/, '{address} cannot be reached', 'check routes and firewall'],
  [
    /SELF_SIGNED|UNABLE_TO_(GET_ISSUER|VERIFY)|UNABLE_TO_VERIFY_LEAF|CERT_SIGNATURE_FAILURE|UNTRUSTED/,
    'wrong CA: {address} presents a certificate that the CA given here did not issue',
    'this is another gateway, or its CA was replaced; compare ca.crt with the SHA-256 of --ca',
  ],
  [
    /CERT_HAS_EXPIRED/,
    'TLS: the certificate that {address} presents has expired',
    'see the section Certificates; renew it with `sallyport certs rotate hub`',
  ],
  [
    /CERT_NOT_YET_VALID/,
    'TLS: the certificate that {address} presents is not valid yet',
    'compare the clocks of both machines',
  ],
  [
    /ALTNAME/,
    'TLS: the certificate that {address} presents does not name it',
    'add the address to advertise.addresses, or use one of the names served',
  ],
  [
    /EPROTO|SSL|TLS|ECONNRESET|socket hang up/,
    'TLS: {address} does not speak TLS as expected',
    'check that this is the admin port, and that nothing stands between',
  ],
];

export function explainConnectError(error: unknown, address: string): { why: string; hint: string } {
  const code = codesOf(error).join(' ');
  const [, why, hint] = TABLE.find(([codes]) => codes.test(code)) ?? [
    undefined,
    `{address}: ${describeError(error)}`,
    'see the log of the gateway at the same time',
  ];
  const text = describeError(error);
  const filled = why.replace('{address}', address);
  return { why: filled.includes(text) ? filled : `${filled} (${text})`, hint };
}

/** A connect to a name with several addresses fails with all their errors in one. */
function codesOf(error: unknown): string[] {
  if (!(error instanceof Error)) return [];
  const { code, errors = [] } = error as NodeJS.ErrnoException & { errors?: unknown[] };
  return [
    ...(code === undefined ? [error.message] : [code]),
    ...errors.flatMap(codesOf),
    ...codesOf(error.cause),
  ];
}
