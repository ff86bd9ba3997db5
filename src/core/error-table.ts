/**
 * Every error Sallyport raises on purpose, in one table. `docs/errors.md` is generated from it, and a test
 * keeps the two equal, so an operator can search for any code.
 *
 * A message is a constant with `{field}` places, lower case, without a final period. What varies goes into
 * `details`. Neither may ever hold a key, a token or the value of a Secret.
 */
export const ERRORS = {
  // — configuration —
  CONFIG_INVALID: {
    status: 400,
    message: 'configuration is invalid: {problem}',
    fix: 'correct the named key; `sallyport config schema` lists what is allowed',
  },
  CONFIG_UNREADABLE: {
    status: 400,
    message: 'cannot read the configuration file {file}',
    fix: 'check the path and its permissions',
  },
  QUIC_LIBRARY_MISSING: {
    status: 503,
    message: 'QUIC needs the library @currentspace/http3, and {problem}',
    fix: 'npm install @currentspace/http3 (Linux with glibc on x64 and arm64, macOS on arm64), or do without QUIC: quic.enabled false at the hub, transport websocket at the edge',
  },
  ADDRESS_INVALID: {
    status: 400,
    message: 'advertise.addresses holds {address}, which is neither an IP address nor a DNS name',
    fix: 'write a plain host name or IP address, without scheme or port',
  },

  // — the audit —
  AUDIT_FOLDER_UNUSABLE: {
    status: 503,
    message: 'the folder of the audit {folder} cannot be used: {problem}',
    fix: 'give the folder to the user that runs Sallyport, name another one in audit.path, or leave audit.path out to keep no audit',
  },
  AUDIT_UNAVAILABLE: {
    status: 503,
    message: 'nothing was changed, because the audit cannot be written: {problem}',
    fix: 'make room on the disk of audit.path; to revoke, quarantine and disconnect works without it',
  },
  AUDIT_NOT_KEPT: {
    status: 400,
    message: 'there is no audit to read: {problem}',
    fix: 'name the folder with --folder, or set audit.path; on a cluster run the command in the pod',
  },

  // — the relay —
  UPSTREAM_UNAVAILABLE: {
    status: 503,
    message: 'CloudCore at {address} cannot be reached: {problem}',
    fix: 'check upstream.addresses, and that CloudCore runs; edges stay connected, and the relay tries again by itself',
  },
  UPSTREAM_UNTRUSTED: {
    status: 502,
    message: 'CloudCore at {address} is not trusted: {problem}',
    fix: 'name the Secret of the CA that this CloudCore has loaded in upstream.caSecret, and put the address into the names of its certificate; nothing was sent to it',
  },
  UPSTREAM_REFUSED: {
    status: 502,
    message: 'CloudCore at {address} refuses the connection of a node: HTTP status {status}',
    fix: 'read the log of CloudCore; it has to trust the CA of upstream.caSecret',
  },

  DASHBOARD_TOKEN: {
    status: 401,
    message: 'the page does not show the token of this dashboard',
    fix: 'open the whole address that `sallyport dashboard` printed; each run has one of its own',
  },

  // — secrets —
  SECRET_STORE_UNAVAILABLE: {
    status: 503,
    message: 'the secret store cannot be reached: {problem}',
    fix: 'check the store; Sallyport retries with back-off and keeps serving its last good bundle',
  },
  SECRET_BUSY: {
    status: 503,
    message: 'secret {secret} could not be changed: somebody else was faster {attempts} times in a row',
    fix: 'try again; if it goes on, look for what else writes this secret without pause',
  },
  SECRET_STORE_FORBIDDEN: {
    status: 503,
    message: 'the secret store refuses {verb} on secret {secret}',
    fix: 'grant the verb in the Role; deploy/ holds the complete list',
  },
  SECRET_FOLDER_UNUSABLE: {
    status: 503,
    message: 'the folder of Secrets {folder} cannot be used: {problem}',
    fix: 'give the folder to the user that runs Sallyport and set its mode to 0700, or name another one in secretStore.path',
  },
  SECRET_ALREADY_EXISTS: {
    status: 409,
    message: 'secret {secret} already exists',
    fix: 'read it and use what is there',
  },
  SECRET_CONFLICT: {
    status: 409,
    message: 'secret {secret} was changed by somebody else since it was read',
    fix: 'read it again and decide anew',
  },
  SECRET_NOT_FOUND: {
    status: 404,
    message: 'secret {secret} does not exist',
    fix: 'create it, or let `sallyport prepare-certs` do so',
  },
  SECRET_MALFORMED: {
    status: 500,
    message: 'secret {secret} is not usable: {problem}',
    fix: 'correct the Secret; Sallyport never overwrites it',
  },
  SECRET_KEY_MISSING: {
    status: 500,
    message: 'secret {secret} lacks the key {key}',
    fix: 'add the key to the Secret; Sallyport never overwrites it',
  },

  // — backup —
  BACKUP_UNREADABLE: {
    status: 400,
    message: 'the backup cannot be read: {problem}',
    fix: 'take another copy of the file; docs/operations.md shows how to open one by hand',
  },
  BACKUP_PASSPHRASE: {
    status: 400,
    message: 'the backup cannot be opened: the passphrase is another one, or the file was altered',
    fix: 'give the passphrase it was made with; if that is certain, take another copy of the file',
  },
  BACKUP_INCOMPLETE: {
    status: 409,
    message: 'there is nothing worth a backup: {problem}',
    fix: 'make the store whole first; `sallyport prepare-certs` creates what is missing',
  },
  BACKUP_FILE_EXISTS: {
    status: 409,
    message: '{file} exists already',
    fix: 'choose another name, or overwrite it with --force',
  },
  BACKUP_FILE_UNUSABLE: {
    status: 400,
    message: 'cannot use the file {file}: {problem}',
    fix: 'check the path and its permissions',
  },
  INSPECT_NOTHING: {
    status: 400,
    message: 'there is no certificate to be read in {source}',
    fix: 'name a PEM or DER file, host:port, or secret/NAME',
  },
  ENDPOINT_UNREACHABLE: {
    status: 502,
    message: 'no TLS handshake with {address}: {problem}',
    fix: 'check address and port; this does not work for QUIC and other UDP ports',
  },
  RESTORE_REFUSED: {
    status: 409,
    message: 'the restore stopped: {problem}',
    fix: 'compare with `sallyport backup verify`; --force replaces what is there, and first says what that breaks',
  },

  // — certificates and keys —
  KEY_UNREADABLE: {
    status: 500,
    message: '{what} is not a private key that can be read: {problem}',
    fix: 'store SEC1 or PKCS#8, as DER or PEM, without a passphrase',
  },
  KEY_ENCRYPTED: {
    status: 500,
    message: '{what} is encrypted',
    fix: 'store the key without a passphrase; Secrets are protected by RBAC',
  },
  KEY_TOO_WEAK: {
    status: 500,
    message: '{what} is a {kind} key, which is too weak or not supported',
    fix: 'use EC P-256 or P-384, or RSA of at least 2048 bits',
  },
  CERTIFICATE_UNREADABLE: {
    status: 500,
    message: '{what} is not a certificate that can be read: {problem}',
    fix: 'store DER, or PEM with every certificate of the chain',
  },
  CA_INVALID: {
    status: 500,
    message: 'the CA in secret {secret} is not usable: {problem}',
    fix: 'restore the CA from a backup; Sallyport never replaces a CA by itself',
  },
  BUNDLE_INVALID: {
    status: 500,
    message: 'the hub certificate is not usable: {problem}',
    fix: 'correct the Secret; until then the last good bundle stays in use',
  },
  HUB_NOT_MANAGED: {
    status: 409,
    message: 'somebody else keeps secret {secret}, so its certificate is not issued here',
    fix: 'renew it where it is kept (cert-manager), or set certificates.hubSecretManaged and remove the Secret',
  },
  NO_CERTIFICATES: {
    status: 503,
    message: 'certificates could not be prepared: {problem}',
    fix: 'follow the cause; the gateway does not listen without a valid bundle',
  },

  // — enrolment and renewal —
  CSR_MISSING: {
    status: 400,
    message: 'the request has no body; send the certificate signing request in DER as the body',
    fix: 'send the CSR as the body, with GET or POST',
  },
  CSR_INVALID: {
    status: 400,
    message: 'the certificate signing request is not acceptable: {problem}',
    fix: 'create a new key (EC P-256) and a PKCS#10 request in DER',
  },
  CSR_TOO_LARGE: {
    status: 413,
    message: 'the request body is larger than {limitBytes} bytes',
    fix: 'send a plain certificate signing request',
  },
  NODE_NAME_INVALID: {
    status: 400,
    message: 'the NodeName header is missing or is not a node name',
    fix: 'send the name of the node: lower-case letters, digits, dots and dashes, at most 253 characters',
  },
  NODE_MISMATCH: {
    status: 403,
    message: 'the request names another node than the one that it is authenticated as',
    fix: 'use the certificate or token that belongs to this node',
  },
  USAGE_NOT_ALLOWED: {
    status: 403,
    message: 'the requested certificate usage is not allowed',
    fix: 'ask for clientAuth only',
  },
  HOST_UNKNOWN: {
    status: 421,
    message: 'this gateway does not answer to the name {host}',
    fix: 'use its address, or a name that its certificate has: add it to advertise.addresses',
  },
  NOT_AUTHENTICATED: {
    status: 401,
    message: 'neither a client certificate nor a token was presented',
    fix: 'join with a token, or connect with the certificate of the node',
  },
  TOKEN_INVALID: {
    status: 401,
    message: 'the token is not acceptable: {problem}',
    fix: 'create a new token with `sallyport token create`',
  },
  TOKEN_EXPIRED: {
    status: 401,
    message: 'the token expired at {expiredAt}; the clock of this hub says {now}',
    fix: 'create a new token, and compare the clocks',
  },
  TOKEN_USED: {
    status: 401,
    message: 'the token has been used already',
    fix: 'create a new token; a node token works once',
  },
  TOKEN_REVOKED: { status: 401, message: 'the token has been revoked', fix: 'create a new token' },
  TOKEN_STATE_FULL: {
    status: 503,
    message: 'more than {limit} tokens were used that have not expired yet',
    fix: 'wait until some have expired, and create node tokens with a shorter life',
  },
  GRACE_USED: {
    status: 401,
    message:
      'this expired client certificate has been renewed already; an expired one can be renewed only once',
    fix: 'join the node again with a token',
  },
  TOKEN_OTHER_NODE: {
    status: 403,
    message: 'the token belongs to another node',
    fix: 'create a token for this node',
  },
  NODE_UNKNOWN: {
    status: 404,
    message: 'node {node} is not in the history',
    fix: '`sallyport nodes forecast` lists the nodes that are known',
  },
  NODE_STILL_CONNECTED: {
    status: 409,
    message: 'node {node} is connected at this moment, so it cannot be forgotten',
    fix: 'forget only nodes that are gone; to shut a node out, revoke it',
  },
  NODE_CONNECTED: {
    status: 403,
    message: 'node {node} is connected at this moment, so a token cannot replace its certificate',
    fix: 'disconnect the node first, or set tokens.allowReplaceConnected to replace hardware',
  },
  NODE_REVOKED: {
    status: 403,
    message: 'node {node} is revoked: {reason}',
    fix: 'an administrator can lift it with `sallyport lift`',
  },
  NODE_QUARANTINED: {
    status: 403,
    message: 'node {node} is quarantined: {reason}',
    fix: 'the node asks again by itself, and is let in when an administrator lifts it with `sallyport lift`',
  },
  PEER_REFUSED: {
    status: 401,
    message: 'the client certificate is refused: {reason}',
    fix: 'see docs/errors.md, section rejection reasons',
  },
  RATE_LIMITED: {
    status: 429,
    message: 'too many requests; try again later',
    fix: 'wait as long as Retry-After says',
  },
  REQUEST_TIMEOUT: {
    status: 408,
    message: 'the request was not complete in time',
    fix: 'send the whole request within the limit',
  },

  // — revocation —
  REVOCATION_NOT_FOUND: {
    status: 404,
    message: 'nothing is revoked for {target}',
    fix: 'see `sallyport revocations list`',
  },
  REVOCATIONS_FULL: {
    status: 503,
    message: 'the list of revocations would be larger than {limitBytes} bytes',
    fix: 'lift entries that need no quarantine and whose certificates have ended; if most of a fleet is lost, replace the CA',
  },
  REVOKES_ITSELF: {
    status: 409,
    message: 'the request was made with this very certificate',
    fix: 'use another admin certificate to revoke this one',
  },
  CRL_UNAVAILABLE: {
    status: 404,
    message: 'there is no CRL: {problem}',
    fix: 'the gateway enforces revocations without a CRL; to publish one, roll over to a CA with the key usage cRLSign',
  },

  // — CA rollover —
  ROLLOVER_PHASE: {
    status: 409,
    message: 'the rollover is in phase {phase}, in which {step} cannot be done',
    fix: 'see `sallyport ca rollover status`',
  },
  ROLLOVER_BLOCKED: {
    status: 409,
    message: '{step} is refused: {problem}',
    fix: 'see `sallyport ca rollover status`; --force does it all the same, and locks out the nodes that depend on the CA',
  },
  ROLLOVER_IMPOSSIBLE: {
    status: 409,
    message: 'the CA cannot be rolled over here: {problem}',
    fix: 'docs/operations.md, section "Rolling over the CA", says what to do by hand',
  },

  // — sessions and messages —
  MESSAGE_INVALID: {
    status: 400,
    message: 'the message is not acceptable: {problem}',
    fix: 'send a KubeEdge message; docs/protocol.md describes it',
  },
  MESSAGE_TOO_LARGE: {
    status: 413,
    message: 'the message is larger than {limitBytes} bytes',
    fix: 'send smaller messages, or raise hub.maxMessageBytes',
  },
  CONTENT_TOO_DEEP: {
    status: 413,
    message: 'the message nests deeper than {limit} levels',
    fix: 'send flatter messages, or raise hub.maxMessageDepth',
  },
  CONTENT_TOO_MANY_VALUES: {
    status: 413,
    message: 'the message holds more than {limit} JSON values',
    fix: 'send smaller messages, or raise hub.maxMessageValues',
  },
  MESSAGE_FORBIDDEN: {
    status: 403,
    message: 'the message speaks for another node or for a cloud component',
    fix: 'a node may only send for itself',
  },
  NODE_NOT_FOUND: {
    status: 404,
    message: 'node {node} has no session',
    fix: 'check the name with `sallyport nodes list`',
  },
  NODE_OFFLINE: {
    status: 404,
    message: 'node {node} is not connected',
    fix: 'send without waiting for the acknowledgement; the message is then queued',
  },
  REPLICA_UNREACHABLE: {
    status: 503,
    message: 'replica {replica} did not answer: {problem}',
    fix: 'try again; a replica that is gone gives its nodes up within ten seconds',
  },
  QUEUE_FULL: {
    status: 503,
    message: 'the queue {queue} is full',
    fix: 'slow down, or raise the limit: hub.queue of the hub, queue of the edge client',
  },
  NOT_ACKNOWLEDGED: {
    status: 504,
    message: 'node {node} did not acknowledge in time',
    fix: 'see `sallyport nodes show`; the message was parked after its last retry',
  },
  SESSION_CLOSED: {
    status: 503,
    message: 'the session was closed: {reason}',
    fix: 'the edge reconnects by itself unless the reason says otherwise',
  },
  BUS_UNAVAILABLE: {
    status: 503,
    message: 'the message bus cannot be reached: {problem}',
    fix: 'check the bus; edges stay connected in the meantime',
  },
  BUS_SETTINGS_DIFFER: {
    status: 500,
    message: '{what} exists in NATS with {setting} = {found}, but the configuration wants {wanted}',
    fix: 'set bus.nats to what exists, or change the stream (`nats stream edit`); Sallyport never changes a stream that exists',
  },
  BUS_CREDENTIALS_UNREADABLE: {
    status: 500,
    message: 'cannot read {setting}',
    fix: 'check that the file is mounted and not empty, and that this process may read it',
  },

  // — running —
  LISTEN_FAILED: {
    status: 500,
    message: 'cannot listen on {address} for {listener}: {problem}',
    fix: 'stop what has the port, perhaps another gateway, or choose another: {setting}; the host has to be an address of this machine',
  },
  SELF_TEST_FAILED: {
    status: 500,
    message: 'listener {listener} let in a connection that had to be refused ({probe})',
    fix: 'this is a fault of Sallyport; report it, because the gateway does not start in this state',
  },
  STOP_TIMEOUT: {
    status: 500,
    message: '{component} did not stop within {timeoutMs} ms',
    fix: 'the gateway did not wait for it any longer; raise limits.stopTimeoutMs if it needs more time',
  },
  FORBIDDEN: {
    status: 403,
    message: 'this certificate may not use the admin interface',
    fix: 'use a certificate of an operator (O=sallyport:admins) or a viewer (O=sallyport:viewers); `sallyport certs issue` makes one',
  },
  OPERATOR_NEEDED: {
    status: 403,
    message: '{name} is a viewer, and only the role operator may change something',
    fix: 'ask an operator to do it, or use a certificate of an operator; `sallyport certs issue operator NAME` makes one',
  },
  BEARER_REFUSED: {
    status: 401,
    message: 'the bearer token is refused: {reason}',
    fix: 'create a new one with `kubectl create token`, or use the admin certificate',
  },
  BEARER_FORBIDDEN: {
    status: 403,
    message: 'the owner of the bearer token may not do this, it needs the role {role}: {reason}',
    fix: 'bind the ClusterRole NAMESPACE-sallyport-viewer to read, or NAMESPACE-sallyport-operator to change; docs/install.md says how',
  },
  BEARER_UNAVAILABLE: {
    status: 503,
    message: 'bearer tokens cannot be checked now: {reason}',
    fix: 'bind system:auth-delegator to the gateway and see its log, or use the admin certificate',
  },
  NOT_FOUND: {
    status: 404,
    message: 'there is nothing at this path',
    fix: 'see docs/protocol.md and the OpenAPI document at /openapi.json of the admin listener',
  },
  METHOD_NOT_ALLOWED: {
    status: 405,
    message: 'this path takes {allow} only',
    fix: 'see the OpenAPI document at /openapi.json of the admin listener',
  },
  MEDIA_TYPE_UNSUPPORTED: {
    status: 415,
    message: 'the body is not announced as JSON',
    fix: 'send one JSON object with the header content-type: application/json',
  },
  BAD_REQUEST: {
    status: 400,
    message: 'the request is not acceptable: {problem}',
    fix: 'see the OpenAPI document at /openapi.json of the admin listener',
  },
  INTERNAL: {
    status: 500,
    message: 'an unexpected error happened',
    fix: 'see the log of the gateway at the same time',
  },

  // — command line and SDK —
  ADMIN_UNREACHABLE: {
    status: 503,
    message: 'no gateway answers at {address}: {problem}',
    fix: 'start it with `sallyport serve`, or name it with --admin HOST:PORT; if its certificate is not believed, name its CA with --ca',
  },
  ADMIN_CREDENTIALS_MISSING: {
    status: 400,
    message: 'no admin certificate was found at {path}',
    fix: 'run where the Secret folder is, or pass --cert, --key and --ca',
  },
  ADMIN_CREDENTIALS_UNUSABLE: {
    status: 400,
    message: '{path} are no certificate with its key: {problem}',
    fix: 'pass --cert and --key of one certificate, in PEM; `sallyport certs issue` makes them',
  },
  BEARER_MISSING: {
    status: 400,
    message: 'the user of the kubeconfig has no bearer token',
    fix: 'set SALLYPORT_BEARER_TOKEN="$(kubectl create token SERVICEACCOUNT)", or pass --cert, --key and --ca',
  },
  BEARER_UNREADABLE: {
    status: 400,
    message: 'no bearer token in {path}: {problem}',
    fix: 'name the file that holds it, alone, with --bearer-token-file or SALLYPORT_BEARER_TOKEN_FILE',
  },
  CA_MISMATCH: {
    status: 401,
    message: 'the hub at {hub} presents another CA than the token names',
    fix: 'the token belongs to another hub, or somebody is in between; create a new token',
  },
  JOIN_REFUSED: {
    status: 403,
    message: 'the hub refused to enrol this node: {problem}',
    fix: 'for this answer: {remedy}',
  },
  CONNECT_FAILED: {
    status: 503,
    message: 'cannot connect to {url}: {problem}',
    fix: 'check address, firewall and the state of the hub; the client tries again by itself, and so does a join',
  },
  CONNECT_REFUSED: {
    status: 403,
    message: 'the hub at {url} refuses the connection: {problem}',
    fix: 'do what the answer of the hub says; if waiting or a new certificate can help, the client retries by itself',
  },
  SHUT_OUT: {
    status: 403,
    message: 'the hub does not let this node in: {reason}',
    fix: 'a person has to act, the client does not try again: {remedy}',
  },
  NOT_JOINED: {
    status: 400,
    message: 'node {node} has no usable certificate in {directory}: {problem}',
    fix: 'join with a token from `sallyport token create`',
  },
  NODE_FOLDER_UNUSABLE: {
    status: 400,
    message: 'the folder {directory} cannot be used for key and certificate: {problem}',
    fix: 'name a folder that this user may write to; a token that was given is not used up',
  },
  ANSWER_TIMEOUT: {
    status: 504,
    message: 'no answer to {resource} came within {timeoutMs} ms',
    fix: 'check that a cloud program answers this resource',
  },
  HUB_REFUSED_MESSAGE: {
    status: 502,
    message: 'the hub did not take the message: {problem}',
    fix: 'do what the answer of the hub says',
  },
  CLIENT_CLOSED: {
    status: 503,
    message: 'the edge client has been closed',
    fix: 'create a new client; messages that were not acknowledged before the close were not kept',
  },
} as const satisfies Record<string, ErrorDefinition>;

export interface ErrorDefinition {
  /** HTTP status that reports this error. */
  readonly status: number;
  readonly message: string;
  readonly fix: string;
}
