/** What the lifetime of an enrolment token may be, milliseconds. */
export const TOKEN_LIFETIME_MS = { min: 1_000, max: 366 * 86_400_000 } as const;
