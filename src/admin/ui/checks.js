/**
 * The checks of `/readyz?verbose`: `[+]store ok (remark)`, `[-]bus failed: reason`.
 * @param {string} text
 * @returns {import('./types.js').Check[]}
 */
export function parseChecks(text) {
  return [...text.matchAll(/^\[([+-])\](\S+)(?: ok| failed|)(?:: (.*)| \((.*)\))?$/gm)].map(
    ([, sign, name, reason, remark]) => {
      const detail = reason ?? remark;
      return { name: name ?? '', ok: sign === '+', ...(detail ? { detail } : {}) };
    },
  );
}
