// From data to elements. A piece of the page is a text or [tag, {attribute: value}, ...pieces]: plain data, so that
// what has not changed is told by comparison and left alone, with its focus and its selection. Texts become text nodes
// and nothing else: whatever the gateway was sent can be shown, and none of it can be markup.

import { clock, iso, relative } from "./format.js";

export const byId = (id) => document.getElementById(id);

const SVG = "http://www.w3.org/2000/svg";
const drawn = new WeakMap();

// Makes `pieces` the content of `node`, unless they are already.
export function draw(node, ...pieces) {
  const wanted = JSON.stringify(pieces);
  if (drawn.get(node) === wanted) return;
  drawn.set(node, wanted);
  node.replaceChildren(...pieces.map((piece) => build(piece)));
}

export function build(piece, inSvg = false) {
  if (!Array.isArray(piece)) return document.createTextNode(piece ?? "");
  const [tag, attributes, ...pieces] = piece;
  const svg = inSvg || tag === "svg";
  const node = svg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    // through the object model: a style attribute would be against the policy of the page
    if (name === "share") node.style.setProperty("--share", String(value));
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...pieces.map((inner) => build(inner, svg)));
  return node;
}

export function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export const icon = (name) => ["svg", { class: `icon icon-${name}`, "aria-hidden": "true" }, ["use", { href: `#i-${name}` }]];
export const mono = (text) => ["span", { class: "mono" }, text];
export const quiet = (text) => ["span", { class: "quiet" }, text];
export const time = (at, now) => ["time", { datetime: iso(at), title: `${clock(at)} here, ${iso(at)}` }, relative(at, now)];

// A state: its sign and its word. The colour only repeats what both say.
export const state = (level, word) => ["span", { class: `state-word level-${level}` }, icon(level), word];

// A table that keeps its rows while their cells change. A column: {label, cell(item, now), sort?(item), numeric?,
// head?: whether it names the row, brief?: whether it takes half a line where the row is a card}. Columns with `sort` can be sorted by, numbers from the largest.
export class Table {
  constructor(host, { labelledBy, columns, key, empty, sorted = null }) {
    Object.assign(this, { columns, key, items: [], sorted, rows: new Map() });
    this.head = build(["tr", { role: "row" }, ...columns.map((column, at) => this.heading(column, at))]);
    this.body = build(["tbody", { role: "rowgroup" }]);
    const table = build(["table", { role: "table", "aria-labelledby": labelledBy }]);
    const head = build(["thead", { role: "rowgroup" }]);
    head.append(this.head);
    table.append(head, this.body);
    this.scroller = build(["div", { class: "scroller", role: "group", "aria-labelledby": labelledBy }]);
    this.scroller.append(table);
    this.empty = build(["p", { class: "empty" }, ...empty]);
    host.append(this.scroller, this.empty);
    this.head.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.sortBy(Number(button.dataset.column));
    });
  }

  heading(column, at) {
    const name = column.sort ? ["button", { type: "button", "data-column": at }, column.label, icon("sort")] : column.label;
    return ["th", { role: "columnheader", scope: "col", class: column.numeric ? "numeric" : null }, name];
  }

  sortBy(at) {
    const descending = this.sorted?.at === at ? !this.sorted.descending : Boolean(this.columns[at].numeric);
    this.sorted = { at, descending };
    this.show(this.items, this.now);
  }

  show(items, now) {
    Object.assign(this, { items, now });
    this.scroller.hidden = items.length === 0;
    this.empty.hidden = items.length > 0;
    this.columns.forEach((column, at) => {
      if (!column.sort) return;
      const order = this.sorted?.at === at ? (this.sorted.descending ? "descending" : "ascending") : "none";
      attribute(this.head.children[at], "aria-sort", order);
    });
    this.place(this.inOrder(items).map((item) => this.row(item, now)));
    // what is wider than its place scrolls in it, by keyboard too; what is not needs no stop
    if (this.scroller.scrollWidth > this.scroller.clientWidth + 1) attribute(this.scroller, "tabindex", "0");
    else this.scroller.removeAttribute("tabindex");
  }

  inOrder(items) {
    if (!this.sorted) return items;
    const { sort } = this.columns[this.sorted.at];
    const sign = this.sorted.descending ? -1 : 1;
    const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    return [...items].sort((a, b) => sign * compare(sort(a) ?? -1, sort(b) ?? -1));
  }

  row(item, now) {
    const key = this.key(item);
    let row = this.rows.get(key);
    if (!row) {
      row = build(["tr", { role: "row" }, ...this.columns.map(cellOf)]);
      this.rows.set(key, row);
    }
    this.columns.forEach((column, at) => draw(row.children[at], ...column.cell(item, now)));
    return row;
  }

  // Moves no row that stands where it should: a row that is moved loses the focus.
  place(rows) {
    const wanted = new Set(rows);
    for (const [key, row] of this.rows) {
      if (wanted.has(row)) continue;
      row.remove();
      this.rows.delete(key);
    }
    let next = this.body.firstElementChild;
    for (const row of rows) {
      if (row === next) next = next.nextElementSibling;
      else this.body.insertBefore(row, next);
    }
  }
}

const classOf = ({ label }) => `col-${label.toLowerCase().replaceAll(" ", "-")}`;
const cellOf = (column) =>
  column.head
    ? ["th", { role: "rowheader", scope: "row", class: classOf(column) }]
    : ["td", { role: "cell", "data-label": column.label, class: `${classOf(column)}${column.numeric ? " numeric" : column.brief ? " brief" : ""}` }];
