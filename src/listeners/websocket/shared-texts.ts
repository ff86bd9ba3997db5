const MAX_TEXTS = 64;

/**
 * One copy of texts that are the same in many requests. A piece of a text keeps the whole alive in V8, so a
 * session that kept its project's id would keep its request.
 */
export class SharedTexts {
  readonly #texts = new Map<string, string>();

  /** @returns an equal text, which holds nothing else */
  same(text: string): string {
    const known = this.#texts.get(text);
    if (known !== undefined) return known;
    const copy = Buffer.from(text).toString();
    // Strangers may bring any number of them.
    if (this.#texts.size >= MAX_TEXTS) this.#texts.clear();
    this.#texts.set(copy, copy);
    return copy;
  }
}
