import type { TLSSocket } from 'node:tls';
import { contextTag, DerReader } from '../core/der.ts';
import { type KeyExchange, keyExchangeOf } from '../core/tls-groups.ts';

/** The group in the DER of a session: `kex_group` of OpenSSL's SSL_SESSION_ASN1 (ssl/ssl_asn1.c). */
const KEX_GROUP = contextTag(19);

/**
 * The group that the handshake of this TLS socket agreed on; undefined when none was. Node tells a server
 * nothing of it (`getEphemeralKeyInfo` is for clients), but OpenSSL writes it down with the session. It costs
 * less than 10 µs, beside 600 µs or more for a handshake.
 */
export function keyExchange(socket: TLSSocket): KeyExchange | undefined {
  const session = socket.getSession();
  if (!session) return undefined;
  try {
    const fields = new DerReader(session).enter();
    while (fields.tag !== undefined && fields.tag !== KEX_GROUP) fields.skip();
    return fields.isAtEnd ? undefined : keyExchangeOf(fields.enter(KEX_GROUP).integer());
  } finally {
    // It holds the master secret too.
    session.fill(0);
  }
}
