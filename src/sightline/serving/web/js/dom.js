// Elements from values. Text stays text: nothing here reads markup out of a string.
import { icon } from "./icons.js";

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

/** An element; `props` are attributes, except `on` (listeners), `data` (dataset) and `set` (properties). */
export function h(tag, props = {}, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** An SVG element. */
export function s(tag, props = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), props, children);
}

export function icons(...names) {
  return names.map(icon);
}

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}

let told = 0;

/** Says something through the live region, twice the same too. */
export function announce(text) {
  const live = $("#live");
  live.textContent = text + (told++ % 2 ? "\u00a0" : "");
}

/** A short message at the foot of the page; of an open dialog, where one covers the page. */
export function toast(text, { seconds = 5 } = {}) {
  const box = $("#toasts");
  const open = $$("dialog[open]").at(-1);
  (open ?? document.body).append(box);
  const one = h("div", { class: "toast" }, text);
  box.append(one);
  setTimeout(() => one.remove(), seconds * 1000);
}

function fill(element, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value == null || value === false) continue;
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "set") Object.assign(element, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
  return element;
}
