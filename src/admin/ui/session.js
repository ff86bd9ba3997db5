/** Where the token of `sallyport dashboard` is kept: in this tab, for a reload. */
const KEY = 'sallyport-dashboard';

/** Takes the token from the address, and leaves none there. @returns {string | null} */
function takeToken() {
  const given = /^#token=([\w-]{20,})$/.exec(location.hash)?.[1];
  if (given !== undefined) {
    sessionStorage.setItem(KEY, given);
    history.replaceState(null, '', location.pathname);
  }
  return sessionStorage.getItem(KEY);
}

const token = takeToken();

/** What the gateway says that we are. @type {'viewer' | 'operator' | undefined} */
export let role;

/** Only the proxy of `sallyport dashboard` takes changes from a page, and the gateway only an operator's. */
export let canAct = false;

/** @param {'viewer' | 'operator'} given */
export function playRole(given) {
  role = given;
  canAct = token !== null && role === 'operator';
}

/** What each request carries. @type {Readonly<Record<string, string>>} */
export const credentials = token === null ? {} : { [KEY]: token };
