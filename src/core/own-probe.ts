/**
 * Stands where the address of a client would, when that client is the gateway itself and tries its own door.
 * No client can have it: an address is read from a socket or a PROXY header, and is an IP address. Whoever
 * counts, logs or remembers refusals leaves it out.
 */
export const OWN_PROBE = 'self-test';
