import * as htm from 'htm';
import { h } from 'preact';

/** @typedef {(strings: TemplateStringsArray, ...values: unknown[]) => import('preact').VNode} Html */

/** htm's types are those of its CommonJS build. */
const { default: bind } = /** @type {{ default: { bind(create: typeof h): Html } }} */ (
  /** @type {unknown} */ (htm)
);

/** Markup as tagged templates: no build step. */
export const html = bind.bind(h);
