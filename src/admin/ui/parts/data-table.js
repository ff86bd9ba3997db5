import { html } from '../lib.js';

/** @import { ComponentChildren } from 'preact' */
/** @import { Order } from '../types.js' */

/**
 * @template T
 * @typedef {object} Column
 * @property {string} name also the key to sort by
 * @property {(row: T) => ComponentChildren} cell
 * @property {'number' | 'code'} [kind] how it is aligned and set
 * @property {boolean} [minor] left out on a narrow screen
 */

/**
 * A table with a caption. With `onOrder` its headings are buttons that sort.
 * @template T
 * @param {object} props
 * @param {string} props.caption
 * @param {readonly Column<T>[]} props.columns the first is the row's heading
 * @param {readonly T[]} props.rows
 * @param {(row: T) => string} props.keyOf
 * @param {Order} [props.order]
 * @param {(order: Order) => void} [props.onOrder]
 */
export function DataTable({ caption, columns, rows, keyOf, order, onOrder }) {
  const classOf = (/** @type {Column<T>} */ { kind, minor }) =>
    [kind, minor ? 'minor' : ''].filter(Boolean).join(' ') || undefined;
  const heading = (/** @type {Column<T>} */ column) => {
    const sorted = order?.by === column.name ? (order.descending ? 'descending' : 'ascending') : undefined;
    const sort = () => onOrder?.({ by: column.name, descending: sorted === 'ascending' });
    return html`
      <th scope="col" class=${classOf(column)} aria-sort=${sorted}>
        ${
          onOrder
            ? html`<button type="button" onClick=${sort}>
                ${column.name}<span class="arrow" aria-hidden="true">
                  ${sorted === undefined ? '' : sorted === 'ascending' ? '▲' : '▼'}
                </span>
              </button>`
            : column.name
        }
      </th>
    `;
  };
  return html`
    <div class="scroll" role="region" aria-label=${caption} tabindex="0">
      <table>
        <caption class="visually-hidden">${caption}</caption>
        <thead>
          <tr>${columns.map(heading)}</tr>
        </thead>
        <tbody>
          ${rows.map(
            (row) => html`
              <tr key=${keyOf(row)}>
                ${columns.map((column, index) =>
                  index === 0
                    ? html`<th scope="row" class=${classOf(column)}>${column.cell(row)}</th>`
                    : html`<td class=${classOf(column)}>${column.cell(row)}</td>`,
                )}
              </tr>
            `,
          )}
        </tbody>
      </table>
    </div>
  `;
}
