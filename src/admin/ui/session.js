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

/** Only the proxy of `sallyport dashboard` takes changes from a page. */
export const canAct = token !== null;

/** What each request carries. @type {Readonly<Record<string, string>>} */
export const credentials = token === null ? {} : { [KEY]: token };
