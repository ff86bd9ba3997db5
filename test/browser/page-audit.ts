import type { Page } from 'playwright-core';

/** Text whose contrast with its ground is too low (WCAG 2.2 §1.4.3: 4.5, or 3 for large text), as `ratio text`. */
export function poorContrast(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const parse = (colour: string) => {
      const [r = 0, g = 0, b = 0, alpha = 1] = (colour.match(/[\d.]+/g) ?? []).map(Number);
      return { channels: [r, g, b], alpha };
    };
    const luminance = (channels: readonly number[]) => {
      const [r = 0, g = 0, b = 0] = channels.map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const groundOf = (element: Element | null): readonly number[] => {
      for (let one = element; one; one = one.parentElement) {
        const { channels, alpha } = parse(getComputedStyle(one).backgroundColor);
        if (alpha === 1) return channels;
      }
      return [255, 255, 255];
    };
    const poor: string[] = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const text = walker.currentNode.textContent?.trim() ?? '';
      const element = walker.currentNode.parentElement!;
      if (text === '' || !element.checkVisibility() || element.closest('.visually-hidden, noscript, script'))
        continue;
      const style = getComputedStyle(element);
      const [a, b] = [luminance(parse(style.color).channels), luminance(groundOf(element))];
      const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
      const size = Number.parseFloat(style.fontSize);
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
      if (ratio < (isLarge ? 3 : 4.5)) poor.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
    }
    return poor;
  });
}

/** What a screen reader could not name or place, by rules of the kind axe has. */
export function unreadable(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const all = <T extends Element>(selector: string) => [
      ...document.querySelectorAll<T & HTMLElement>(selector),
    ];
    const wrong: string[] = [];
    const must = (holds: boolean, what: string) => void (holds || wrong.push(what));
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
    for (const input of all<HTMLInputElement>('input, select, textarea'))
      must((input.labels?.length ?? 0) > 0 || input.ariaLabel !== null, `input ${input.id} has no label`);
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
  });
}
