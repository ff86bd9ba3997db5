/** Functions that Playwright runs inside the page: each stands alone. */

/**
 * Text whose contrast with its ground is too low (WCAG 2.2 §1.4.3: 4.5, or 3 for large text), as `ratio
 * text`.
 * @returns {string[]}
 */
export function poorContrast() {
  const parse = (/** @type {string} */ colour) => {
    const [r = 0, g = 0, b = 0, alpha = 1] = (colour.match(/[\d.]+/g) ?? []).map(Number);
    return { channels: [r, g, b], alpha };
  };
  const luminance = (/** @type {readonly number[]} */ channels) => {
    const [r = 0, g = 0, b = 0] = channels.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const groundOf = (/** @type {Element | null} */ element) => {
    for (let one = element; one; one = one.parentElement) {
      const { channels, alpha } = parse(getComputedStyle(one).backgroundColor);
      if (alpha === 1) return channels;
    }
    return [255, 255, 255];
  };
  /** @type {string[]} */
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent?.trim() ?? '';
    const element = walker.currentNode.parentElement;
    if (text === '' || !element?.checkVisibility() || element.closest('.visually-hidden, noscript, script'))
      continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(parse(style.color).channels), luminance(groundOf(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = Number.parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
  }
  return poor;
}

/**
 * What a screen reader could not name or place, by rules of the kind axe has.
 * @returns {string[]}
 */
export function unreadable() {
  const all = (/** @type {string} */ selector) =>
    /** @type {any[]} */ ([...document.querySelectorAll(selector)]);
  /** @type {string[]} */
  const wrong = [];
  const must = (/** @type {boolean} */ holds, /** @type {string} */ what) => void (holds || wrong.push(what));
  must(document.documentElement.lang !== '', 'the page has no language');
  must(document.title !== '', 'the page has no title');
  for (const landmark of ['header', 'main', 'footer'])
    must(all(landmark).length === 1, `there is not one ${landmark}`);
  must(all('h1').length === 1, 'there is not one h1');
  let level = 0;
  for (const heading of all('h1, h2, h3, h4')) {
    const next = Number(heading.tagName[1]);
    must(next <= level + 1, `heading ${heading.textContent} skips a level`);
    level = next;
  }
  for (const input of all('input, select, textarea'))
    must(input.labels.length > 0 || input.ariaLabel !== null, `input ${input.id} has no label`);
  for (const button of all('button, a[href]'))
    must((button.ariaLabel ?? button.textContent).trim() !== '', `${button.outerHTML} has no name`);
  for (const image of all('img')) must(image.hasAttribute('alt'), `${image.outerHTML} has no alt`);
  for (const table of all('table')) {
    must((table.querySelector('caption')?.textContent.trim() ?? '') !== '', 'a table has no caption');
    for (const heading of table.querySelectorAll('th'))
      must(['col', 'row'].includes(heading.scope), `heading ${heading.textContent} has no scope`);
  }
  for (const section of all('section'))
    must(
      document.getElementById(section.getAttribute('aria-labelledby') ?? '') !== null,
      'a section has no name',
    );
  const ids = all('[id]').map(({ id }) => id);
  must(new Set(ids).size === ids.length, 'an id is used twice');
  must(all('[aria-live]').length > 0, 'nothing is announced');
  return wrong;
}

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
