/** Functions that Playwright runs inside the page: each stands alone. */

/** As when another tab is opened, or this one again. @param {boolean} value */
export function setHidden(value) {
  Object.defineProperty(document, 'hidden', { value, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}

/**
 * What has the focus, and how one sees it. @returns {{ id: string, name: string, outline: string, isInView:
 * boolean }}
 */
export function focused() {
  const element = /** @type {any} */ (document.activeElement);
  const style = getComputedStyle(element);
  const name = element.ariaLabel ?? (element.labels?.[0]?.textContent || element.textContent);
  return {
    id: element.id,
    name: name?.trim() ?? '',
    outline: `${style.outlineStyle} ${style.outlineWidth}`,
    isInView: element.getBoundingClientRect().top >= 0,
  };
}

/** @returns {Promise<string>} */
export const clipboard = () => navigator.clipboard.readText();

/** @returns {number} */
export const contentWidth = () => document.documentElement.scrollWidth;

/** @returns {string} */
export const ground = () => getComputedStyle(document.body).backgroundColor;

/** How long bars take to move. @returns {string} */
export const barTransition = () =>
  getComputedStyle(/** @type {Element} */ (document.querySelector('.bar'))).transitionDuration;

/** Elements and handlers that are none of the page's own. @returns {string[]} */
export const strangers = () =>
  [...document.querySelectorAll('#app script, #app [onerror], #app [id="evil"], #app img[src="x"]')].map(
    (element) => element.outerHTML,
  );
